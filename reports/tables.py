"""Tidy tables of runs: one row per trial, and one row per epoch of every trial."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from dfkd_tune.epochs import WrittenRows, csv_header, csv_rows, metric_columns
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
TEXT_COLUMNS = ("run", "trial", "stage", "collapse_signs")
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
        What `curves_csv` writes; numbers that an epoch did not measure are NA.
    """
    content = b"".join(curves_csv(runs, {}))
    header = pd.read_csv(io.BytesIO(content), nrows=0).columns
    return pd.read_csv(
        io.BytesIO(content),
        dtype=dict.fromkeys(TEXT_COLUMNS, str),
        keep_default_na=False,
        na_values={name: [""] for name in header if name not in TEXT_COLUMNS},
    )


def curves_csv(runs: list[RunData], written: Mapping[Path, WrittenRows]) -> Iterator[bytes]:
    """One row per epoch of every trial as CSV, in parts that follow one another.

    Args:
        runs: records of the runs.
        written: by run folder, rows that are made already or that another process writes.

    Yields:
        Rows in order of runs, trials and epochs; what an epoch did not measure is empty.
    """
    metrics = metric_columns(trial.epochs for run in runs for trial in run.trials)
    yield csv_header(metrics)
    for run in runs:
        rows = written.get(run.path)
        # Other runs, or some of the trials, can have losses that the written rows lack.
        if rows is not None and rows.have(metrics):
            yield from rows.contents()
        else:
            yield from csv_rows(run.run.name, ((t.name, t.epochs) for t in run.trials), metrics)


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
