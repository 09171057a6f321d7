"""Population based training of loss weights and learning rates.

Source: Jaderberg et al., "Population Based Training of Neural Networks" (arXiv 1711.09846).

Ray's own PopulationBasedTraining is not used. It pauses trials and changes their configurations in
place, and knows by Ray's checkpoints what it did. Here one trial is one configuration: a weak trial
ends, and a new one begins from a copy of a strong one's checkpoint. Every step is in the run folder
before it takes effect, so that it survives a kill like everything else.

Trials are compared when all of them have trained equally long. So the decisions follow from the
records alone, however many trials run at once, and a strong one's checkpoint is still there.
"""

import hashlib
import math
import random
import shutil
from collections import deque
from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from dfkd_tune.checkpoints import CheckpointStore
from dfkd_tune.distillation import DistillationConfig, configuration_hash
from dfkd_tune.errors import CheckpointError, DiskFullError
from dfkd_tune.records import (
    FINAL_STATES,
    ComparisonRecord,
    Parent,
    RunFolder,
    TakeOver,
    TrialFolder,
    append_record,
    now,
)
from dfkd_tune.sweeps._experiment import ResolvedExperiment
from dfkd_tune.sweeps._machine import Allotment
from dfkd_tune.sweeps._scheduler import comparison_steps
from dfkd_tune.sweeps._search import RecordedSearch
from search_spaces import perturbed


