"""The leaderboard: complete trials in order of merit, all others after them without a rank."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, get_args

from dfkd_tune.records import CostName, trial_cost
from reports.collect import RunData, TrialData, once
from reports.configuration import look_up, student_name
from reports.objectives import DATA_FREE_OBJECTIVE, LABEL_OBJECTIVE, objective_name

LAST_EVALUATIONS = 5


@dataclass(frozen=True, kw_only=True)
class LeaderboardRow:
    """One trial of the leaderboard; None where something is not known.

    Args:
        rank: from 1 for the best complete trial; None for every other trial.
        trial: name, such as `t0007`.
        number: counted in order of proposal, from 0.
        origin: recipe, warm_start, sampler, given or child.
        parent: of a child, the trial whose weights it took over.
        inherited_steps: student steps that it counts, and that others trained.
        state: of the trial, `unreadable` where its records are damaged.
        progress: the state in words, such as `stopped at step 40 of 100`.
        epochs: epochs that it trained itself.
        total_epochs: epochs of the whole budget.
        student_steps: so far, with those inherited.
        total_student_steps: of the whole budget.
        last_value: of the search objective at the last evaluation, a fraction.
        best_value: highest value of the search objective, a fraction.
        mean_last_value: mean over the last five evaluations, a fraction.
        relative_value: 100 x last validation accuracy / the teacher's, percent; None where the
            search objective is not validation accuracy.
        student: architecture x width.
        parameters: of the student.
        macs: multiply-accumulates of one image's forward pass of the student.
        latency_ms: median of one image's forward pass of the student, milliseconds.
        seconds: wall seconds of all epochs.
        peak_memory_mib: highest of all epochs.
        settings: searched values by key.
        selected: whether this is the run's selected trial.
        problems: what could not be read, in words.
    """

    rank: int | None
    trial: str
    number: int | None
    origin: str | None
    parent: str | None
    inherited_steps: int
    state: str
    progress: str
    epochs: int
    total_epochs: int | None
    student_steps: int
    total_student_steps: int | None
    last_value: float | None
    best_value: float | None
    mean_last_value: float | None
    relative_value: float | None
    student: str | None
    parameters: int | None
    macs: int | None
    latency_ms: float | None
    seconds: float | None
    peak_memory_mib: float | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    selected: bool = False
    problems: tuple[str, ...] = ()


def teacher_validation_accuracy(run: RunData) -> float | None:
    """The teacher's accuracy on the validation split, a fraction; None while it is unknown."""
    if run.selection is not None and run.selection.teacher_validation_accuracy is not None:
        return run.selection.teacher_validation_accuracy
    score = run.teacher.scores.get("validation") if run.teacher else None
    return score.accuracy if score else None


@once
def rank_trials(run: RunData) -> tuple[TrialData, ...]:
    """The complete trials by the rule of selection: highest last value first.

    Of equals, the cheaper one where the search weighs a cost, then the one that agrees more with
    the teacher on the images that the search may look at, then the smaller, then the earlier.
    """
    score = "audit_agreement" if objective_name(run) == DATA_FREE_OBJECTIVE else "agreement"
    against = weighed_cost(run)
    complete = [t for t in run.trials if t.state == "complete" and last_value(t) is not None]
    return tuple(sorted(complete, key=lambda trial: _rank_key(trial, score, against)))


def weighed_cost(run: RunData) -> CostName | None:
    """The cost that a run's search weighs; None for none, or for one that is not known here."""
    name = look_up(run.experiment, "search.against")
    return next((known for known in get_args(CostName) if known == name), None)


def cost_of(trial: TrialData, against: CostName) -> float | None:
    """What a trial costs; None where that is not known."""
    if against == "training_seconds":
        return None if trial.trial is None else trial.seconds
    return None if trial.trial is None else trial_cost(against, trial.trial, trial.epochs)


def _rank_key(
    trial: TrialData, score: str, against: CostName | None
) -> tuple[float, float, float, int, str]:
    cost = 0.0 if against is None else cost_of(trial, against) or 0.0
    agreement = trial.evaluated[-1].validation.get(score, 0.0) if trial.evaluated else 0.0
    parameters = trial.trial.student_size.parameters if trial.trial else 0
    return (-(last_value(trial) or 0.0), cost, -agreement, parameters, trial.name)


def last_value(trial: TrialData) -> float | None:
    """The search objective at the last evaluation; None where there is none that is finite."""
    return trial.values[-1] if trial.values else None


@once
def leaderboard(run: RunData) -> tuple[LeaderboardRow, ...]:
    """Make the leaderboard of a run.

    Args:
        run: the run's records.

    Returns:
        Ranked rows first, best first; then the unranked ones in order of proposal.
    """
    ranked = rank_trials(run)
    names = {trial.name for trial in ranked}
    unranked = [trial for trial in run.trials if trial.name not in names]
    rows = [_row(run, trial, rank) for rank, trial in enumerate(ranked, start=1)]
    return (*rows, *(_row(run, trial, None) for trial in unranked))


def progress_words(run: RunData, trial: TrialData) -> str:
    """A trial's state in words, saying how far it came where that matters."""
    steps = f"step {trial.student_steps:,}"
    if trial.trial is not None:
        steps += f" of {trial.trial.total_student_steps:,}"
    match trial.state:
        case "complete" | "unreadable":
            return trial.state
        case "running" if not run.live:
            return f"not finished, at {steps}"
        case "running" | "interrupted" | "diverged" | "collapsed" | "failed" | "stopped" as state:
            return f"{state} at {steps}"
        case other:
            return other


def _row(run: RunData, trial: TrialData, rank: int | None) -> LeaderboardRow:
    record = trial.trial
    values = trial.values
    teacher = teacher_validation_accuracy(run) if objective_name(run) == LABEL_OBJECTIVE else None
    return LeaderboardRow(
        rank=rank,
        trial=trial.name,
        number=record.number if record else None,
        origin=record.origin if record else None,
        parent=record.parent.trial if record and record.parent else None,
        inherited_steps=trial.inherited_steps,
        state=trial.state,
        progress=progress_words(run, trial),
        epochs=len(trial.epochs),
        total_epochs=int(trial.epochs.numbers("total_epochs")[-1]) if trial.epochs else None,
        student_steps=trial.student_steps,
        total_student_steps=record.total_student_steps if record else None,
        last_value=values[-1] if values else None,
        best_value=max(values, default=None),
        mean_last_value=fmean(values[-LAST_EVALUATIONS:]) if values else None,
        relative_value=100 * values[-1] / teacher if values and teacher else None,
        student=student_name(trial),
        parameters=record.student_size.parameters if record else None,
        macs=record.student_size.macs if record else None,
        latency_ms=record.student_size.latency_ms if record else None,
        seconds=trial.seconds if trial.epochs else None,
        peak_memory_mib=max(trial.epochs.numbers("peak_memory_mib").tolist(), default=None),
        settings=dict(record.parameters) if record else {},
        selected=run.selection is not None and run.selection.trial == trial.name,
        problems=trial.problems,
    )
