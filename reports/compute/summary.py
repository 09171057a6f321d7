"""The summary of a run: its state, its verdict in one sentence, and its headline numbers."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from reports.collect import RunData
from reports.compute.accuracy import Interval, relative_accuracy_interval
from reports.compute.leaderboard import (
    LeaderboardRow,
    leaderboard,
    teacher_validation_accuracy,
)
from reports.configuration import benchmark_name, method_name, planned_trials, teacher_name
from reports.formatting import interval, percent, plural, relative, shorten, whole

STATES = ("complete", "stopped", "diverged", "failed", "running", "interrupted", "unreadable")
FINISHED = frozenset({"complete", "stopped", "diverged", "failed"})


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
        kind: sweep or distill.
        benchmark: its name; None where it is unknown.
        method: its name; None where it is unknown.
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
        teacher_test_accuracy: a fraction; None without a selection.
        best: the selected trial, else the best complete one; None without either.
        selected: whether `best` is the selected trial.
        student_test_accuracy: a fraction; None without a selection.
        relative_accuracy: on the test split with its 95 % interval, percent; None without.
        verdict: one sentence.
        leaderboard: complete trials first, best first; then all others, without a rank.
    """

    name: str
    kind: str
    benchmark: str | None
    method: str | None
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
    student_test_accuracy: float | None
    relative_accuracy: Interval | None
    verdict: str
    leaderboard: tuple[LeaderboardRow, ...]


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
    test = run.selection.test if run.selection and run.selection.test.images > 0 else None
    ratio = relative_accuracy_interval(test) if test else None
    return RunSummary(
        name=run.run.name,
        kind=run.run.kind,
        benchmark=benchmark_name(run),
        method=method_name(run),
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
        student_test_accuracy=test.student_accuracy if test else None,
        relative_accuracy=ratio,
        verdict=_verdict(run, best, ratio),
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


def describe_student(row: LeaderboardRow) -> str:
    """Name a student by trial, architecture x width and parameters."""
    size = f"{whole(row.parameters)} parameters" if row.parameters is not None else ""
    inside = ", ".join(part for part in (shorten(row.student or ""), size) if part)
    return f"{row.trial} ({inside})" if inside else row.trial


def _verdict(run: RunData, best: LeaderboardRow | None, ratio: Interval | None) -> str:
    """The verdict in one sentence, as far as the run can tell."""
    if not run.trials:
        return "No verdict yet: no trial has begun."
    if best is None:
        return _verdict_without_complete_trial(run)
    selection = run.selection
    if selection is not None and best.selected and selection.test.images > 0:
        reached = (
            f"{interval_words(ratio)} relative accuracy on the test split"
            if ratio
            else "no relative accuracy, as the teacher has no test image right,"
        )
        return (
            f"The best student, {describe_student(best)}, reaches {reached}: "
            f"{percent(selection.test.student_accuracy)} against the teacher's "
            f"{percent(selection.test.teacher_accuracy)} on {whole(selection.test.images)} "
            f"images; {_chosen_among(selection.candidates, selection.objective)}; one seed."
        )
    complete = sum(1 for row in run.trials if row.state == "complete")
    among = "" if run.run.kind == "distill" else f", best of {plural(complete, 'complete trial')}"
    against = (
        f" ({relative(best.relative_validation_accuracy)} of the teacher's)"
        if best.relative_validation_accuracy is not None
        else ""
    )
    return (
        f"The student of {describe_student(best)} has {percent(best.last_accuracy)} accuracy on "
        f"the validation split{against}{among}; one seed, and the test split is untouched."
    )


def interval_words(value: Interval | None) -> str:
    """Write an interval for a sentence, such as `93.4 % (95 % interval 91.8 to 95.0 %)`."""
    return interval(value).replace("(", "(95\N{NO-BREAK SPACE}% interval ")


def _chosen_among(candidates: int, objective: str) -> str:
    """How the selected trial was chosen."""
    objective = shorten(objective)
    if candidates == 1:
        return f"it was the only complete trial (objective {objective}, validation split)"
    return (
        f"chosen among {whole(candidates)} complete trials by {objective} on the validation split"
    )


def _verdict_without_complete_trial(run: RunData) -> str:
    """The verdict where no trial has trained its whole budget."""
    counted = Counter(trial.state for trial in run.trials)
    parts = ", ".join(f"{counted[state]} {state}" for state in STATES if counted[state])
    if counted["failed"] == len(run.trials):
        parts = "all failed"
    began = "1 trial began" if len(run.trials) == 1 else f"{len(run.trials)} trials began"
    return f"No verdict yet: {began} and none is complete ({parts})."


def _budgets(run: RunData) -> Budgets:
    totals = {trial.trial.total_student_steps for trial in run.trials if trial.trial}
    return Budgets(
        student_steps_per_trial=tuple(sorted(totals)),
        student_steps=sum(trial.student_steps for trial in run.trials),
        trial_seconds=sum(t.seconds for t in run.trials)
        if any(t.epochs for t in run.trials)
        else None,
        teacher_seconds=run.teacher.seconds if run.teacher else None,
    )
