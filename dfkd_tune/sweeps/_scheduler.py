"""ASHA on student steps, whose rungs are rebuilt from the records after a restart."""

from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from typing_extensions import override

from dfkd_tune.records import FINAL_STATES, RunFolder
from dfkd_tune.sweeps._experiment import ResolvedExperiment
from trainables import BUDGET, VALUE


class RecordedAsha(ASHAScheduler):
    """Ray's ASHA, keyed by the trial's own name instead of Ray's id.

    Ray gives a restarted trial a new id, under which its rungs would be unknown. The name stays,
    so that recorded results can be told to the scheduler again.
    """

    @override
    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """A trial joins."""
        super().on_trial_add(tune_controller, _named(trial))

    @override
    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """A trial reports; decide whether it goes on."""
        decision: str = super().on_trial_result(tune_controller, _named(trial), result)
        return decision

    @override
    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """A trial has ended."""
        super().on_trial_complete(tune_controller, _named(trial), result)

    @override
    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """A trial is taken away."""
        super().on_trial_remove(tune_controller, _named(trial))

    def replay(self, run: RunFolder) -> list[str]:
        """Tell the scheduler every recorded result again, in the order in which they came.

        Returns:
            Unfinished trials whose newest result falls below its rung's cut-off: the decision to
            stop them was made, or would have been, when the sweep was ended.
        """
        rows = []
        unfinished: set[str] = set()
        for folder in run.trial_folders():
            trial = SimpleNamespace(config={"trial": folder.name})
            self.on_trial_add(None, trial)
            epochs = [e for e in folder.epochs() if e.student_steps > 0 and e.value is not None]
            if folder.status().state not in FINAL_STATES:
                unfinished.add(folder.name)
            rows += [(epoch.time, trial, epoch, epoch is epochs[-1]) for epoch in epochs]
        stopped = []
        for _, trial, epoch, newest in sorted(rows, key=lambda row: row[0]):
            result = {BUDGET: epoch.student_steps, VALUE: epoch.value}
            decision = self.on_trial_result(None, trial, result)
            name = trial.config["trial"]
            if newest and name in unfinished and decision == TrialScheduler.STOP:
                stopped.append(name)
        return stopped


def _named(trial: Any) -> Any:
    return SimpleNamespace(trial_id=trial.config["trial"])


def make_scheduler(resolved: ResolvedExperiment) -> TrialScheduler:
    """The experiment's scheduler, without history."""
    config = resolved.experiment.search.scheduler
    total = resolved.base.schedule.total_student_steps
    if config.name == "none":
        return FIFOScheduler()  # type: ignore[no-untyped-call]
    return RecordedAsha(
        time_attr=BUDGET,
        metric=VALUE,
        mode="max",
        max_t=total,
        grace_period=min(resolved.grace_student_steps, total),
        reduction_factor=config.reduction_factor,
        brackets=1,
    )