def weak_and_strong(
    values: Mapping[str, float | None], share: float
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Who is to give its place, and whose copies may take it.

    Args:
        values: of the search objective at equal student steps, by trial; None of one that ended
            without a result.
        share: of all trials, on either side; at least one.

    Returns:
        The weak, weakest first, with all that ended without a result; and the strong, best first.
        Of equals the earlier is the stronger.
    """
    alive = {name: value for name, value in values.items() if value is not None}
    ranked = sorted(alive, key=lambda name: (-alive[name], name))
    lost = sorted(set(values) - set(alive))
    count = max(1, int(len(values) * share))
    strong = ranked[:count]
    weak = ranked[::-1][: max(0, count - len(lost))]
    return (*lost, *(name for name in weak if name not in strong)), tuple(strong)


class PopulationSearch(RecordedSearch):
    """Proposes a population, and lets copies of strong trials take the place of weak ones.

    Args:
        run: the run folder; what was decided there and not done yet is done first.
        resolved: experiment, space and first points.
        session: this start of the command.
        allotment: what a trial gets.
    """

    def __init__(
        self, run: RunFolder, resolved: ResolvedExperiment, session: str, allotment: Allotment
    ) -> None:
        super().__init__(run, resolved, session, allotment)
        self.steps = comparison_steps(resolved)
        self.founders = len(run.founders())
        self.compared: set[tuple[str, int]] = set()
        for comparison in run.comparisons():
            self._carry_out(comparison)
        self.waiting = deque(self._ready())

    @override
    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next trial, up to where it is compared."""
        config = super().suggest(trial_id)
        # What says that there are no more is no configuration.
        if isinstance(config, dict):
            config["until_epoch"] = self._until_epoch(self.run.trial_folder(config["trial"]))
            # The others would wait for a second pass. Instead it fails, and its place is free.
            config["larger_share"] = False
        return config

    @override
    def begun(self) -> int:
        """Those that did not take the place of another one."""
        return self.founders

    def _until_epoch(self, folder: TrialFolder) -> int | None:
        """The epoch after which a trial pauses; None where it trains to its end."""
        done = _trained(folder)
        ahead = [step for step in self.steps if step > done]
        if not ahead:
            return None
        config = DistillationConfig.model_validate(folder.trial().configuration)
        schedule = config.schedule
        per_epoch = schedule.iterations_per_epoch * schedule.student_steps
        return schedule.generator_epochs + math.ceil(ahead[0] / per_epoch)

    @override
    def propose(self) -> str | None:
        """A trial of the population, while there are too few; then those that may go on."""
        name = super().propose()
        if name is not None:
            self.founders += 1
            return name
        # The others are still on their way to the comparison.
        if self.names:
            return None
        ready = self._ready()
        while not ready and self._compare():
            ready = self._ready()
        self.waiting = deque(ready)
        return self.waiting.popleft() if self.waiting else None

    def _unfinished(self) -> list[TrialFolder]:
        return [f for f in self.run.trial_folders() if f.status().state not in FINAL_STATES]

    def _ready(self) -> list[str]:
        """Unfinished trials that need not wait for a comparison."""
        return [f.name for f in self._unfinished() if not self._waits_at(f)]

    def _waits_at(self, folder: TrialFolder) -> int:
        """The student steps at which a trial waits to be compared; 0 where it does not."""
        epochs = folder.epochs()
        done = epochs[-1].student_steps if epochs else 0
        waits = done in self.steps and (folder.name, done) not in self.compared
        return done if waits else 0

    def _compare(self) -> bool:
        """Compare those that have waited longest; False where nobody waits."""
        waiting = {f.name: at for f in self._unfinished() if (at := self._waits_at(f))}
        if not waiting:
            return False
        steps = min(waiting.values())
        values: dict[str, float | None] = {}
        places = self.run.places_taken()
        for folder in self.run.trial_folders():
            state = folder.status().state
            if waiting.get(folder.name) == steps:
                values[folder.name] = folder.epochs()[-1].value
            elif state in FINAL_STATES - {"complete", "stopped"} and folder.name not in places:
                values |= {folder.name: None} if _trained(folder) <= steps else {}
        comparison = self._decide(steps, values)
        append_record(self.run.population_file, comparison)
        self._carry_out(comparison)
        return True

    def _decide(self, steps: int, values: Mapping[str, float | None]) -> ComparisonRecord:
        search = self.resolved.experiment.search
        weak, strong = weak_and_strong(values, search.scheduler.replaced)
        taken: list[TakeOver] = []
        notes = []
        for name in weak:
            # The same at every start, and for nobody else.
            seed = hashlib.sha256(f"{search.seed}/pbt/{name}/{steps}".encode()).digest()
            source = random.Random(seed)
            better = [s for s in strong if _level(values[name]) < _level(values[s])]
            source.shuffle(better)
            parent = next((s for s in better if self._readable(s)), None)
            if parent is None:
                if better:
                    notes.append(
                        f"nobody takes the place of {name} at {steps} student steps: no checkpoint "
                        f"of {', '.join(sorted(better))} can be read"
                    )
                continue
            folder = self.run.trial_folder(parent)
            taken.append(
                TakeOver(
                    place_of=name,
                    parent=parent,
                    child=f"t{self.next_number + len(taken):04d}",
                    epoch=folder.epochs()[-1].epoch,
                    student_steps=steps,
                    parameters=perturbed(self.resolved.space, folder.trial().parameters, source),
                )
            )
        return ComparisonRecord(
            student_steps=steps,
            values=dict(values),
            taken=tuple(taken),
            notes=tuple(notes),
            session=self.session,
            time=now(),
        )

    def _readable(self, name: str) -> bool:
        folder = self.run.trial_folder(name)
        return _store(folder).readable(folder.epochs()[-1].epoch)

    def _carry_out(self, comparison: ComparisonRecord) -> None:
        """Do what a comparison decided, or what is left of it after a kill."""
        self.compared |= {(name, comparison.student_steps) for name in comparison.values}
        ends = []
        for take_over in comparison.taken:
            self.next_number = max(self.next_number, int(take_over.child[1:]) + 1)
            if self._has_child(take_over):
                ends.append(take_over)
        # Only now: nobody's checkpoint goes before all have copied theirs.
        for take_over in ends:
            self._end(take_over)

    def _has_child(self, take_over: TakeOver) -> bool:
        """Whether a child is recorded, now or before."""
        child = self.run.trial_folder(take_over.child)
        if child.trial_file.exists():
            return True
        parent, weak = (self.run.trial_folder(n) for n in (take_over.parent, take_over.place_of))
        if _trained(weak) > take_over.student_steps:
            # There was a note on it at the time.
            return False
        config = self.resolved.space.configuration(
            self.resolved.base_of(take_over.parameters), take_over.parameters
        )
        shutil.rmtree(child.checkpoints, ignore_errors=True)
        store = CheckpointStore(child.checkpoints, configuration_hash(config))
        try:
            store.take_over(_store(parent), take_over.epoch)
        except (CheckpointError, DiskFullError) as error:
            self._note(take_over, str(error))
            return False
        # The trial's record comes last: what is before it is nobody's.
        self.record(
            config,
            origin="child",
            parameters=take_over.parameters,
            parent=Parent(
                trial=parent.name,
                epoch=take_over.epoch,
                student_steps=take_over.student_steps,
                place_of=weak.name,
            ),
            number=int(take_over.child[1:]),
        )
        self.study.enqueue_trial(take_over.parameters)
        self.live[child.name] = self.study.ask()
        self.resolved.space.ask(self.live[child.name])
        return True

    def _note(self, take_over: TakeOver, why: str) -> None:
        note = f"nobody takes the place of {take_over.place_of}: {why}"
        if any(note in comparison.notes for comparison in self.run.comparisons()):
            return
        append_record(
            self.run.population_file,
            ComparisonRecord(
                student_steps=take_over.student_steps,
                values={},
                notes=(note,),
                session=self.session,
                time=now(),
            ),
        )

    def _end(self, take_over: TakeOver) -> None:
        """End a trial whose place is taken, unless it has ended itself."""
        folder = self.run.trial_folder(take_over.place_of)
        if folder.status().state in FINAL_STATES:
            return
        folder.set_status(
            "stopped",
            reason=f"PBT: its place taken by {take_over.child}, from {take_over.parent} at "
            f"{take_over.student_steps} of {folder.trial().total_student_steps} student steps",
        )
        self.hear(folder)
        shutil.rmtree(folder.checkpoints, ignore_errors=True)


def _level(value: float | None) -> float:
    """A trial that ended without a result is below every other one."""
    return -math.inf if value is None else value


def _trained(folder: TrialFolder) -> int:
    """Student steps of a trial so far, with those that it inherited."""
    epochs = folder.epochs()
    return epochs[-1].student_steps if epochs else folder.trial().inherited_steps


def _store(folder: TrialFolder) -> CheckpointStore:
    config = DistillationConfig.model_validate(folder.trial().configuration)
    return CheckpointStore(folder.checkpoints, configuration_hash(config))
