"""Optuna behind Ray Tune, with the run folder as the only memory.

The study lives in memory and is rebuilt from the records at each start: there is no second store
that could disagree with them after a crash.
"""

import hashlib
import json
import math
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState as OptunaState
from ray.tune.search import Searcher
from typing_extensions import override

from dfkd_tune.distillation import DistillationConfig
from dfkd_tune.errors import OutOfGpuMemoryError, RunFolderError
from dfkd_tune.records import (
    FINAL_STATES,
    LOST_STATES,
    CostName,
    NetworkSize,
    Parent,
    RunFolder,
    TrialFolder,
    TrialOrigin,
    TrialRecord,
    now,
    trial_cost,
    write_record,
)
from dfkd_tune.sweeps._cluster import lost_nodes, silent_nodes
from dfkd_tune.sweeps._cma import RecordedCma
from dfkd_tune.sweeps._experiment import ResolvedExperiment, seconds
from dfkd_tune.sweeps._experiment_config import SamplerName, SchedulerName
from dfkd_tune.sweeps._given import GivenTrial
from dfkd_tune.sweeps._gpu_share import memory_limit
from dfkd_tune.sweeps._machine import Allotment, larger_share
from dfkd_tune.sweeps._nsga2 import RecordedNsga2
from dfkd_tune.sweeps._scheduler import STOPPED_BY
from search_spaces import SearchSpace
from trainables import UNSETTLED, VALUE, hung, student_size, worker_died


def sampler_for(
    kind: SamplerName,
    seed: int,
    number: int,
    startup: int,
) -> optuna.samplers.BaseSampler:
    """A sampler for one proposal: the same for a seed, a number and a history, also on resume.

    Args:
        kind: as in an experiment file.
        seed: of the search.
        number: of the trial that is proposed.
        startup: trials drawn at random before the sampler learns; of nsga2 a generation.
    """
    digest = hashlib.sha256(f"{seed}/{number}".encode()).digest()
    own_seed = int.from_bytes(digest[:4], "big") >> 1
    # The points of a grid are given: nothing is left to draw.
    if kind in ("random", "grid"):
        return optuna.samplers.RandomSampler(seed=own_seed)
    with warnings.catch_warnings():
        # `group` keeps conditional dimensions apart; it and the Gaussian process are marked so.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if kind == "gp":
            return optuna.samplers.GPSampler(seed=own_seed, n_startup_trials=startup)
        if kind == "cmaes":
            return RecordedCma(own_seed, startup)
        if kind == "nsga2":
            return RecordedNsga2(own_seed, startup)
        return optuna.samplers.TPESampler(
            seed=own_seed, n_startup_trials=startup, multivariate=True, group=True
        )


class BareTrials(optuna.storages.InMemoryStorage):
    """Keeps nothing that samplers note beside trials, since no record holds it.

    Of a running trial, TPE and the Gaussian process note also the values that it was never asked
    for. After a restart they would propose otherwise.
    """

    @override
    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """See the class."""


def rebuild_study(
    run: RunFolder, space: SearchSpace, against: CostName | None = None
) -> tuple[optuna.Study, dict[str, optuna.Trial]]:
    """Make the Optuna study of a run folder's trials, numbers equal to theirs.

    Complete trials are COMPLETE with their last value, and their cost where there is one. Stopped
    ones are PRUNED with their intermediate values, which Optuna has no place for beside a cost;
    diverged and collapsed ones are PRUNED without, which ranks them last. Failed ones are FAIL.
    Unfinished ones are RUNNING with their parameters.

    Args:
        run: the run folder.
        space: that its trials were drawn from.
        against: the cost that is minimised beside the search objective; None for none.

    Returns:
        The study, and the unfinished trials by name.
    """
    live: dict[str, optuna.Trial] = {}
    directions = [StudyDirection.MAXIMIZE]
    if against is not None:
        directions.append(StudyDirection.MINIMIZE)
    study = optuna.create_study(directions=directions, storage=BareTrials())
    distributions = space.distributions()
    for folder in run.trial_folders():
        record, state = folder.trial(), folder.status().state
        if state not in FINAL_STATES:
            study.enqueue_trial(record.parameters)
            live[folder.name] = study.ask()
            space.ask(live[folder.name])
            continue
        optuna_state = {
            "complete": OptunaState.COMPLETE,
            "stopped": OptunaState.PRUNED,
            "diverged": OptunaState.PRUNED,
            "collapsed": OptunaState.PRUNED,
            "failed": OptunaState.FAIL,
        }[state]
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna_state,
                params=record.parameters,
                distributions={key: distributions[key] for key in record.parameters},
                values=end_values(folder, against) if state == "complete" else None,
                intermediate_values={}
                if state in LOST_STATES or against is not None
                else intermediate_values(folder),
            )
        )
    return study, live


