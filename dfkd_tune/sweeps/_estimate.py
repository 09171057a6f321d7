"""What a search will take: time and disk, from what is known before it starts."""

import random
from collections import deque
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from ray.tune.schedulers import TrialScheduler

from dfkd_tune.classifiers import build_classifier
from dfkd_tune.distillation import (
    DistillationConfig,
    Progress,
    build_generator,
    distil_together,
    most_kept,
    shared_part,
)
from dfkd_tune.errors import CollapsedError, DivergedError, RunFolderError
from dfkd_tune.records import FINAL_STATES, RunFolder
from dfkd_tune.sweeps._experiment import ResolvedExperiment
from dfkd_tune.sweeps._machine import Allotment
from dfkd_tune.sweeps._scheduler import comparison_steps, make_scheduler
from trainables import BUDGET, GRID_ROWS, VALUE, teacher_network_config

HALF_BYTES = 2
CHECKPOINTS = 2
PATIENCE = 10.0
"""Seconds after which no further step is timed."""
TIMED_EPOCHS = 3
TIMED_STEPS = 2
REPORTS = 20_000
"""Of imagined trials to a scheduler: more would keep a person waiting."""


STUDENT_SIDE = ("student.", "student_objective.", "student_optimiser.")
"""What trials of one cohort may differ in."""


