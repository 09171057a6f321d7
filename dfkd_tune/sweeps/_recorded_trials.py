"""Trials behind Ray Tune, with the run folder as the only memory."""

import json
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from ray.tune.search import Searcher
from typing_extensions import override

from dfkd_tune.distillation import DistillationConfig, shared_part
from dfkd_tune.errors import OutOfGpuMemoryError
from dfkd_tune.records import (
    FINAL_STATES,
    NetworkSize,
    Parent,
    RunFolder,
    TrialFolder,
    TrialOrigin,
    TrialRecord,
    now,
    write_record,
)
from dfkd_tune.sweeps._cluster import lost_nodes, silent_nodes
from dfkd_tune.sweeps._experiment import ResolvedExperiment, seconds
from dfkd_tune.sweeps._experiment_config import SchedulerName
from dfkd_tune.sweeps._gpu_share import memory_limit
from dfkd_tune.sweeps._machine import Allotment, larger_share
from dfkd_tune.sweeps._scheduler import STOPPED_BY
from trainables import MEMBERS, UNSETTLED, VALUE, hung, student_size, worker_died


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
        # A trial that ran out of memory gets its larger share for itself.
        self.cohort = 1 if larger else resolved.experiment.resources.cohort
        short = short_of_memory(run) if larger_share(allotment) or larger else []
        self.waiting = deque(
            folder.name
            for folder in run.trial_folders()
            if folder.status().state not in FINAL_STATES and (folder.name in short) == larger
        )
        numbers = [folder.trial().number for folder in run.trial_folders()]
        self.next_number = max(numbers, default=-1) + 1
        # Of each of Ray's trials: those that its process still trains.
        self.names: dict[str, list[str]] = {}
        # Recorded, but of other images than the cohort for which they were proposed.
        self.held: deque[str] = deque()
        # Once a cohort has failed, its trials are tried alone.
        self.alone: deque[str] = deque()
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
        names = [self.alone.popleft()] if self.alone else self._next_cohort()
        if not names:
            # Once told that there is no more, Ray never asks again: a trial that still runs may
            # come back, if its node is lost. The signal is Ray's own, outside its declared type.
            return None if self.names else Searcher.FINISHED  # type: ignore[return-value]
        name = names[0]
        self.names[trial_id] = names.copy()
        self.lost |= lost_nodes()
        self.lost_before[trial_id] = self.lost
        hang_after = self.resolved.experiment.resources.hang_after
        student = self.run.trial_folder(name).trial().configuration["student"]
        gpus = self.allotment.gpus_of(student["architecture"], student["width"])
        if gpus < 1:
            # Each trial of a cohort has a student of its own there.
            gpus = min(1.0, gpus * len(names))
        return {
            "resources": {"CPU": self.allotment.cpus, **({"GPU": gpus} if gpus else {})},
            "gpu_memory": memory_limit(gpus, self.allotment.measured),
            "run": str(self.run.path),
            "trial": name,
            "others": tuple(names[1:]),
            "session": self.session,
            "saving": self.resolved.experiment.saving.model_dump(),
            "until_epoch": None,
            "hang_after": None if hang_after == "auto" else seconds(hang_after),
            "larger_share": not self.larger and 0 < gpus < 1,
        }

    def _next(self) -> str | None:
        """The next trial: one that was held back, an unfinished one, else a new one."""
        if self.held:
            return self.held.popleft()
        if self.waiting:
            name = self.waiting.popleft()
            self.run.trial_folder(name).set_status("running", reason="waiting to go on")
            return name
        return None if self.larger else self.propose()

    def _next_cohort(self) -> list[str]:
        """The next trials that one process trains: as many as may, while they share images."""
        names: list[str] = []
        while len(names) < self.cohort:
            name = self._next()
            if name is None:
                break
            if names and not self._together(names[0], name):
                self.held.appendleft(name)
                break
            names.append(name)
        return names

    def _together(self, *names: str) -> bool:
        """Whether trials share their images, so that one process can train them."""
        configurations = [self.run.trial_folder(name).trial().configuration for name in names]
        parts = {shared_part(DistillationConfig.model_validate(each)) for each in configurations}
        return len(parts) == 1 and None not in parts

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
        names = self.names.pop(trial_id, None)
        if names is None:
            return
        lost_before = self.lost_before.pop(trial_id)
        if not error and (result or {}).get(UNSETTLED):
            return
        # Of a cohort, all may have been settled before its process ended, or died.
        if MEMBERS in (result or {}) or len(names) != 1:
            self._settle_cohort(names, lost=error and self._lost_a_node_since(lost_before))
            return
        (name,) = names
        folder = self.run.trial_folder(name)
        if error and self._lost_a_node_since(lost_before):
            folder.set_status("running", reason="a node was lost; waiting to go on")
            self.waiting.append(name)
            return
        settle(folder, self.resolved.experiment.search.scheduler.name, error=error)
        self.hear(folder)

    def _settle_cohort(self, names: Sequence[str], *, lost: bool) -> None:
        """Settle what a cohort's process left: trials that have ended, and others to be tried."""
        for name in names:
            folder = self.run.trial_folder(name)
            if folder.status().state in FINAL_STATES:
                self.hear(folder)
            elif lost:
                folder.set_status("running", reason="a node was lost; waiting to go on")
                self.waiting.append(name)
            else:
                # It may have failed by another's fault.
                folder.set_status("running", reason="its cohort failed; tried again alone")
                self.alone.append(name)

    def stop_member(self, name: str) -> None:
        """Settle a trial of a cohort that the scheduler has stopped, or that has ended."""
        for names in self.names.values():
            if name in names:
                names.remove(name)
                folder = self.run.trial_folder(name)
                settle(folder, self.resolved.experiment.search.scheduler.name)
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


def _network_key(student: Any, threads: int) -> str:
    """One network has one size: measured again, its latency would be another number."""
    return json.dumps([student, threads], sort_keys=True)


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
