"""What happened inside trials: learning curves, loss terms, and where the time went."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from dfkd_tune.records import EpochTable
from reports.collect import NO_EPOCHS, RunData, TrialData
from reports.compute.limits import drawn_trials

MILESTONES = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The search objective of one trial while it trains.

    Args:
        trial: name.
        state: of the trial.
        student_steps: at each evaluation; of a child of PBT, first that of its parent from which it
            begins.
        values: of the search objective at each evaluation, a fraction.
        milestones: the last value within 25, 50, 75 and 100 % of the trial's budget; None where
            the trial did not get so far.
    """

    trial: str
    state: str
    student_steps: tuple[int, ...]
    values: tuple[float, ...]
    milestones: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class LossTerms:
    """Weighted loss terms of one trial over its epochs.

    Args:
        epochs: counted from 1.
        terms: epoch means by name, such as `student/kd`; None where an epoch has no such term.
        class_entropy: of the teacher's mean prediction on synthetic images, nats; by epoch.
    """

    epochs: tuple[int, ...]
    terms: dict[str, tuple[float | None, ...]]
    class_entropy: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What the collapse watch saw in one trial, without any label, over its epochs.

    Args:
        epochs: counted from 1.
        feature_distance: mean distance of two synthetic images' features of unit length.
        agreement: of student and teacher on images of this and earlier epochs, a fraction.
        signs: of collapse, by epoch.
    """

    epochs: tuple[int, ...]
    feature_distance: tuple[float | None, ...]
    agreement: tuple[float | None, ...]
    signs: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class TimeShare:
    """Where wall time went, in seconds.

    Args:
        name: a trial, or a group of trials.
        trials: how many trials it covers.
        synthesis: making synthetic images and training the generator.
        student: training the student.
        evaluation: scoring the student.
        other: the rest of the epochs' total.
    """

    name: str
    trials: int
    synthesis: float
    student: float
    evaluation: float
    other: float

    @property
    def total(self) -> float:
        """All of it, in seconds."""
        return self.synthesis + self.student + self.evaluation + self.other


@dataclass(frozen=True, kw_only=True)
class SavedSteps:
    """What stopping trials early saved.

    Args:
        trials: how many trials were stopped.
        trained: student steps that they trained.
        saved: student steps of their budgets that they did not train.
    """

    trials: int
    trained: int
    saved: int

    @property
    def share(self) -> float | None:
        """Saved part of the stopped trials' budgets, a fraction; None where none was stopped."""
        whole = self.trained + self.saved
        return self.saved / whole if whole else None


def learning_curves(run: RunData) -> tuple[Curve, ...]:
    """The learning curves of the trials that are drawn and were evaluated at least once."""
    return tuple(_curve(run, trial) for trial in drawn_trials(run) if trial.evaluated)


def loss_terms(trial: TrialData) -> LossTerms:
    """The weighted loss terms and the class entropy of one trial."""
    names = sorted({name for epoch in trial.epochs for name in epoch.losses})
    return LossTerms(
        epochs=tuple(epoch.epoch for epoch in trial.epochs),
        terms={name: tuple(epoch.losses.get(name) for epoch in trial.epochs) for name in names},
        class_entropy=tuple(epoch.class_entropy for epoch in trial.epochs),
    )


def collapse_watch(trial: TrialData) -> Watch:
    """What the collapse watch saw in one trial."""
    return Watch(
        epochs=tuple(epoch.epoch for epoch in trial.epochs),
        feature_distance=tuple(epoch.feature_distance for epoch in trial.epochs),
        agreement=tuple(epoch.kept_agreement for epoch in trial.epochs),
        signs=tuple(epoch.collapse_signs for epoch in trial.epochs),
    )


def time_shares(run: RunData) -> tuple[TimeShare, ...]:
    """Where the time went, per state of the trials and for all of them last."""
    states = sorted({trial.state for trial in run.trials if trial.epochs})
    shares = [
        _time_share(state, [trial for trial in run.trials if trial.state == state])
        for state in states
    ]
    everything = [trial for trial in run.trials if trial.epochs]
    return (*shares, _time_share("all trials", everything)) if everything else ()


def stopped_early(run: RunData) -> tuple[TrialData, ...]:
    """The trials whose budget was saved in part, as nobody trains the rest."""
    # Whoever gave its place to a child left it what was left of its budget.
    parents = [trial.trial.parent for trial in run.trials if trial.trial is not None]
    taken = {parent.place_of for parent in parents if parent is not None}
    return tuple(
        t
        for t in run.trials
        if t.state == "stopped" and t.trial is not None and t.name not in taken
    )


def saved_steps(run: RunData) -> SavedSteps:
    """What stopping trials early saved in this run."""
    stopped = stopped_early(run)
    left = (t.trial.total_student_steps - t.student_steps for t in stopped if t.trial is not None)
    return SavedSteps(
        trials=len(stopped),
        trained=sum(trial.trained_steps for trial in stopped),
        saved=sum(max(steps, 0) for steps in left),
    )


def spread(items: Iterable[int], count: int) -> tuple[int, ...]:
    """Choose some items evenly, always with the first and the last.

    Args:
        items: in order.
        count: how many at most, at least 2.

    Returns:
        All items where there are no more than `count`.
    """
    every = list(items)
    if len(every) <= count:
        return tuple(every)
    return tuple(every[round(i * (len(every) - 1) / (count - 1))] for i in range(count))


def _curve(run: RunData, trial: TrialData) -> Curve:
    before = _taken_over(run, trial)
    steps = (*_whole(before, "student_steps"), *_whole(trial.evaluated, "student_steps"))
    values = (*before.numbers("value").tolist(), *trial.evaluated.numbers("value").tolist())
    total = trial.trial.total_student_steps if trial.trial else steps[-1]
    milestones = []
    for share in MILESTONES:
        until = [v for s, v in zip(steps, values, strict=True) if s <= share * total]
        reached = trial.student_steps >= share * total
        milestones.append(until[-1] if until and reached else None)
    return Curve(
        trial=trial.name,
        state=trial.state,
        student_steps=steps,
        values=values,
        milestones=tuple(milestones),
    )


def _whole(epochs: EpochTable, column: str) -> list[int]:
    return [int(value) for value in epochs.numbers(column).tolist()]


def _taken_over(run: RunData, trial: TrialData) -> EpochTable:
    """The epoch of its parent from which a child begins; empty for all others."""
    parent = trial.trial.parent if trial.trial is not None else None
    other = run.find_trial(parent.trial) if parent is not None else None
    if parent is None or other is None:
        return NO_EPOCHS
    evaluated = other.evaluated
    return evaluated.select(np.flatnonzero(evaluated.numbers("epoch") == parent.epoch))


def _time_share(name: str, trials: list[TrialData]) -> TimeShare:
    synthesis, student, evaluation, total = (
        sum(float(trial.epochs.numbers(f"seconds.{part}").sum()) for trial in trials)
        for part in ("synthesis", "student", "evaluation", "total")
    )
    return TimeShare(
        name=name,
        trials=sum(1 for trial in trials if trial.epochs),
        synthesis=synthesis,
        student=student,
        evaluation=evaluation,
        other=max(total - synthesis - student - evaluation, 0.0),
    )
