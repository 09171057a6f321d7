"""Schedulers on student steps, whose memory is rebuilt from the records after a restart."""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    TrialScheduler,
)
from typing_extensions import override

from dfkd_tune.records import FINAL_STATES, RunFolder
from dfkd_tune.sweeps._experiment import ResolvedExperiment
from dfkd_tune.sweeps._experiment_config import SchedulerName
from trainables import BUDGET, MEMBERS, UNSETTLED, VALUE

BRACKETS = 3
"""Of HyperBand: as many starting budgets."""

STOPPED_BY: dict[SchedulerName, str] = {
    "asha": "ASHA: below its rung's cut-off",
    "hyperband": "HyperBand: below its rung's cut-off",
    "median": "median stopping: its best value below the median of the other trials' means",
    "pbt": "PBT: its place taken",
    "none": "the scheduler",
}


@dataclass(frozen=True)
class _Named:
    """A trial as a scheduler knows it: by its own name.

    Ray gives a restarted trial a new id, under which its past would be unknown. The name stays, so
    that recorded results can be told to the scheduler again.
    """

    trial_id: str


def _named(trial: Any) -> Any:
    return _Named(trial.config["trial"])


def members(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The trials that a process trains, by name: one, or a cohort."""
    return (config["trial"], *config.get("others", ()))


class RecordedScheduler(TrialScheduler):
    """A scheduler of Ray's that knows trials by name and can be told the past.

    It stands before Ray's own class among the parents of a scheduler. Of a cohort, which Ray takes
    for one trial, it decides for each trial by itself.
    """

    stop_member: Callable[[str], None] = staticmethod(lambda _name: None)
    """Stops a trial of a cohort whose process goes on with the others."""

    @override
    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """A trial joins, or those of a cohort."""
        for name in members(trial.config):
            self.member_added(tune_controller, name)

    def member_added(self, tune_controller: Any, name: str) -> None:
        """One trial joins."""
        super().on_trial_add(tune_controller, _Named(name))  # type: ignore[arg-type]

    @override
    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """A trial reports; decide whether it goes on."""
        if result.get(UNSETTLED):
            # It only says that it cannot go on now.
            return TrialScheduler.CONTINUE
        if MEMBERS not in result:
            decision: str = super().on_trial_result(tune_controller, _named(trial), result)
            return decision
        for own in result[MEMBERS]:
            member: Any = _Named(own["trial"])
            if super().on_trial_result(tune_controller, member, own) == TrialScheduler.STOP:
                self.stop_member(own["trial"])
        # The process ends by itself once it has no trial left.
        return TrialScheduler.CONTINUE

    @override
    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """A trial has ended; one that goes on later has not."""
        if result.get(UNSETTLED):
            return
        # What a cohort reported last is of those that trained to their end.
        for own in result.get(MEMBERS, [{**result, "trial": trial.config["trial"]}]):
            member: Any = _Named(own["trial"])
            super().on_trial_complete(tune_controller, member, own)

    @override
    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """A trial is taken away, or those of a cohort."""
        for name in members(trial.config):
            super().on_trial_remove(tune_controller, _Named(name))  # type: ignore[arg-type]

    def replay(self, run: RunFolder) -> list[str]:
        """Tell the scheduler every recorded result again, in the order in which they came.

        Returns:
            Unfinished trials that it would have stopped at one of their newest two results: the
            decision was made, or would have been, when the sweep was ended. A trial records an
            epoch more before it hears.
        """
        rows = []
        unfinished: set[str] = set()
        for folder in run.trial_folders():
            trial = _Past({"trial": folder.name})
            self.on_trial_add(None, trial)
            epochs = [e for e in folder.epochs() if e.student_steps > 0 and e.value is not None]
            if folder.status().state not in FINAL_STATES:
                unfinished.add(folder.name)
            rows += [(epoch.time, trial, epoch, epoch in epochs[-2:]) for epoch in epochs]
        stopped = []
        for _, trial, epoch, newest in sorted(rows, key=lambda row: row[0]):
            result = {BUDGET: epoch.student_steps, VALUE: epoch.value}
            decision = self.on_trial_result(None, trial, result)
            name = trial.config["trial"]
            if newest and name in unfinished and decision == TrialScheduler.STOP:
                stopped.append(name)
                unfinished.remove(name)
        return stopped


@dataclass(frozen=True)
class _Past:
    """A trial that is only told of."""

    config: dict[str, str]


class RecordedAsha(RecordedScheduler, ASHAScheduler):
    """Ray's ASHA; with several brackets, the asynchronous HyperBand of the same paper.

    Source: Li et al., "A System for Massively Parallel Hyperparameter Tuning" (MLSys 2020).
    """

    @override
    def member_added(self, tune_controller: Any, name: str) -> None:
        """A trial joins a bracket, the same one at every start."""
        # Ray draws the bracket from NumPy's global state.
        before = np.random.get_state()
        digest = hashlib.sha256(name.encode()).digest()
        np.random.seed(int.from_bytes(digest[:4], "big"))
        try:
            super().member_added(tune_controller, name)
        finally:
            np.random.set_state(before)


class RecordedMedian(RecordedScheduler, MedianStoppingRule):
    """Ray's median stopping rule.

    Source: Golovin et al., "Google Vizier" (KDD 2017).
    """

    @override
    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """A trial reports; one that was to stop, and reports once more, is to stop still."""
        # Ray's own takes a second word of such a trial for an error. A stopped one of a cohort has
        # left before the next epoch.
        if MEMBERS not in result and _named(trial) in self._stopped_trials:
            return TrialScheduler.STOP
        return super().on_trial_result(tune_controller, trial, result)


def make_scheduler(resolved: ResolvedExperiment) -> TrialScheduler:
    """The experiment's scheduler, without history."""
    config = resolved.experiment.search.scheduler
    total = resolved.base.schedule.total_student_steps
    # Of PBT, the search compares the trials: see `PopulationSearch`.
    if config.name in ("none", "pbt"):
        return FIFOScheduler()  # type: ignore[no-untyped-call]
    grace = min(resolved.grace_student_steps, total)
    if config.name == "median":
        return RecordedMedian(
            time_attr=BUDGET,
            metric=VALUE,
            mode="max",
            grace_period=grace,
            min_samples_required=config.least_trials,
            # Never pauses a trial: with too few others, it goes on.
            min_time_slice=math.inf,  # type: ignore[arg-type]
        )
    return RecordedAsha(
        time_attr=BUDGET,
        metric=VALUE,
        mode="max",
        max_t=total,
        grace_period=grace,
        reduction_factor=config.reduction_factor,
        brackets=BRACKETS if config.name == "hyperband" else 1,
    )


def comparison_steps(resolved: ResolvedExperiment) -> tuple[int, ...]:
    """Of PBT: the student steps at which trials are compared, ascending; never at their end."""
    schedule, grace = resolved.base.schedule, resolved.grace_epochs
    interval = resolved.experiment.search.scheduler.interval_epochs or grace
    per_epoch = schedule.iterations_per_epoch * schedule.student_steps
    return tuple(epoch * per_epoch for epoch in range(grace, schedule.epochs, interval))
