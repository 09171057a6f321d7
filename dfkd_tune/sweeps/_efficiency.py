"""How much sooner a search finds what random search finds, on recorded curves."""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dfkd_tune.records import RunFolder
from dfkd_tune.sweeps._experiment import ResolvedExperiment
from dfkd_tune.sweeps._simulation import Simulation, simulate_search
from trainables import CurveModel

RESAMPLES = 2000
MORE_TRIALS = 4
"""How many times as many trials the search may begin: it stops most of them early."""

APART = 1_000_000
"""Between the seeds of the two searches: with the same seed, both would begin at the same points,
and the search would meet the other's best one for nothing."""


@dataclass(frozen=True, kw_only=True)
class SeedEfficiency:
    """One seed's searches.

    Args:
        seed: of the random search; the search's own is another.
        random_best: the best complete trial's value after the random search's whole budget.
        search_best: after the same budget of the search.
        share: of the random search's budget after which the search had a complete trial as good;
            infinity where it never had.
    """

    seed: int
    random_best: float
    search_best: float
    share: float


@dataclass(frozen=True, kw_only=True)
class Efficiency:
    """A search against random search over seeds.

    Args:
        seeds: each seed's.
        trials: of each random search.
        median: of the shares.
        interval: 95 % percentile bootstrap interval of the median, over seeds.
    """

    seeds: tuple[SeedEfficiency, ...]
    trials: int
    median: float
    interval: tuple[float, float]


def random_search(resolved: ResolvedExperiment) -> ResolvedExperiment:
    """The same experiment with every trial drawn at random and trained whole."""
    search = resolved.experiment.search
    scheduler = search.scheduler.model_copy(update={"name": "none"})
    changed = _with_search(resolved, {"sampler": "random", "scheduler": scheduler})
    return replace(changed, grid=())


def _with_search(resolved: ResolvedExperiment, changes: dict[str, object]) -> ResolvedExperiment:
    search = resolved.experiment.search.model_copy(update=changes)
    experiment = resolved.experiment.model_copy(update={"search": search})
    return replace(resolved, experiment=experiment)


def measure_efficiency(
    resolved: ResolvedExperiment,
    model: CurveModel,
    seeds: Sequence[int],
    *,
    workers: int = 2,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Efficiency:
    """Compare an experiment's search with random search at equal budget, on recorded curves.

    Both begin with the experiment's first points, and draw what follows independently. The random
    search trains as many trials as the experiment says, each its whole budget; the search may use
    as many student steps as that.

    Args:
        resolved: the experiment.
        model: gives the values and seconds of trials.
        seeds: of the random searches.
        workers: trials at once.
        progress: told the seeds done, and all.
    """
    trials = resolved.experiment.search.trials
    found = []
    for done, seed in enumerate(seeds, start=1):
        plain = _with_search(random_search(resolved), {"seed": seed})
        # Of PBT, the number of trials is the size of the population: it trains the same budget.
        population = resolved.experiment.search.scheduler.name == "pbt"
        more = trials if population else MORE_TRIALS * trials
        sought = _with_search(resolved, {"seed": APART + seed, "trials": more})
        budget = trials * resolved.base.schedule.total_student_steps
        random = _simulate(plain, model, workers, budget)
        search = _simulate(sought, model, workers, budget)
        found.append(
            SeedEfficiency(
                seed=seed,
                random_best=random.best,
                search_best=search.best,
                share=search.steps_to(random.best) / budget,
            )
        )
        progress(done, len(seeds))
    shares = np.asarray([each.share for each in found])
    return Efficiency(
        seeds=tuple(found), trials=trials, median=_median(shares), interval=_interval(shares)
    )


def _simulate(
    resolved: ResolvedExperiment, model: CurveModel, workers: int, budget: int
) -> Simulation:
    with tempfile.TemporaryDirectory(prefix="dfkd-simulated-") as folder:
        run = RunFolder(Path(folder) / "run")
        return simulate_search(resolved, run, model, workers=workers, most_steps=budget)


def _median(shares: np.ndarray) -> float:
    """The median, where some may be infinite."""
    ordered = np.sort(shares)
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return math.inf if math.isinf(high) else float((low + high) / 2)


def _interval(shares: np.ndarray) -> tuple[float, float]:
    drawn = np.random.default_rng(0).integers(0, len(shares), (RESAMPLES, len(shares)))
    medians = np.sort([_median(shares[row]) for row in drawn])
    low, high = medians[round(0.025 * (RESAMPLES - 1))], medians[round(0.975 * (RESAMPLES - 1))]
    return float(low), float(high)
