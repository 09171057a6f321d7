"""What contradicts between the sections of an experiment, each of which is right by itself."""

import math
from collections.abc import Mapping
from itertools import islice

from pydantic import ValidationError

from dfkd_tune.benchmarks import Benchmark
from dfkd_tune.classifiers import TappedNetwork, build_classifier
from dfkd_tune.distillation import DistillationConfig, build_generator
from dfkd_tune.errors import DfkdTuneError, SpaceError, UsageError
from dfkd_tune.records import COST_WORDS
from dfkd_tune.sweeps._experiment_config import SAMPLERS, Experiment, SchedulerConfig
from dfkd_tune.sweeps._nsga2 import FEWEST_PARENTS
from dfkd_tune.sweeps._validation import validation_lines
from search_spaces import METHOD_KEY, SearchSpace, is_perturbed
from trainables import SEARCH_OBJECTIVES, TeacherConfig, teacher_network_config

MOST_COMBINATIONS = 10_000
"""Of a grid: more trials than this are no plan."""


def cross_checks(
    experiment: Experiment,
    benchmark: Benchmark,
    bases: Mapping[str, DistillationConfig],
    space: SearchSpace | None,
) -> list[str]:
    """Check the sections of an experiment against each other.

    Args:
        experiment: whose sections are right, each by itself.
        benchmark: what it names.
        bases: by method, the recipe with the experiment's settings; those that are right.
        space: with the experiment's ranges; None where anything is wrong so far.

    Returns:
        Every problem, with its key's path.
    """
    problems = []
    objective = experiment.search.objective
    if objective is not None and benchmark.data not in SEARCH_OBJECTIVES[objective].needs:
        problems.append(
            f"search.objective: {objective} needs {' or '.join(SEARCH_OBJECTIVES[objective].needs)}"
            f" images, and benchmark '{benchmark.name}' has {benchmark.data}; take it out or give "
            f"the images"
        )
    problems += _cost_problems(experiment, space)
    problems += _teacher_problems(experiment, benchmark, bases, space)
    problems += _budget_problems(bases)
    if experiment.search.scheduler.name == "pbt":
        problems += _population_problems(experiment, bases, space)
    if space is not None and experiment.search.sampler == "grid":
        problems += _grid_problems(space)
    for base in bases.values():
        problems += _schedule_problems(experiment, base)
        try:
            build_generator(base.generator, benchmark.inputs, seed=0)
        except UsageError as error:
            problems.append(f"settings.{error}")
        if space is not None:
            problems += _choice_problems(space, base)
    return problems


def _cost_problems(experiment: Experiment, space: SearchSpace | None) -> list[str]:
    """Whether the sampler and the scheduler can weigh a cost, and whether the cost differs."""
    search = experiment.search
    sampler, scheduler = search.sampler, search.scheduler.name
    if search.against is None:
        if SAMPLERS[sampler].against == "needed":
            return [
                f"search.sampler: {sampler} weighs the search objective against a cost; give "
                f"search.against, or another sampler"
            ]
        return []
    problems = []
    if SAMPLERS[sampler].against == "not possible":
        others = [name for name, each in SAMPLERS.items() if each.against != "not possible"]
        problems.append(
            f"search.sampler: {sampler} follows one number, and search.against makes two of it; "
            f"give {', '.join(others)}, or take search.against out"
        )
    if scheduler != "none":
        problems.append(
            f"search.scheduler.name: {scheduler} stops trials by the search objective alone, so "
            f"that cheap students would never end; set it to none, or take search.against out"
        )
    if sampler == "nsga2" and search.startup_trials < FEWEST_PARENTS:
        problems.append(
            f"search.startup_trials: {search.startup_trials} trials are no generation of nsga2; "
            f"give at least {FEWEST_PARENTS}"
        )
    if space is not None and search.against != "training_seconds" and not _sizes_differ(space):
        problems.append(
            f"search.against: all trials have one student, so {COST_WORDS[search.against]} are the "
            f"same for all; let student.architecture or student.width be searched, or take "
            f"search.against out"
        )
    return problems


def _sizes_differ(space: SearchSpace) -> bool:
    """Whether the space searches over the student's network."""
    return any(
        dimension.key.startswith("student.")
        and (dimension.kind != "choice" or len(dimension.choices) > 1)
        for dimension in space.dimensions
    )


def _budget_problems(bases: Mapping[str, DistillationConfig]) -> list[str]:
    """Whether all methods have one budget: trials are compared at equal student steps."""
    steps = {name: base.schedule.total_student_steps for name, base in bases.items()}
    first = next(iter(steps), None)
    return [
        f"changes.{name}.schedule: comes to {count:,} student steps, and {first} to "
        f"{steps[first]:,}; methods are searched at one budget: set epochs, iterations_per_epoch "
        f"and student_steps in settings.schedule, or here"
        for name, count in steps.items()
        if first is not None and count != steps[first]
    ]


def _grid_problems(space: SearchSpace) -> list[str]:
    """Whether all combinations can be tried."""
    try:
        count = sum(1 for _ in islice(space.combinations(), MOST_COMBINATIONS + 1))
    except SpaceError as error:
        return [f"space.ranges.{problem}" for problem in error.problems]
    if count > MOST_COMBINATIONS:
        return [
            f"search.sampler: the grid has more than {MOST_COMBINATIONS:,} combinations; "
            f"fix values in space.ranges, or choose another sampler"
        ]
    return []


