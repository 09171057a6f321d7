"""Tidy tables of a run: one row per trial, and one row per epoch of every trial."""

import io
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv

from reports.collect import RunData, TrialData
from reports.compute.leaderboard import LeaderboardRow, leaderboard
from reports.objectives import objective_name

TRIAL_COLUMNS = (
    "run",
    "trial",
    "rank",
    "origin",
    "state",
    "selected",
    "epochs",
    "total_epochs",
    "student_steps",
    "total_student_steps",
    "parent",
    "inherited_steps",
    "objective",
    "last_value",
    "best_value",
    "mean_last_value",
    "relative_value",
    "student",
    "parameters",
    "macs",
    "latency_ms",
    "seconds",
    "peak_memory_mib",
)
CURVE_COLUMNS = ("run", "trial", "epoch", "student_steps", "generator_steps", "stage", "value")
SINGULAR = {"losses": "loss", "learning_rates": "learning_rate"}
QUOTE = '"'
WRITERS = 2
TRIALS_IN_PART = 100
WHOLE_NUMBERS = (
    "rank",
    "epochs",
    "total_epochs",
    "student_steps",
    "total_student_steps",
    "inherited_steps",
    "parameters",
    "macs",
)


def trials_table(runs: list[RunData]) -> pd.DataFrame:
    """One row per trial, with one column `param.<key>` per searched parameter.

    Args:
        runs: records of the runs.

    Returns:
        Rows in the order of the leaderboards; missing values are NA.
    """
    rows = [_trial_row(run, row) for run in runs for row in leaderboard(run)]
    settings = sorted({name for row in rows for name in row if name.startswith("param.")})
    frame = pd.DataFrame(rows, columns=[*TRIAL_COLUMNS, *settings])
    return frame.astype(dict.fromkeys(WHOLE_NUMBERS, "Int64"))


def curves_table(runs: list[RunData]) -> pd.DataFrame:
    """One row per epoch of every trial, with one column per metric.

    Args:
        runs: records of the runs.

    Returns:
        Rows in order of runs, trials and epochs; what an epoch did not measure is NA.
    """
    parts = list(_curve_parts(runs))
    return pa.concat_tables(parts).to_pandas() if parts else pd.DataFrame(columns=CURVE_COLUMNS)


def curves_csv(runs: list[RunData]) -> Iterator[bytes | memoryview]:
    """The same as CSV, in parts that follow one another.

    Args:
        runs: records of the runs.
    """
    header = ",".join(_quoted(name) for name in (*CURVE_COLUMNS, *_metrics(runs)))
    yield f"{header}\n".encode("utf-8", "replace")
    # The writer leaves Python's lock, so that threads share the work.
    with ThreadPoolExecutor(WRITERS) as writers:
        begun: deque[Future[memoryview]] = deque()
        for part in _curve_parts(runs):
            begun.append(writers.submit(_csv, part))
            if len(begun) > 2 * WRITERS:
                yield begun.popleft().result()
        yield from (each.result() for each in begun)


def _csv(part: pa.Table) -> memoryview:
    sink = pa.BufferOutputStream()
    texts = [column for column in part.columns if pa.types.is_string(column.type)]
    plain = all(_quoted(text) == text for column in texts for text in column.unique().to_pylist())
    style = "none" if plain else "needed"
    csv.write_csv(part, sink, csv.WriteOptions(include_header=False, quoting_style=style))
    return memoryview(sink.getvalue())


def _quoted(name: str) -> str:
    """A cell of CSV."""
    return f'"{name.replace(QUOTE, 2 * QUOTE)}"' if set(name) & set('",\r\n') else name


def _metrics(runs: list[RunData]) -> list[str]:
    """The columns beside those that every table of epochs has."""
    tables = [trial.epochs for run in runs for trial in run.trials if trial.epochs]
    found = {_metric(name) for epochs in tables for name in epochs.columns}
    if tables:
        found.add("collapse_signs")
    return sorted(found - {*CURVE_COLUMNS, "total_epochs"})


def _metric(column: str) -> str:
    """The name of a column of epochs in the table."""
    group, dot, name = column.partition(".")
    return f"{SINGULAR.get(group, group)}{dot}{name}"


def _curve_parts(runs: list[RunData]) -> Iterator[pa.Table]:
    """The table of epochs, some trials at a time."""
    metrics = _metrics(runs)
    for run in runs:
        trials = [trial for trial in run.trials if trial.epochs]
        for start in range(0, len(trials), TRIALS_IN_PART):
            yield _curve_part(run, trials[start : start + TRIALS_IN_PART], metrics)


def _curve_part(run: RunData, trials: list[TrialData], metrics: list[str]) -> pa.Table:
    epochs = [trial.epochs for trial in trials]
    named = [{_metric(name): column for name, column in each.columns.items()} for each in epochs]
    of_trial = np.repeat(np.arange(len(trials)), [len(each) for each in epochs])
    texts = {
        "run": pa.array([_sound(run.run.name)]).take(np.zeros_like(of_trial)),
        "trial": pa.array([_sound(trial.name) for trial in trials]).take(of_trial),
        "stage": pa.array(chain.from_iterable(each.others["stage"] for each in epochs)),
        "collapse_signs": pa.array(
            _sound(", ".join(signs)) if signs else ""
            for each in epochs
            for signs in each.others["collapse_signs"]
        ),
    }
    arrays: dict[str, pa.Array] = {}
    for name in (*CURVE_COLUMNS, *metrics):
        if name in texts:
            arrays[name] = texts[name]
        else:
            parts = [
                columns[name] if name in columns else np.full(len(each), np.nan)
                for columns, each in zip(named, epochs, strict=True)
            ]
            arrays[name] = pa.array(np.concatenate(parts), from_pandas=True)
    return pa.table(arrays)


def _sound(text: str) -> str:
    """A text that UTF-8 can hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def parquet_content(frame: pd.DataFrame) -> bytes:
    """A table as Parquet, whose columns have types.

    A column whose values are of several types, such as a setting that is a number or a word, is of
    text.
    """
    mixed = [
        name
        for name, column in frame.items()
        if column.dtype == object and len({type(value) for value in column.dropna()}) > 1
    ]
    texts = frame.assign(**{str(n): frame[n].map(str, na_action="ignore") for n in mixed})
    buffer = io.BytesIO()
    texts.to_parquet(buffer, engine="pyarrow", index=False)
    return buffer.getvalue()


def _trial_row(run: RunData, row: LeaderboardRow) -> dict[str, Any]:
    return {
        "run": run.run.name,
        "trial": row.trial,
        "rank": row.rank,
        "origin": row.origin,
        "state": row.state,
        "selected": row.selected,
        "epochs": row.epochs,
        "total_epochs": row.total_epochs,
        "student_steps": row.student_steps,
        "total_student_steps": row.total_student_steps,
        "parent": row.parent,
        "inherited_steps": row.inherited_steps,
        "objective": objective_name(run),
        "last_value": row.last_value,
        "best_value": row.best_value,
        "mean_last_value": row.mean_last_value,
        "relative_value": row.relative_value,
        "student": row.student,
        "parameters": row.parameters,
        "macs": row.macs,
        "latency_ms": row.latency_ms,
        "seconds": row.seconds,
        "peak_memory_mib": row.peak_memory_mib,
        **{f"param.{key}": value for key, value in row.settings.items()},
    }
