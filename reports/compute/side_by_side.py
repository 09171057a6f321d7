"""Sweeps of one benchmark and one teacher side by side: what differs, and what came of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dfkd_tune.errors import UsageError
from dfkd_tune.records import TestOutcome
from reports.collect import RunData
from reports.compute.accuracy import BOOTSTRAP_SEED, LEVEL, RESAMPLES, Interval
from reports.compute.baseline import SearchPath, search_path
from reports.compute.summary import RunSummary, summarise_run
from reports.configuration import benchmark_name, teacher_name
from reports.formatting import inline
from reports.objectives import objective_name

NOT_SET = "not set"
LEFT_OUT = frozenset({"name", "storage", "cache", "written", "recipe", "dimensions", "warm_points"})
"""Of an experiment: what says where it is, and what follows from its other keys."""

SHOWN_DIGITS = 8


@dataclass(frozen=True, kw_only=True)
class Differing:
    """One thing that is not the same in all runs.

    Args:
        key: dotted, of the experiment file, or of a dimension of the search space.
        values: as written, one for each run.
    """

    key: str
    values: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A run's selected student less that of the first run; percentage points.

    Args:
        run: name.
        relative: of relative accuracy on the test split, with its 95 % interval; None where either
            was not measured.
        test: of test accuracy, in the same way.
    """

    run: str
    relative: Interval | None
    test: Interval | None


@dataclass(frozen=True, kw_only=True)
class Column:
    """One of the runs.

    Args:
        name: of the run.
        summary: of the run.
        path: what its search had found, and after how many student steps.
        best: its best complete trial, a fraction; None without one.
        best_at_equal: the same after `equal_steps` student steps.
        steps_to_common: student steps until it had `common`; None where it has not.
    """

    name: str
    summary: RunSummary
    path: SearchPath
    best: float | None
    best_at_equal: float | None
    steps_to_common: int | None


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """Runs of one benchmark and one teacher.

    Args:
        benchmark: name.
        teacher: architecture x width.
        columns: the runs.
        differences: of each run but the first from the first.
        settings: what differs in their experiments.
        space: what differs in their search spaces.
        one_objective: whether all searches were for one objective: only then can their values be
            compared.
        equal_steps: student steps that all have trained.
        common: what the best complete trial has in the run where that is lowest, a fraction; None
            where a run has none.
    """

    benchmark: str
    teacher: str
    columns: tuple[Column, ...]
    differences: tuple[Difference, ...]
    settings: tuple[Differing, ...]
    space: tuple[Differing, ...]
    one_objective: bool
    equal_steps: int
    common: float | None


def side_by_side(runs: Sequence[RunData]) -> SideBySide:
    """Set sweeps of one benchmark and one teacher side by side.

    Args:
        runs: at least two.

    Raises:
        UsageError: if they cannot be compared: fewer than two, no sweeps, or of different
            benchmarks or teachers.
    """
    _check(runs)
    paths = [search_path(run) for run in runs]
    equal = min(path.student_steps for path in paths)
    bests = [path.steps[-1].value if path.steps else None for path in paths]
    known = [best for best in bests if best is not None]
    common = min(known) if len(known) == len(runs) else None
    columns = []
    for run, path, best in zip(runs, paths, bests, strict=True):
        within = path.best_within(equal)
        columns.append(
            Column(
                name=run.run.name,
                summary=summarise_run(run),
                path=path,
                best=best,
                best_at_equal=within.value if within else None,
                steps_to_common=None if common is None else path.steps_to(common),
            )
        )
    return SideBySide(
        benchmark=benchmark_name(runs[0]) or "unknown",
        teacher=teacher_name(runs[0]) or "unknown",
        columns=tuple(columns),
        differences=tuple(_difference(runs[0], run) for run in runs[1:]),
        settings=_differing([dict(_leaves(run.experiment)) for run in runs]),
        space=_differing([_dimensions(run) for run in runs]),
        one_objective=len({objective_name(run) for run in runs}) == 1,
        equal_steps=equal,
        common=common,
    )


