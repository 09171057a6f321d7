"""A run's verdict, for the terminal and as JSON."""

from typing import Any

from rich.console import Console

from dfkd_tune.cli._output import percent, print_table
from reports import LeaderboardRow, RunSummary


def _row(row: LeaderboardRow) -> list[str]:
    rank = "-" if row.rank is None else str(row.rank)
    steps = "-"
    if row.student_steps is not None and row.total_student_steps:
        steps = f"{row.student_steps} of {row.total_student_steps}"
    parameters = "-" if row.parameters is None else f"{row.parameters:,}"
    return [
        rank,
        row.trial + (" *" if row.selected else ""),
        row.state,
        row.origin or "-",
        steps,
        percent(row.last_value),
        row.student or "-",
        parameters,
    ]


LEADERBOARD_HEADERS = (
    "rank",
    "trial",
    "state",
    "origin",
    "student steps",
    "value",
    "student",
    "parameters",
)


def print_summary(console: Console, summary: RunSummary, most: int = 10) -> None:
    """Print a run's verdict, its best trials, and how far it is."""
    console.print()
    console.print(summary.verdict, style="bold", markup=False, highlight=False, soft_wrap=True)
    console.print()
    rows = summary.leaderboard[:most]
    if rows:
        print_table(console, "", LEADERBOARD_HEADERS, [_row(row) for row in rows])
        told = "* selected by its value" if summary.selected else "value"
        notes = [f"{told}: {summary.measures}"]
        if any(row.rank is None for row in rows):
            notes.append("only complete trials are ranked: others trained less")
        hidden = len(summary.leaderboard) - len(rows)
        if hidden:
            notes.append(f"{hidden} more in the report")
        text = "; ".join(notes)
        console.print(text, style="dim", markup=False, highlight=False, soft_wrap=True)
        console.print()
    console.print(summary.state_words, markup=False, highlight=False, soft_wrap=True)


def summary_json(summary: RunSummary) -> dict[str, Any]:
    """A run's summary for `--json`."""
    interval, agreement = summary.relative_accuracy, summary.held_out_agreement
    return {
        "name": summary.name,
        "kind": summary.kind,
        "state": summary.state,
        "verdict": summary.verdict,
        "counts": dict(summary.counts),
        "finished": summary.finished,
        "planned": summary.planned,
        "best_trial": summary.best.trial if summary.best else None,
        "selected": summary.selected,
        "objective": summary.objective,
        "value": summary.value,
        "student_test_accuracy": summary.student_test_accuracy,
        "teacher_test_accuracy": summary.teacher_test_accuracy,
        "teacher_validation_accuracy": summary.teacher_validation_accuracy,
        "relative_accuracy": interval.value if interval else None,
        "relative_accuracy_interval": [interval.low, interval.high] if interval else None,
        "held_out_agreement": agreement.value if agreement else None,
        "held_out_agreement_interval": [agreement.low, agreement.high] if agreement else None,
    }
