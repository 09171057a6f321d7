"""Tidy tables of a run: one row per trial, and one row per epoch of every trial."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from dfkd_tune.epochs import (
    CURVE_COLUMNS,
    WrittenRows,
    csv_contents,
    csv_header,
    metric_columns,
    row_parts,
)
from reports.collect import RunData
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
    metrics = _metrics(runs)
    parts = [part for run in runs for part in _parts(run, metrics)]
    return pa.concat_tables(parts).to_pandas() if parts else pd.DataFrame(columns=CURVE_COLUMNS)


def curves_csv(
    runs: list[RunData], written: Mapping[Path, WrittenRows]
) -> Iterator[bytes | memoryview]:
    """The same as CSV, in parts that follow one another.

    Args:
        runs: records of the runs.
        written: by run folder, the rows of its last trials where another process writes them.
    """
    metrics = _metrics(runs)
    yield csv_header(metrics)
    for run in runs:
        rows = written.get(run.path)
        # Waits for its process, so that what makes the page has a processor of its own meanwhile.
        # Other runs, or the first trials, can have losses that those of its process lack.
        if rows is not None and rows.metrics() != metrics:
            rows = None
        yield from csv_contents(_parts(run, metrics, rows.first if rows else None))
        if rows is not None:
            yield from rows.contents()


def _metrics(runs: list[RunData]) -> list[str]:
    return metric_columns(trial.epochs for run in runs for trial in run.trials)


def _parts(run: RunData, metrics: list[str], stop: int | None = None) -> Iterator[pa.Table]:
    trials = [(trial.name, trial.epochs) for trial in run.trials[:stop]]
    return row_parts(run.run.name, trials, metrics)


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
