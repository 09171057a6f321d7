"""Tidy tables of a run: one row per trial, and one row per epoch of every trial."""

import io
from typing import Any

import pandas as pd

from dfkd_tune.records import EpochRecord
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
CURVE_COLUMNS = ("run", "trial", "epoch", "student_steps", "generator_steps", "stage", "value")
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
    rows = [
        {"run": run.run.name, "trial": trial.name, **_epoch_row(epoch)}
        for run in runs
        for trial in run.trials
        for epoch in trial.epochs
    ]
    metrics = sorted({name for row in rows for name in row} - set(CURVE_COLUMNS))
    return pd.DataFrame(rows, columns=[*CURVE_COLUMNS, *metrics])


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


def _epoch_row(epoch: EpochRecord) -> dict[str, Any]:
    return {
        "epoch": epoch.epoch,
        "student_steps": epoch.student_steps,
        "generator_steps": epoch.generator_steps,
        "stage": epoch.stage,
        "value": epoch.value,
        **{f"validation.{key}": value for key, value in epoch.validation.items()},
        **{f"loss.{key}": value for key, value in epoch.losses.items()},
        **{f"learning_rate.{key}": value for key, value in epoch.learning_rates.items()},
        "class_entropy": epoch.class_entropy,
        "feature_distance": epoch.feature_distance,
        "kept_agreement": epoch.kept_agreement,
        "collapse_signs": ", ".join(epoch.collapse_signs),
        "seconds.synthesis": epoch.seconds.synthesis,
        "seconds.student": epoch.seconds.student,
        "seconds.evaluation": epoch.seconds.evaluation,
        "seconds.total": epoch.seconds.total,
        "images_per_second": epoch.images_per_second,
        "peak_memory_mib": epoch.peak_memory_mib,
    }