def difference_interval(
    first: TestOutcome,
    second: TestOutcome,
    resamples: int = RESAMPLES,
    seed: int = BOOTSTRAP_SEED,
    level: float = LEVEL,
) -> tuple[Interval, Interval] | None:
    """How much more the second student has than the first, with bootstrap intervals.

    The records hold counts of the two students beside the teacher, not what both did on each image,
    so the images of either are drawn again by themselves. Where both mostly have the same images
    right, as students of one teacher do, the interval is wider than that of pairs.

    Args:
        first: its paired counts on the test split.
        second: of the other.
        resamples: how many times the images are drawn again, at least 1.
        seed: of the draws; the same counts give the same intervals.
        level: coverage, in (0, 1).

    Returns:
        Of relative accuracy and of test accuracy, percentage points; None where a teacher has no
        image right.
    """
    if not all(each.both_correct + each.teacher_only for each in (first, second)):
        return None
    generator = np.random.default_rng(seed)
    relative, test = [], []
    for each in (first, second):
        counts = np.array([each.both_correct, each.student_only, each.teacher_only, each.neither])
        drawn = generator.multinomial(each.images, counts / counts.sum(), size=resamples)
        student, teacher = drawn[:, 0] + drawn[:, 1], drawn[:, 0] + drawn[:, 2]
        relative.append(100 * student / np.maximum(teacher, 1))
        test.append(100 * student / each.images)
    bounds = [(1 - level) / 2, (1 + level) / 2]
    values = (
        second.relative_accuracy - first.relative_accuracy,
        100 * (second.student_accuracy - first.student_accuracy),
    )
    found = []
    for value, (one, other) in zip(values, (relative, test), strict=True):
        low, high = np.quantile(other - one, bounds)
        found.append(Interval(value=value, low=float(low), high=float(high)))
    return found[0], found[1]


def _check(runs: Sequence[RunData]) -> None:
    first = runs[0]
    for run in runs:
        if run.run.kind != "sweep":
            raise UsageError(
                f"{run.run.name} is of kind {run.run.kind}, and --compare sets sweeps side by "
                "side; leave it out, or leave out --compare"
            )
    for run in runs[1:]:
        here, there = benchmark_name(first), benchmark_name(run)
        if here != there:
            raise UsageError(
                f"{first.run.name} is of benchmark {here} and {run.run.name} of {there}: --compare "
                "needs one benchmark; without it, one report holds them all"
            )
        if _teacher(first) != _teacher(run):
            raise UsageError(
                f"the teacher of {first.run.name} is {_teacher(first)} and that of "
                f"{run.run.name} is {_teacher(run)}: --compare needs one teacher; without it, one "
                "report holds them all"
            )


def _teacher(run: RunData) -> str:
    if run.teacher is None:
        return "not there yet"
    return f"{teacher_name(run)} (SHA-256 {run.teacher.weights_sha256[:SHOWN_DIGITS]})"


def _difference(first: RunData, run: RunData) -> Difference:
    tests = [each.found_selection.test if each.found_selection else None for each in (first, run)]
    found = None
    if tests[0] is not None and tests[1] is not None:
        found = difference_interval(tests[0], tests[1])
    relative, test = found if found is not None else (None, None)
    return Difference(run=run.run.name, relative=relative, test=test)


def _leaves(experiment: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """All values of an experiment by their dotted keys."""
    for key, value in experiment.items():
        if not before and key in LEFT_OUT:
            continue
        name = f"{before}{key}"
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{name}.")
        else:
            yield name, "none" if value is None else inline(value)


def _dimensions(run: RunData) -> dict[str, str]:
    """What is searched, by key."""
    dimensions = run.experiment.get("dimensions")
    found = {}
    for each in dimensions if isinstance(dimensions, list) else []:
        if isinstance(each, Mapping):
            condition = each.get("condition")
            where = f", where {condition}" if condition else ""
            found[str(each.get("key"))] = f"{each.get('range')}{where}"
    return found


def _differing(of_runs: Sequence[Mapping[str, str]]) -> tuple[Differing, ...]:
    keys = sorted({key for each in of_runs for key in each})
    rows = [
        Differing(key=key, values=tuple(each.get(key, NOT_SET) for each in of_runs)) for key in keys
    ]
    return tuple(row for row in rows if len(set(row.values)) > 1)
