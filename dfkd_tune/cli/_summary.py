"""A run's verdict, for the terminal and as JSON."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from dfkd_tune.cli._output import percent, print_table
from dfkd_tune.records import now
from reports import LeaderboardRow, RunSummary, TradeOff, summarise
from reports.formatting import cost, relative


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


def _print_pareto_set(console: Console, found: TradeOff) -> None:
    """The trials that no other one surpasses, in order of cost."""
    title = f"Pareto set, against {found.words}"
    console.print(title, style="bold", markup=False, highlight=False, soft_wrap=True)
    headers = ["trial", "student", found.words, "value"]
    if found.relative:
        headers.append("of the teacher's")
    rows = []
    for trial in found.pareto_set:
        row = [
            trial.trial + (" *" if trial.selected else ""),
            trial.student or "-",
            cost(trial.cost, found.against),
            percent(trial.value),
        ]
        rows.append([*row, relative(trial.relative)] if found.relative else row)
    print_table(console, "", headers, rows)
    console.print()


def print_summary(console: Console, summary: RunSummary, most: int = 10) -> None:
    """Print a run's verdict, its best trials, and how far it is."""
    console.print()
    console.print(summary.verdict, style="bold", markup=False, highlight=False, soft_wrap=True)
    console.print()
    rows = summary.leaderboard[:most]
    if rows:
        print_table(console, "", LEADERBOARD_HEADERS, [_row(row) for row in rows])
        if summary.selected and summary.chosen_by:
            notes = [f"* selected by {summary.chosen_by}", f"value: {summary.measures}"]
        else:
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
    if summary.trade_off is not None and summary.trade_off.weighed:
        _print_pareto_set(console, summary.trade_off)
    console.print(summary.state_words, markup=False, highlight=False, soft_wrap=True)


def follow_run(console: Console, run: Path, every: float) -> None:
    """Show how far a run is whenever that has changed, until no command works on it.

    Args:
        console: where to; a terminal is cleared each time.
        run: its folder.
        every: seconds between looks.
    """
    shown: tuple[Any, ...] = ()
    while True:
        summary = summarise(run)
        looks = (summary.state_words, summary.budgets.student_steps, summary.verdict)
        if looks != shown:
            if console.is_terminal:
                console.clear()
                print_summary(console, summary)
            else:
                console.print(
                    f"{now()} {summary.state_words} {summary.verdict}",
                    markup=False,
                    highlight=False,
                    soft_wrap=True,
                )
            shown = looks
        if summary.state != "running":
            return
        time.sleep(every)


def summary_json(summary: RunSummary) -> dict[str, Any]:
    """A run's summary for `--json`."""
    interval, agreement = summary.relative_accuracy, summary.held_out_agreement
    found = summary.trade_off if summary.trade_off and summary.trade_off.weighed else None
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
        "against": found.against if found else None,
        "pareto_set": [asdict(trial) for trial in found.pareto_set] if found else None,
        "student_test_accuracy": summary.student_test_accuracy,
        "teacher_test_accuracy": summary.teacher_test_accuracy,
        "teacher_validation_accuracy": summary.teacher_validation_accuracy,
        "relative_accuracy": interval.value if interval else None,
        "relative_accuracy_interval": [interval.low, interval.high] if interval else None,
        "held_out_agreement": agreement.value if agreement else None,
        "held_out_agreement_interval": [agreement.low, agreement.high] if agreement else None,
    }