def end_values(folder: TrialFolder, against: CostName | None) -> list[float]:
    """What Optuna hears of a complete trial: its last value, and its cost where there is one.

    The cost comes as its logarithm: samplers measure distances, and half the parameters are as far
    from a large student as from a small one.

    Raises:
        RunFolderError: if the cost was not recorded.
    """
    values = intermediate_values(folder)
    last = values[max(values)]
    if against is None:
        return [last]
    cost = trial_cost(against, folder.trial(), folder.epochs())
    if cost is None or cost <= 0:
        raise RunFolderError(
            f"{folder.path} records no {against}, against which this search weighs its trials; "
            f"begin a new run"
        )
    return [last, math.log10(cost)]


def intermediate_values(folder: TrialFolder) -> dict[int, float]:
    """A trial's value of the search objective by student steps."""
    return {
        epoch.student_steps: epoch.value
        for epoch in folder.epochs()
        if epoch.value is not None and epoch.student_steps > 0
    }


class RecordedTrials(Searcher):
    """Hands trials to Ray Tune and records each before it starts.

    Args:
        run: the run folder; its unfinished trials go on first.
        resolved: the experiment.
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
        super().__init__(metric=VALUE, mode="max")
        self.run = run
        self.resolved = resolved
        self.session = session
        self.allotment = allotment
        self.larger = larger
        short = short_of_memory(run) if larger_share(allotment) or larger else []
        self.waiting = deque(
            folder.name
            for folder in run.trial_folders()
            if folder.status().state not in FINAL_STATES and (folder.name in short) == larger
        )
        numbers = [folder.trial().number for folder in run.trial_folders()]
        self.next_number = max(numbers, default=-1) + 1
        self.names: dict[str, str] = {}
        self.sizes: dict[str, NetworkSize] = {}
        for folder in run.trial_folders():
            trial = folder.trial()
            network = _network_key(trial.configuration.get("student"), trial.threads)
            self.sizes.setdefault(network, trial.student_size)
        # Nodes known to be lost: at all, and when each trial was handed out.
        self.lost = lost_nodes()
        self.lost_before: dict[str, frozenset[str]] = {}

    def propose(self) -> str | None:
        """Record a new trial and give its name; None where there is none left."""
        # A search proposes, a comparison reads its list.
        raise NotImplementedError

    def hear(self, folder: TrialFolder) -> None:
        """Hear of a trial that has ended."""

    @override
    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Give the next trial: an unfinished one, else a new one."""
        if self.waiting:
            name: str | None = self.waiting.popleft()
            self.run.trial_folder(str(name)).set_status("running", reason="waiting to go on")
        else:
            name = None if self.larger else self.propose()
        if name is None:
            # Once told that there is no more, Ray never asks again: a trial that still runs may
            # come back, if its node is lost. The signal is Ray's own, outside its declared type.
            return None if self.names else Searcher.FINISHED  # type: ignore[return-value]
        self.names[trial_id] = name
        self.lost |= lost_nodes()
        self.lost_before[trial_id] = self.lost
        hang_after = self.resolved.experiment.resources.hang_after
        student = self.run.trial_folder(name).trial().configuration["student"]
        gpus = self.allotment.gpus_of(student["architecture"], student["width"])
        return {
            "resources": {"CPU": self.allotment.cpus, **({"GPU": gpus} if gpus else {})},
            "gpu_memory": memory_limit(gpus, self.allotment.measured),
            "run": str(self.run.path),
            "trial": name,
            "session": self.session,
            "saving": self.resolved.experiment.saving.model_dump(),
            "until_epoch": None,
            "hang_after": None if hang_after == "auto" else seconds(hang_after),
            "larger_share": not self.larger and 0 < gpus < 1,
        }

    def record(
        self,
        config: DistillationConfig,
        *,
        origin: TrialOrigin,
        parameters: Mapping[str, Any],
        variant: str = "",
        parent: Parent | None = None,
        number: int | None = None,
    ) -> str:
        """Write a trial's folder; gives its name. `number`: the next one by default."""
        number = self.next_number if number is None else number
        self.next_number = max(self.next_number, number + 1)
        folder = self.run.trial_folder(f"t{number:04d}")
        configuration, threads = config.model_dump(mode="json"), self.allotment.cpus
        network = _network_key(configuration["student"], threads)
        if network not in self.sizes:
            inputs = self.resolved.benchmark.inputs
            self.sizes[network] = student_size(config.student, inputs, threads=threads)
        record = TrialRecord(
            trial=folder.name,
            number=number,
            origin=origin,
            parameters=dict(parameters),
            configuration=configuration,
            student_size=self.sizes[network],
            total_student_steps=config.schedule.total_student_steps,
            threads=threads,
            device=self.allotment.device,
            variant=variant,
            parent=parent,
            created=now(),
        )
        folder.set_status("running", reason="waiting to start")
        write_record(folder.trial_file, record)
        return folder.name

    @override
    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Settle an ended trial in the records."""
        name = self.names.pop(trial_id, None)
        if name is None:
            return
        lost_before = self.lost_before.pop(trial_id)
        if not error and (result or {}).get(UNSETTLED):
            return
        folder = self.run.trial_folder(name)
        if error and self._lost_a_node_since(lost_before):
            folder.set_status("running", reason="a node was lost; waiting to go on")
            self.waiting.append(name)
            return
        settle(folder, self.resolved.experiment.search.scheduler.name, error=error)
        self.hear(folder)

    def _lost_a_node_since(self, before: frozenset[str]) -> bool:
        """Whether the cluster has lost a node since a trial was handed out.

        That is nobody's fault, and uses up no retry: the trial is handed out anew. Each node can be
        lost only once, so no trial comes back for ever.
        """
        self.lost |= silent_nodes()
        return bool(self.lost - before)

    @override
    def save(self, checkpoint_path: str) -> None:
        """Ray's own snapshots carry nothing: the run folder is the truth."""

    @override
    def restore(self, checkpoint_path: str) -> None:
        """See `save`."""


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


