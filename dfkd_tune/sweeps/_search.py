"""Where trials come from: Optuna proposes them, or a list gives them."""

from collections.abc import Sequence

from optuna.trial import TrialState as OptunaState
from typing_extensions import override

from dfkd_tune.records import RunFolder, TrialFolder, TrialOrigin
from dfkd_tune.sweeps._experiment import ResolvedExperiment
from dfkd_tune.sweeps._given import GivenTrial
from dfkd_tune.sweeps._machine import Allotment
from dfkd_tune.sweeps._recorded_trials import RecordedTrials
from dfkd_tune.sweeps._study import (
    end_values,
    intermediate_values,
    rebuild_study,
    sampler_for,
)


class RecordedSearch(RecordedTrials):
    """Proposes trials through Optuna.

    Args:
        run: the run folder; its unfinished trials go on first.
        resolved: experiment, space and first points.
        session: this start of the command.
        allotment: what a trial gets.
        larger: only trials that ran out of GPU memory, with a larger share; else all others.
    """

    def __init__(
        self,
        run: RunFolder,
        resolved: ResolvedExperiment,
        session: str,
        allotment: Allotment,
        *,
        larger: bool = False,
    ) -> None:
        super().__init__(run, resolved, session, allotment, larger=larger)
        self.against = resolved.experiment.search.against
        self.study, self.live = rebuild_study(run, resolved.space, self.against)

    def begun(self) -> int:
        """Trials that count against the number that the experiment asks for."""
        return len(self.study.trials)

    @override
    def propose(self) -> str | None:
        """The next proposal, while the budget lasts."""
        resolved, search = self.resolved, self.resolved.experiment.search
        if self.begun() >= search.trials:
            return None
        number, recipes = self.next_number, len(resolved.first_points)
        given = resolved.grid or (*resolved.first_points, *resolved.warm_points)
        if search.sampler == "grid" and number >= len(given):
            return None
        self.study.sampler = sampler_for(search.sampler, search.seed, number, search.startup_trials)
        if number < len(given):
            self.study.enqueue_trial(dict(given[number]))
        origin: TrialOrigin = "sampler"
        if number < recipes + len(resolved.warm_points):
            origin = "recipe" if number < recipes else "warm_start"
        proposed = self.study.ask()
        parameters = resolved.space.ask(proposed)
        name = self.record(
            resolved.space.configuration(resolved.base_of(parameters), parameters),
            origin=origin,
            parameters=parameters,
        )
        self.live[name] = proposed
        return name

    @override
    def hear(self, folder: TrialFolder) -> None:
        """Tell the study how a trial ended."""
        trial, state = self.live.pop(folder.name), folder.status().state
        if state == "complete":
            self.study.tell(trial, end_values(folder, self.against))
        elif state == "failed":
            self.study.tell(trial, state=OptunaState.FAIL)
        else:
            if state == "stopped" and self.against is None:
                for step, value in intermediate_values(folder).items():
                    trial.report(value, step)
            self.study.tell(trial, state=OptunaState.PRUNED)


class GivenTrials(RecordedTrials):
    """Hands out trials that were given beforehand, in their order.

    Args:
        run: the run folder; its unfinished trials go on first.
        resolved: the experiment that all have in common.
        session: this start of the command.
        allotment: what a trial gets.
        given: all trials; those recorded already are not given again.
        larger: only trials that ran out of GPU memory, with a larger share; else all others.
    """

    def __init__(
        self,
        run: RunFolder,
        resolved: ResolvedExperiment,
        session: str,
        allotment: Allotment,
        given: Sequence[GivenTrial],
        *,
        larger: bool = False,
    ) -> None:
        super().__init__(run, resolved, session, allotment, larger=larger)
        self.given = given

    @override
    def propose(self) -> str | None:
        """The next of the given trials."""
        if self.next_number >= len(self.given):
            return None
        trial = self.given[self.next_number]
        return self.record(
            trial.configuration,
            origin="given",
            parameters={"variant": trial.variant, "seed": trial.configuration.seed},
            variant=trial.variant,
        )
