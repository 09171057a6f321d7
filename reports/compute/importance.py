"""How much each searched dimension had to do with the search objective, over complete trials.

A random forest learns the objective from the parameters. The importance of a dimension is how much
worse the forest predicts trials that it has not seen when all columns of that dimension are
permuted together: the drop of its out-of-bag R2.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from reports.compute.accuracy import Interval
from reports.compute.dimensions import OFF, Dimension, Place
from reports.compute.training import spread
from reports.formatting import plural

FEWEST = 20
MOST = 300
"""Complete trials that the forest learns from; of more, so many, spread over the search."""
TREES = 200
PERMUTATIONS = 10
RESAMPLES = 2000
SEED = 0
GRID = 24
"""Cells of the surface, along each dimension."""
BACKGROUND = 40
"""Trials over whose other parameters the surface is averaged, at most."""
SWITCHED_OFF = -0.5
"""Where a number that is off lies: below its range, which is from 0 to 1."""

Array = npt.NDArray[np.float64]
Whole = npt.NDArray[np.intp]


def load_forest() -> None:
    """Import what learns the objective, which takes more than a second."""
    import_module("sklearn.ensemble")


@dataclass(frozen=True, kw_only=True)
class DimensionImportance:
    """The importance of one dimension.

    Args:
        dimension: which.
        importance: drop of R2, with its 95 % bootstrap interval over trials.
        used: trials in which the dimension was used.
    """

    dimension: Dimension
    importance: Interval
    used: int

    @property
    def clear(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.importance.low > 0


@dataclass(frozen=True, kw_only=True)
class Surface:
    """What the forest predicts over two dimensions, averaged over all others as they were tried.

    Args:
        across, up: the two dimensions, both numbers.
        values: of the search objective, a fraction, at the middle of each cell; one row for each
            cell of `up`, from the low end.
    """

    across: Dimension
    up: Dimension
    values: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Importance:
    """The importance of every dimension that varied.

    Args:
        trials: that the forest learned from.
        complete: trials that it could have learned from.
        skill: the forest's R2 on trials that it has not seen, with its 95 % interval.
        rows: the most important dimension first.
        surface: over the two most important numbers; None where there are not two.
    """

    trials: int
    complete: int
    skill: Interval
    rows: tuple[DimensionImportance, ...]
    surface: Surface | None


def measure_importance(
    dimensions: Sequence[Dimension],
    parameters: Sequence[Mapping[str, Any]],
    values: Sequence[float],
) -> Importance | str:
    """Measure how much each dimension had to do with the search objective.

    A dimension that is not used in a trial has its usual value there and is permuted among the
    others only, so that its importance is not that of the dimension that decides its use. The
    interval is a percentile bootstrap over trials, the forest being what it is.

    Args:
        dimensions: of the search.
        parameters: of the complete trials, in order of proposal.
        values: of the search objective of the same trials, a fraction.

    Returns:
        The importances, or in a sentence why they are not given.
    """
    if not dimensions:
        return "the run folder does not say what was searched, or over which ranges."
    if len(values) < FEWEST:
        return (
            f"it takes at least {FEWEST} complete trials to tell importance from chance, and this "
            f"run has {len(values)}."
        )
    chosen = spread(range(len(values)), MOST)
    y = np.array([values[index] for index in chosen])
    if np.ptp(y) == 0:
        return f"all {len(values)} complete trials have the same value."
    places = [[d.place(parameters[index]) for index in chosen] for d in dimensions]
    varied = [(d, p) for d, p in zip(dimensions, places, strict=True) if _varies(p)]
    if not varied:
        return f"all {len(values)} complete trials have the same parameters."

    # Takes seconds to load, and most reports need no forest.
    from sklearn.ensemble import RandomForestRegressor

    random = np.random.default_rng(SEED)
    blocks = [_columns(dimension, at) for dimension, at in varied]
    rows = np.concatenate(blocks, axis=1).astype(np.float32)
    ends = np.cumsum([block.shape[1] for block in blocks])
    groups = [slice(end - block.shape[1], end) for end, block in zip(ends, blocks, strict=True)]
    forest = RandomForestRegressor(TREES, random_state=SEED).fit(rows, y)
    unseen = _UnseenTrials.of(forest, len(y))
    error = (y - unseen.predict(rows[np.newaxis])[0]) ** 2
    draws = random.multinomial(len(y), np.full(len(y), 1 / len(y)), size=RESAMPLES)
    skill = _share_of_spread(error, y, draws)
    skill = Interval(value=1 - skill.value, low=1 - skill.high, high=1 - skill.low)
    if skill.value <= 0:
        return (
            f"a forest that learned from {plural(len(y), 'complete trial')} predicts trials that "
            f"it has not seen no better than their mean does (R\N{SUPERSCRIPT TWO} "
            f"{skill.value:.2f}), so its importances would mean nothing."
        )
    measured = []
    for (dimension, at), group in zip(varied, groups, strict=True):
        used = np.array([place is not None for place in at])
        permuted = _permuted(rows, group, used, random)
        worse = ((y - unseen.predict(permuted)) ** 2).mean(axis=0) - error
        measured.append(
            DimensionImportance(
                dimension=dimension,
                importance=_share_of_spread(worse, y, draws),
                used=int(used.sum()),
            )
        )
    order = sorted(range(len(measured)), key=lambda at: -measured[at].importance.value)
    numbers = [at for at in order if measured[at].dimension.numeric][:2]
    pair = [(measured[at].dimension, groups[at]) for at in numbers]
    return Importance(
        trials=len(y),
        complete=len(values),
        skill=skill,
        rows=tuple(measured[at] for at in order),
        surface=_surface(forest, rows, pair) if len(pair) > 1 else None,
    )


@dataclass(frozen=True)
class _UnseenTrials:
    """A forest's predictions of the trials that each of its trees has not seen.

    Args:
        trees: of the forest.
        unseen: of each tree, positions of the trials that it has not seen.
    """

    trees: Sequence[Any]
    unseen: Sequence[Whole]

    @classmethod
    def of(cls, forest: Any, trials: int) -> "_UnseenTrials":
        everyone = np.arange(trials)
        unseen = [np.setdiff1d(everyone, seen) for seen in forest.estimators_samples_]
        return cls(forest.estimators_, unseen)

    def predict(self, rows: npt.NDArray[np.float32]) -> Array:
        """The mean over the trees that have not seen a trial; `rows`: (variants, trials, columns).

        With 200 trees, each trial is unseen by about 74.
        """
        variants, trials, columns = rows.shape
        total = np.zeros((variants, trials))
        for tree, unseen in zip(self.trees, self.unseen, strict=True):
            found = tree.predict(rows[:, unseen].reshape(-1, columns), check_input=False)
            total[:, unseen] += found.reshape(variants, -1)
        return total / np.bincount(np.concatenate(self.unseen), minlength=trials)


def _share_of_spread(amounts: Array, y: Array, draws: npt.NDArray[np.int64]) -> Interval:
    """A sum over trials as a share of the objective's sum of squares, with its interval."""
    spread = draws @ y**2 - (draws @ y) ** 2 / len(y)
    # Resamples in which all values are equal say nothing.
    sound = spread > 0
    shares = (draws @ amounts)[sound] / spread[sound]
    low, high = np.quantile(shares, (0.025, 0.975))
    value = amounts.sum() / ((y - y.mean()) ** 2).sum()
    return Interval(value=float(value), low=float(low), high=float(high))