@dataclass(frozen=True, kw_only=True)
class Cohorts:
    """Whether trials will share their processes.

    Args:
        size: trials in one process, at most; 1 where none can share.
        words: what comes of it, in words.
    """

    size: int
    words: str


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long one trial takes.

    Args:
        seconds: of a whole one; in a cohort, its part.
        basis: how that is known, in words.
    """

    seconds: float
    basis: str


@dataclass(frozen=True, kw_only=True)
class Disk:
    """What a search needs on disk, at most, in bytes.

    Args:
        at_the_end: weights and images of all trials.
        while_running: with the checkpoints of all trials, which go in the end.
    """

    at_the_end: int
    while_running: int


def trials_left(resolved: ResolvedExperiment) -> int:
    """Trials that are still to be trained, whole or in part."""
    run = _run_of(resolved)
    if run is None:
        return resolved.experiment.search.trials
    ended = [f for f in run.trial_folders() if f.status().state in FINAL_STATES]
    # Those whose place was taken by another trial have left it what is left of their budget.
    done = len({f.name for f in ended} - run.places_taken())
    return max(0, resolved.experiment.search.trials - done)


def _run_of(resolved: ResolvedExperiment) -> RunFolder | None:
    """The run that the search would go on with; None where there is none."""
    try:
        run = RunFolder.open(resolved.experiment.storage.absolute() / resolved.experiment.name)
        same = run.run().experiment_hash == resolved.identity_hash()
    except RunFolderError:
        return None
    return run if same else None


def cohorts_of(resolved: ResolvedExperiment) -> Cohorts | None:
    """Whether the trials of an experiment that asks for cohorts can form them.

    Args:
        resolved: the experiment.

    Returns:
        None where it asks for none.
    """
    asked = min(resolved.experiment.resources.cohort, resolved.experiment.search.trials)
    if asked < 2:
        return None
    others = [d.name for d in resolved.space.dimensions if not d.name.startswith(STUDENT_SIDE)]
    if any(shared_part(base) is None for base in resolved.bases.values()):
        return Cohorts(size=1, words="no trial can share its images: they depend on its student")
    if others:
        return Cohorts(
            size=1,
            words=f"few trials or none will share their images, since more than the student's side "
            f"is searched; fix in space.ranges: {', '.join(others)}",
        )
    return Cohorts(size=asked, words=f"up to {asked} trials share their images in one process")


def pace_of(resolved: ResolvedExperiment, allotment: Allotment) -> Pace | None:
    """How long a trial takes: as recorded where any has trained, else timed now.

    Args:
        resolved: the experiment.
        allotment: what a trial gets on this machine.

    Returns:
        None where the recipe diverges at once, so that nothing can be told.
    """
    runs = [_run_of(resolved)]
    if resolved.baseline_of is not None:
        runs.append(RunFolder(resolved.baseline_of))
    for run in runs:
        pace = None if run is None else _recorded_pace(run, resolved.base)
        if pace is not None:
            return pace
    return _timed_pace(resolved, allotment)


def _recorded_pace(run: RunFolder, base: DistillationConfig) -> Pace | None:
    seconds = [[e.seconds.total for e in folder.epochs()] for folder in run.trial_folders()]
    seconds = [each for each in seconds if each]
    count = sum(len(each) for each in seconds)
    if not count:
        return None
    mean = sum(map(sum, seconds)) / count
    return Pace(
        seconds=mean * base.schedule.total_epochs,
        basis=f"{count} epochs of {len(seconds)} trials in {run.path}, {mean:.2g} s each",
    )


class _EnoughError(Exception):
    """Ends the timed steps."""


def _timed_pace(resolved: ResolvedExperiment, allotment: Allotment) -> Pace | None:
    """Time some steps of the recipe, by an untrained teacher: it costs what a trained one does."""
    base, benchmark = resolved.base, resolved.benchmark
    device = torch.device(allotment.device)
    config = _shortened(base)
    cohorts = cohorts_of(resolved)
    size = 1 if cohorts is None else cohorts.size
    epochs: list[Progress] = []
    spent = 0.0

    def hear(progress: Progress) -> None:
        nonlocal spent
        epochs.append(progress)
        spent += size * progress.seconds["total"]
        if spent > PATIENCE and progress.student_steps:
            raise _EnoughError

    def left(_: int, error: Exception) -> None:
        raise error

    network = teacher_network_config(benchmark, resolved.experiment.teacher)
    threads = torch.get_num_threads()
    torch.set_num_threads(allotment.cpus)
    try:
        distil_together(
            [config] * size,
            build_classifier(network, benchmark.inputs, seed=0),
            benchmark.inputs,
            device=device,
            report=lambda index, progress: None if index else hear(progress),
            left=left,
            teacher_stages=network.stages,
        )
    except _EnoughError:
        pass
    except (DivergedError, CollapsedError):
        return None
    finally:
        torch.set_num_threads(threads)
    steps = max(p.student_steps for p in epochs)
    alike = f", by a cohort of {size}," if size > 1 else ""
    return Pace(
        seconds=whole_trial_seconds(base, config, epochs),
        basis=f"{steps} student steps of the recipe{alike} on this machine, timed now; evaluation, "
        f"the start of processes, and a teacher or audit set still to be made come on top",
    )


def _shortened(base: DistillationConfig) -> DistillationConfig:
    """The same recipe for a few steps."""
    schedule = base.schedule.model_copy(
        update={
            "epochs": TIMED_EPOCHS,
            "generator_epochs": min(base.schedule.generator_epochs, TIMED_EPOCHS),
            "iterations_per_epoch": 1,
            "generator_steps": min(base.schedule.generator_steps, TIMED_STEPS),
            "student_steps": min(base.schedule.student_steps, TIMED_STEPS),
        }
    )
    optimiser = base.student_optimiser.model_copy(update={"warmup_epochs": 0})
    return base.model_copy(update={"schedule": schedule, "student_optimiser": optimiser})


def whole_trial_seconds(
    base: DistillationConfig, timed: DistillationConfig, epochs: list[Progress]
) -> float:
    """From a few timed steps to all of a trial's.

    Args:
        base: whose time is sought.
        timed: the same with fewer steps.
        epochs: of `timed`; of each kind of step, the quickest counts: the first ones warm up.
    """
    schedule = base.schedule

    def per_step(part: str, steps: int) -> float:
        known = [p.seconds.get(part, 0.0) for p in epochs]
        return min((s for s in known if s > 0), default=0.0) / steps

    synthesis = per_step("synthesis", timed.schedule.generator_steps) * schedule.generator_steps
    student = per_step("student", timed.schedule.student_steps) * schedule.student_steps
    parts = ("synthesis", "student")
    rest = min(p.seconds["total"] - sum(p.seconds.get(part, 0.0) for part in parts) for p in epochs)
    iterations = schedule.iterations_per_epoch
    return (
        schedule.synthesis_epochs * iterations * synthesis
        + schedule.epochs * iterations * student
        + schedule.total_epochs * rest
    )


def expected_share(resolved: ResolvedExperiment, concurrency: int) -> float:
    """The share of all student steps that is trained where the scheduler stops trials.

    The experiment's own scheduler judges imagined trials, each of which keeps its place among the
    others at all times, in random order.

    Args:
        resolved: the experiment.
        concurrency: trials at once.

    Returns:
        In (0, 1]; 1 where nothing is stopped.
    """
    schedule = resolved.base.schedule
    per_trial = max(1, schedule.epochs // resolved.experiment.saving.evaluate_every)
    trials = min(resolved.experiment.search.trials, max(1, REPORTS // per_trial))
    repeats = max(1, min(10, REPORTS // (trials * per_trial)))
    shares = [_share(resolved, trials, concurrency, random.Random(n)) for n in range(repeats)]
    return sum(shares) / repeats


def _share(
    resolved: ResolvedExperiment, trials: int, concurrency: int, source: random.Random
) -> float:
    scheduler, schedule = make_scheduler(resolved), resolved.base.schedule
    per_epoch = schedule.iterations_per_epoch * schedule.student_steps
    every = resolved.experiment.saving.evaluate_every
    waiting = deque(
        SimpleNamespace(trial_id=f"t{n}", config={"trial": f"t{n}"}, value=source.random(), epoch=0)
        for n in range(trials)
    )
    running: deque[SimpleNamespace] = deque()
    used = 0
    while waiting or running:
        while waiting and len(running) < concurrency:
            running.append(waiting.popleft())
            scheduler.on_trial_add(None, running[-1])  # type: ignore[arg-type]
        trial = running.popleft()
        before, trial.epoch = trial.epoch, min(trial.epoch + every, schedule.epochs)
        used += trial.epoch - before
        result = {BUDGET: trial.epoch * per_epoch, VALUE: trial.value}
        if trial.epoch == schedule.epochs:
            scheduler.on_trial_complete(None, trial, result)  # type: ignore[arg-type]
        elif scheduler.on_trial_result(None, trial, result) != TrialScheduler.STOP:  # type: ignore[arg-type]
            running.append(trial)
    return used / (trials * schedule.epochs)


def disk_of(resolved: ResolvedExperiment) -> Disk:
    """What the search needs on disk, if every trial is the recipe and trains its whole budget."""
    base, inputs, saving = resolved.base, resolved.benchmark.inputs, resolved.experiment.saving
    networks = [build_classifier(base.student, inputs, seed=0)]
    if base.synthesis.optimise != "pixels":
        networks.append(build_generator(base.generator, inputs, seed=0))
    sizes = [sum(t.numel() * t.element_size() for t in n.state_dict().values()) for n in networks]
    channels, height, width = inputs.shape
    numbers = channels * height * width
    kept = most_kept(numbers) * numbers * HALF_BYTES
    # The first, every so many, and the last; a PNG is smaller than its pixels.
    grids = base.schedule.total_epochs // saving.images_every + 2
    pictures = grids * GRID_ROWS * inputs.num_classes * numbers
    adam = base.student_optimiser.kind == "adam"
    states = [sizes[0] * (2 if adam else 1), *(2 * size for size in sizes[1:])]
    bank = base.image_bank.size * numbers * HALF_BYTES
    checkpoint = sum(sizes) + sum(states) + bank + kept
    trials = resolved.experiment.search.trials
    scheduler = resolved.experiment.search.scheduler
    # A child has pictures of its own.
    children = int(trials * scheduler.replaced) * len(comparison_steps(resolved))
    pictured = trials + (children if scheduler.name == "pbt" else 0)
    end = trials * (sum(sizes) + kept) + pictured * pictures
    return Disk(at_the_end=end, while_running=end + trials * CHECKPOINTS * checkpoint)
