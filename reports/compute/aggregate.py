"""Relative accuracy over benchmarks: interquartile mean with its interval, performance profile.

Source: R. Agarwal, M. Schwarzer, P. S. Castro, A. C. Courville, M. G. Bellemare, Deep Reinforcement
Learning at the Edge of the Statistical Precipice, NeurIPS 2021, sections 4.1 to 4.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reports.compute.accuracy import BOOTSTRAP_SEED, LEVEL, RESAMPLES, Interval
from reports.compute.matrix import Matrix

FEWEST_BENCHMARKS = 2
LEVELS = (50, 60, 70, 80, 85, 90, 95, 98, 100)
"""Relative accuracies at which the table tells the profile, percent."""


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """One method over the benchmarks on which it has a result.

    Args:
        method: name.
        benchmarks: on which it has a result.
        of: benchmarks of all methods.
        iqm: interquartile mean of relative accuracy with its 95 % interval, percent; None below
            two benchmarks.
        over: what the interval covers: `seeds` or `benchmarks`.
        scores: relative accuracies of all its runs, ascending, percent.
        profile: share of these runs that have at least each of `LEVELS`.
    """

    method: str
    benchmarks: int
    of: int
    iqm: Interval | None
    over: str
    scores: tuple[float, ...]
    profile: tuple[float, ...]


def interquartile_mean(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of the middle half: a quarter of the scores, rounded down, is cut at either end.

    Args:
        scores: (..., N), N at least 1.

    Returns:
        (...)
    """
    ordered = np.sort(scores, axis=-1)
    cut = ordered.shape[-1] // 4
    middle: NDArray[np.float64] = ordered[..., cut : ordered.shape[-1] - cut].mean(axis=-1)
    return middle


def share_at_least(scores: Sequence[float], level: float) -> float:
    """The share of the scores that are at least `level`: a point of the performance profile."""
    return sum(score >= level for score in scores) / len(scores)


def iqm_interval(
    tasks: Sequence[Sequence[float]], resamples: int = RESAMPLES, seed: int = BOOTSTRAP_SEED
) -> tuple[Interval, str]:
    """Interquartile mean over tasks and seeds with a percentile interval of the bootstrap.

    Where all tasks have the same number of seeds, two or more, the mean is over all of them, and
    seeds are drawn again within each task (stratified). Otherwise it is over the means of the
    tasks, and tasks are drawn again.

    Args:
        tasks: scores by task and seed; at least two tasks.
        resamples: how many times is drawn again, at least 1.
        seed: of the draws; the same scores give the same interval.

    Returns:
        The mean with its interval, and `seeds` or `benchmarks`: what was drawn again.
    """
    generator = np.random.default_rng(seed)
    lengths = {len(task) for task in tasks}
    if len(lengths) == 1 and min(lengths) > 1:
        table = np.array(tasks, dtype=np.float64)
        chosen = generator.integers(0, table.shape[1], (resamples, *table.shape))
        drawn = np.take_along_axis(table[None], chosen, axis=2).reshape(resamples, -1)
        scores, over = table.reshape(-1), "seeds"
    else:
        scores, over = np.array([np.mean(task) for task in tasks]), "benchmarks"
        drawn = scores[generator.integers(0, len(scores), (resamples, len(scores)))]
    low, high = np.quantile(interquartile_mean(drawn), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    mean = float(interquartile_mean(scores))
    return Interval(value=mean, low=float(low), high=float(high)), over


def aggregate(found: Matrix) -> tuple[Aggregate, ...]:
    """Every method over benchmarks, in the order of the matrix.

    A benchmark on which a method has no result is left out of that method's numbers: nothing is
    put in its place. So is one whose student was chosen by the test split.

    Args:
        found: benchmarks by methods.

    Returns:
        Empty where fewer than two benchmarks have a result.
    """
    of = {
        row.benchmark
        for row in found.rows
        if any(cell.values and not cell.chosen_by_test for cell in row.cells.values())
    }
    if len(of) < FEWEST_BENCHMARKS:
        return ()
    return tuple(_aggregate(found, method, len(of)) for method in found.methods)


def _aggregate(found: Matrix, method: str, of: int) -> Aggregate:
    tasks = {
        (row.benchmark, row.student): row.cells[method].values
        for row in found.rows
        if row.cells[method].values and not row.cells[method].chosen_by_test
    }
    benchmarks = len({benchmark for benchmark, _ in tasks})
    scores = tuple(sorted(score for task in tasks.values() for score in task))
    iqm, over = None, ""
    if benchmarks >= FEWEST_BENCHMARKS:
        iqm, over = iqm_interval(list(tasks.values()))
    return Aggregate(
        method=method,
        benchmarks=benchmarks,
        of=of,
        iqm=iqm,
        over=over,
        scores=scores,
        profile=tuple(share_at_least(scores, level) for level in LEVELS) if scores else (),
    )
