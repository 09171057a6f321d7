"""The summary of a run: its state, its verdict in one sentence, and its headline numbers."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from reports.collect import RunData, once
from reports.compute.accuracy import (
    Interval,
    agreement_interval,
    relative_accuracy_interval,
)
from reports.compute.leaderboard import (
    LeaderboardRow,
    leaderboard,
    teacher_validation_accuracy,
)
from reports.compute.trade_off import TradeOff, trade_off
from reports.compute.verdict import STATES, verdict
from reports.configuration import benchmark_name, method_name, planned_trials, teacher_name
from reports.formatting import plural, shorten
from reports.objectives import by_pool, choice_words, data_kind, objective_words

FINISHED = frozenset({"complete", "stopped", "diverged", "collapsed", "failed"})


@dataclass(frozen=True, kw_only=True)
class Budgets:
    """What a run may spend and what it has spent.

    Args:
        student_steps_per_trial: every whole budget that occurs, ascending.
        student_steps: trained by all trials.
        trial_seconds: wall seconds of all epochs, added up over trials; None where none ran.
        teacher_seconds: spent on the teacher; None while there is none.
    """

    student_steps_per_trial: tuple[int, ...]
    student_steps: int
    trial_seconds: float | None
    teacher_seconds: float | None


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """A run in short.

    Args:
        name: of the run.
        kind: sweep, comparison or distill.
        benchmark: its name; None where it is unknown.
        method: its name; None where it is unknown.
        objective: name of the search objective, such as `val_real`.
        measures: what the value of the search objective is, in words.
        chosen_by: what the last choice among complete trials was made by, in words; empty where
            that is the search objective.
        data: what there is of real images: labelled, unlabelled or none.
        state: as recorded, or `killed` where the record says running but no command is at work.
        state_words: the state as a sentence, with what to do next.
        created: when the run began, UTC, ISO 8601.
        updated: when its state last changed, UTC, ISO 8601.
        counts: number of trials by state; every state is there.
        finished: trials in a final state.
        planned: trials that the experiment asks for; at least as many as there are.
        budgets: what the run may spend and has spent.
        teacher: architecture x width; None while there is none.
        teacher_validation_accuracy: a fraction; None while it is unknown.
        teacher_test_accuracy: a fraction; None where it was not measured.
        best: the selected trial, else the best complete one; None without either.
        selected: whether `best` is the selected trial.
        value: of the search objective for `best` at its last evaluation, a fraction; None
            without.
        student_test_accuracy: a fraction; None where it was not measured.
        relative_accuracy: on the test split with its 95 % interval, percent; None where it was not
            measured.
        held_out_agreement: with the teacher on unlabelled images that the choice has not seen,
            with its 95 % interval, percent; None where it was not measured.
        yardsticks: test accuracy, a fraction, of the selected student's network trained on real
            images: `real` alone, `kd` by the teacher too; empty where not measured.
        trade_off: the complete trials by value and cost; None where there is none to tell.
        verdict: one sentence.
        leaderboard: complete trials first, best first; then all others, without a rank.
    """

    name: str
    kind: str
    benchmark: str | None
    method: str | None
    objective: str
    measures: str
    chosen_by: str
    data: str
    state: str
    state_words: str
    created: str
    updated: str
    counts: Mapping[str, int]
    finished: int
    planned: int
    budgets: Budgets
    teacher: str | None
    teacher_validation_accuracy: float | None
    teacher_test_accuracy: float | None
    best: LeaderboardRow | None
    selected: bool
    value: float | None
    student_test_accuracy: float | None
    relative_accuracy: Interval | None
    held_out_agreement: Interval | None
    yardsticks: Mapping[str, float]
    trade_off: TradeOff | None
    verdict: str
    leaderboard: tuple[LeaderboardRow, ...]


@once
def summarise_run(run: RunData) -> RunSummary:
    """Summarise a run.

    Args:
        run: the run's records.

    Returns:
        The summary; numbers that the run does not have yet are None.
    """
    rows = leaderboard(run)
    counted = Counter(trial.state for trial in run.trials)
    finished = sum(counted[state] for state in FINISHED)
    planned = max(planned_trials(run) or 0, len(run.trials))
    chosen = next((row for row in rows if row.selected), None)
    best = chosen or next((row for row in rows if row.rank == 1), None)
    test = run.found_selection.test if run.found_selection else None
    ratio = relative_accuracy_interval(test) if test else None
    held_out = run.found_selection.held_out if run.found_selection else None
    words = objective_words(run)
    return RunSummary(
        name=run.run.name,
        kind=run.run.kind,
        benchmark=benchmark_name(run),
        method=method_name(run),
        objective=words.name,
        measures=words.value,
        chosen_by=choice_words(run) if by_pool(run) else "",
        data=data_kind(run),
        state="killed" if run.run.state == "running" and not run.live else run.run.state,
        state_words=state_words(run, finished, planned),
        created=run.run.created,
        updated=run.run.updated,
        counts={state: counted[state] for state in STATES},
        finished=finished,
        planned=planned,
        budgets=_budgets(run),
        teacher=teacher_name(run),
        teacher_validation_accuracy=teacher_validation_accuracy(run),
        teacher_test_accuracy=test.teacher_accuracy if test else None,
        best=best,
        selected=chosen is not None,
        value=best.last_value if best else None,
        student_test_accuracy=test.student_accuracy if test else None,
        relative_accuracy=ratio,
        held_out_agreement=agreement_interval(held_out) if held_out else None,
        yardsticks=_yardsticks(run),
        trade_off=trade_off(run),
        verdict=verdict(run, best),
        leaderboard=rows,
    )


def state_words(run: RunData, finished: int, planned: int) -> str:
    """Say how far a run is and what to do next.

    Args:
        run: the run's records.
        finished: trials in a final state.
        planned: trials that the run is to hold.
    """
    share = f"{finished} of {plural(planned, 'trial')} finished" if planned else "no trial yet"
    because = f" ({shorten(run.run.message, 300)})" if run.run.message else ""
    match run.run.state:
        case "running" if run.live:
            return f"Running: {share}."
        case "running":
            return f"Partial, {share}; not running any more: run the same command to go on."
        case "interrupted":
            return f"Partial, {share}; interrupted{because}: run the same command to go on."
        case "failed":
            return f"Failed{because}: {share}."
        case "complete":
            return f"Complete: {share}."


def _budgets(run: RunData) -> Budgets:
    totals = {trial.trial.total_student_steps for trial in run.trials if trial.trial}
    return Budgets(
        student_steps_per_trial=tuple(sorted(totals)),
        student_steps=sum(trial.trained_steps for trial in run.trials),
        trial_seconds=sum(t.seconds for t in run.trials)
        if any(t.epochs for t in run.trials)
        else None,
        teacher_seconds=run.teacher.seconds if run.teacher else None,
    )


def _yardsticks(run: RunData) -> dict[str, float]:
    found = run.yardsticks
    # Of another student than the selected one they say nothing.
    if found is None or run.selection is None or found.trial != run.selection.trial:
        return {}
    cards = {"real": found.real, "kd": found.kd}
    return {
        name: card.scores["test"].accuracy for name, card in cards.items() if "test" in card.scores
    }
