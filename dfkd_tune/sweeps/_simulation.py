"""A whole search on recorded curves, in one process and in seconds.

Searcher, scheduler and records are the real ones; a clock of its own takes the place of Ray.
"""

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from types import SimpleNamespace

from ray.tune.schedulers import TrialScheduler

from dfkd_tune.records import EpochRecord, RunFolder, RunRecord, now, write_record
from dfkd_tune.sweeps._experiment import ResolvedExperiment
from dfkd_tune.sweeps._machine import Allotment
from dfkd_tune.sweeps._population import PopulationSearch
from dfkd_tune.sweeps._scheduler import make_scheduler
from dfkd_tune.sweeps._search import RecordedSearch
from trainables import BUDGET, UNSETTLED, VALUE, CurveModel, simulate_trial

SESSION = "simulated"


@dataclass(frozen=True, kw_only=True)
class Milestone:
    """What a search had found at a moment.

    Args:
        student_steps: that all trials together had used.
        seconds: of the clock.
        value: the best last value of a complete trial so far.
    """

    student_steps: int
    seconds: float
    value: float


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """A search on recorded curves.

    Args:
        milestones: whenever a complete trial was better than all before it.
        student_steps: that all trials together used.
        seconds: of the clock.
        trials: that began.
    """

    milestones: tuple[Milestone, ...]
    student_steps: int
    seconds: float
    trials: int

    @property
    def best(self) -> float:
        """The best last value of a complete trial; minus infinity without one."""
        return self.milestones[-1].value if self.milestones else -math.inf

    def steps_to(self, value: float) -> float:
        """Student steps until a complete trial had at least this value; infinity if none had."""
        return next((float(m.student_steps) for m in self.milestones if m.value >= value), math.inf)


def simulate_search(
    resolved: ResolvedExperiment,
    run: RunFolder,
    model: CurveModel,
    *,
    workers: int = 2,
    most_steps: float = math.inf,
) -> Simulation:
    """Run a search on recorded curves.

    Args:
        resolved: the experiment, whose searcher and scheduler are used.
        run: an empty run folder; its records are those of a real search, but for weights.
        model: gives the values and seconds of trials.
        workers: trials at once.
        most_steps: student steps of all trials together, after which no trial goes on.
    """
    _begin(run)
    allotment = Allotment(
        cpus=1, gpus=0.0, max_concurrent=workers, total_cpus=workers, total_gpus=0
    )
    kind = (
        PopulationSearch if resolved.experiment.search.scheduler.name == "pbt" else RecordedSearch
    )
    search = kind(run, resolved, SESSION, allotment)
    # Of recorded curves, each has its own seconds.
    search.cohort = 1
    epochs = resolved.base.schedule.total_epochs
    clock = _Clock(run, search, make_scheduler(resolved), model, epochs)
    clock.fill(0.0, workers)
    return clock.run_out(most_steps, workers)


def _begin(run: RunFolder) -> None:
    write_record(
        run.run_file,
        RunRecord(
            kind="sweep",
            name=run.path.name,
            state="running",
            experiment_hash="",
            created=now(),
            updated=now(),
            session=SESSION,
        ),
    )


@dataclass(frozen=True)
class _Running:
    """A trial at work: what Ray would know of it, and its epochs to come."""

    trial: SimpleNamespace
    epochs: Iterator[EpochRecord]
    pace: float


class _Clock:
    """Lets trials report in the order in which their epochs end."""

    def __init__(
        self,
        run: RunFolder,
        search: RecordedSearch,
        scheduler: TrialScheduler,
        model: CurveModel,
        epochs: int,
    ) -> None:
        self.run, self.search, self.scheduler, self.model = run, search, scheduler, model
        self.epochs = epochs
        self.waiting: list[tuple[float, int, _Running]] = []
        self.order = count()
        self.steps: dict[str, int] = {}
        self.inherited: dict[str, int] = {}
        self.milestones: list[Milestone] = []

    def fill(self, moment: float, workers: int) -> None:
        """Give idle workers their next trials, while there are any."""
        while len(self.waiting) < workers and self._begin(moment):
            pass

    def _begin(self, moment: float) -> bool:
        """Start the next trial, if there is one."""
        trial = SimpleNamespace(trial_id=f"s{next(self.order)}")
        trial.config = self.search.suggest(trial.trial_id)
        # What the searcher gives when it has no more is no configuration.
        if not isinstance(trial.config, dict):
            return False
        name = trial.config["trial"]
        self.scheduler.on_trial_add(None, trial)  # type: ignore[arg-type]
        record = self.run.trial_folder(name).trial()
        curve = self.model.draw(record.parameters)
        self.inherited[name] = record.inherited_steps
        epochs = simulate_trial(
            self.run,
            name,
            session=SESSION,
            curve=curve,
            until_epoch=trial.config["until_epoch"],
        )
        # All trials of a search have as many epochs.
        self._wait(moment, _Running(trial, epochs, curve.seconds / self.epochs))
        return True

    def _wait(self, moment: float, running: _Running) -> None:
        heapq.heappush(self.waiting, (moment + running.pace, next(self.order), running))

    def run_out(self, most_steps: float, workers: int) -> Simulation:
        """Let everything happen that follows, until so many student steps are used."""
        moment = 0.0
        while self.waiting and sum(self.steps.values()) < most_steps:
            moment, _, running = heapq.heappop(self.waiting)
            if self._goes_on(running, moment):
                self._wait(moment, running)
            else:
                self.fill(moment, workers)
        return Simulation(
            milestones=tuple(self.milestones),
            student_steps=sum(self.steps.values()),
            seconds=moment,
            trials=len(self.inherited),
        )

    def _goes_on(self, running: _Running, moment: float) -> bool:
        """Let a trial's next epoch end; whether another follows."""
        trial, row = running.trial, next(running.epochs)
        name = trial.config["trial"]
        self.steps[name] = row.student_steps - self.inherited[name]
        paused = row.epoch == trial.config["until_epoch"]
        if row.student_steps == 0 or row.value is None:
            return True
        result = {BUDGET: row.student_steps, VALUE: row.value}
        if row.epoch == row.total_epochs:
            self.scheduler.on_trial_complete(None, trial, result)  # type: ignore[arg-type]
            best = self.milestones[-1].value if self.milestones else -math.inf
            if row.value > best:
                used = sum(self.steps.values())
                self.milestones.append(
                    Milestone(student_steps=used, seconds=moment, value=row.value)
                )
        elif paused:
            result[UNSETTLED] = True
        elif self.scheduler.on_trial_result(None, trial, result) != TrialScheduler.STOP:  # type: ignore[arg-type]
            return True
        self.search.on_trial_complete(trial.trial_id, result)
        return False