def _columns(dimension: Dimension, places: Sequence[Place]) -> Array:
    """A dimension as columns: its scaled number and whether it is on, or one for each choice."""
    known = [place for place in places if place is not None]
    usual = _usual(known)
    filled = [usual if place is None else place for place in places]
    if not dimension.numeric:
        choices = sorted({str(place) for place in known})
        return np.array([[place == choice for choice in choices] for place in filled], float)
    numbers = [
        [SWITCHED_OFF, 0.0] if isinstance(place, str) else [dimension.scaled(place), 1.0]
        for place in filled
    ]
    return np.array(numbers)[:, : 2 if OFF in known else 1]


def _usual(known: Sequence[float | str]) -> float | str:
    """The median of numbers, else what is most frequent."""
    numbers = sorted(place for place in known if isinstance(place, float))
    return numbers[len(numbers) // 2] if numbers else Counter(known).most_common(1)[0][0]


def _permuted(
    rows: npt.NDArray[np.float32], group: slice, used: npt.NDArray[np.bool_], random: Any
) -> npt.NDArray[np.float32]:
    """Variants of the rows with one dimension's columns permuted among the trials that use it."""
    variants = np.repeat(rows[np.newaxis], PERMUTATIONS, axis=0)
    positions = np.flatnonzero(used)
    for variant in variants:
        variant[positions, group] = rows[random.permutation(positions), group]
    return variants


def _surface(
    forest: Any, rows: npt.NDArray[np.float32], pair: Sequence[tuple[Dimension, slice]]
) -> Surface:
    (across, across_group), (up, up_group) = pair
    background = rows[list(spread(range(len(rows)), BACKGROUND))]
    middles = (np.arange(GRID) + 0.5) / GRID
    # (up, across, trial, column)
    cells = np.tile(background, (GRID, GRID, 1, 1))
    for group, numbers in ((up_group, middles[:, None, None]), (across_group, middles[:, None])):
        # A number that can be off is on here.
        cells[..., group] = 1.0
        cells[..., group.start] = numbers
    predicted = forest.predict(cells.reshape(-1, rows.shape[1]))
    means = predicted.reshape(GRID, GRID, -1).mean(axis=2)
    values = tuple(tuple(float(mean) for mean in row) for row in means)
    return Surface(across=across, up=up, values=values)


def _varies(places: Sequence[Place]) -> bool:
    return len({place for place in places if place is not None}) > 1