def grace_epochs(scheduler: SchedulerConfig, base: DistillationConfig) -> int:
    """Epochs of student training before a trial may be stopped."""
    warmup = base.student_optimiser.warmup_epochs
    return scheduler.grace_epochs or max(warmup + 1, base.schedule.epochs // 9, 1)


def _schedule_problems(experiment: Experiment, base: DistillationConfig) -> list[str]:
    """Whether the warm-up and the grace of trials leave time for what comes after."""
    problems = []
    scheduler = experiment.search.scheduler
    schedule, warmup = base.schedule, base.student_optimiser.warmup_epochs
    grace = scheduler.grace_epochs
    if warmup >= schedule.epochs:
        problems.append(
            f"settings.student_optimiser.warmup_epochs: {warmup} leaves nothing of "
            f"settings.schedule.epochs {schedule.epochs}; lower it"
        )
    if scheduler.name in ("asha", "pbt") and grace is not None:
        if grace <= warmup:
            problems.append(
                f"search.scheduler.grace_epochs: {grace} does not outlast the student's "
                f"warm-up of {warmup} epochs; give at least {warmup + 1}"
            )
        if grace > schedule.epochs and scheduler.name == "asha":
            problems.append(
                f"search.scheduler.grace_epochs: {grace} is more than the "
                f"{schedule.epochs} epochs of a trial; lower it or set scheduler.name to none"
            )
    return problems


def _population_problems(
    experiment: Experiment,
    bases: Mapping[str, DistillationConfig],
    space: SearchSpace | None,
) -> list[str]:
    """Whether population based training has trials to compare, a time to, and what to change."""
    search, every = experiment.search, experiment.saving.evaluate_every
    scheduler = search.scheduler
    problems = []
    if experiment.resources.cohort > 1:
        problems.append(
            "resources.cohort: pbt compares trials that pause, each in a process of its own; take "
            "it out, or give another search.scheduler.name"
        )
    if search.sampler == "grid":
        problems.append(
            "search.sampler: a grid tries its combinations, and pbt changes them on the way; give "
            "another sampler, or another search.scheduler.name"
        )
    if search.trials * scheduler.replaced < 1:
        problems.append(
            f"search.trials: {search.trials} trials are too small a population: "
            f"search.scheduler.replaced {scheduler.replaced:g} of them is less than one; give at "
            f"least {math.ceil(1 / scheduler.replaced)}"
        )
    if space is not None and not any(is_perturbed(d) for d in space.dimensions):
        problems.append(
            "search.scheduler.name: pbt changes loss weights and learning rates, and none is "
            "searched within a range; let one be, in space.ranges, or give another scheduler"
        )
    per_epoch = {
        base.schedule.iterations_per_epoch * base.schedule.student_steps for base in bases.values()
    }
    if len(per_epoch) > 1:
        problems.append(
            "changes: pbt compares trials after equal epochs, and the methods' differ in student "
            "steps; set iterations_per_epoch and student_steps in settings.schedule"
        )
    for base in bases.values():
        schedule = base.schedule
        grace = grace_epochs(scheduler, base)
        compared = range(grace, schedule.epochs, scheduler.interval_epochs or grace)
        if not compared:
            problems.append(
                f"search.scheduler.grace_epochs: {grace} of {schedule.epochs} epochs leave no time "
                f"for a comparison of pbt; lower it"
            )
        unseen = [n for n in compared if (schedule.generator_epochs + n) % every]
        if unseen:
            problems.append(
                f"saving.evaluate_every: {every} leaves epoch "
                f"{schedule.generator_epochs + unseen[0]} out, where pbt compares; give 1, or "
                f"search.scheduler.grace_epochs and interval_epochs that it divides"
            )
    return list(dict.fromkeys(problems))


def _teacher_problems(
    experiment: Experiment,
    benchmark: Benchmark,
    bases: Mapping[str, DistillationConfig],
    space: SearchSpace | None,
) -> list[str]:
    """Whether the teacher can be built, and can serve what is asked of it."""
    try:
        config = teacher_network_config(benchmark, experiment.teacher)
    except ValidationError as error:
        return validation_lines(error, TeacherConfig, "teacher")
    try:
        network = build_classifier(config, benchmark.inputs, seed=0)
        taps = TappedNetwork(network, benchmark.inputs, config.stages)
    except DfkdTuneError as error:
        return [f"teacher: {error}"]
    has_statistics = bool(taps.batch_norms)
    taps.remove()
    key = "generator_objective.bn_statistics.weight"
    if has_statistics:
        return []
    problems = []
    why = "the teacher has no BatchNorm layers, so it keeps no statistics to match"
    if any(base.generator_objective.bn_statistics.weight > 0 for base in bases.values()):
        problems.append(f"settings.{key}: {why}; set it to 0 and give another term a weight")
    for dimension in space.dimensions if space is not None else ():
        if dimension.key == key:
            name = dimension.name
            problems.append(f"space.ranges.{name}: {why}; fix it with the value 0")
    return problems


def _choice_problems(space: SearchSpace, base: DistillationConfig) -> list[str]:
    """Whether every value of a widened choice makes a valid configuration."""
    problems = []
    for dimension in space.dimensions:
        if dimension.key == METHOD_KEY or dimension.method not in ("", base.method):
            continue
        values = (
            dimension.choices if dimension.kind == "choice" else (dimension.low, dimension.high)
        )
        for value in values:
            try:
                space.configuration(base, {dimension.name: value})
            except ValidationError as error:
                message = error.errors()[0]["msg"].removeprefix("Value error, ")
                problems.append(f"space.ranges.{dimension.name}: {value!r}: {message}")
    return problems