def _network_key(student: Any, threads: int) -> str:
    """One network has one size: measured again, its latency would be another number."""
    return json.dumps([student, threads], sort_keys=True)


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


def short_of_memory(run: RunFolder) -> list[str]:
    """Unfinished trials that have run out of GPU memory once: they go on with a larger share."""
    found = []
    for folder in run.trial_folders():
        status = folder.status()
        errors = (status.error, *(restore.error for restore in status.restores))
        kinds = {error.type for error in errors if error is not None}
        if status.state not in FINAL_STATES and OutOfGpuMemoryError.__name__ in kinds:
            found.append(folder.name)
    return found


def settle(folder: TrialFolder, scheduler: SchedulerName, *, error: bool = False) -> None:
    """Give an ended trial its final state, unless it wrote that itself.

    Args:
        folder: the trial.
        scheduler: that stopped it, if it was stopped.
        error: its process failed, and it will not be tried again.
    """
    status = folder.status()
    if status.state in FINAL_STATES:
        return
    if error:
        epochs = folder.epochs()
        known = status.error or worker_died(epochs[-1].peak_memory_mib if epochs else None)
        if folder.hang():
            known = hung(folder.hang())
        folder.set_status("failed", reason=f"{known.type}: {known.message}", error=known)
        return
    epochs = folder.epochs()
    steps = epochs[-1].student_steps if epochs else 0
    folder.set_status(
        "stopped",
        reason=f"{STOPPED_BY[scheduler]}, at {steps} of "
        f"{folder.trial().total_student_steps} student steps",
    )
