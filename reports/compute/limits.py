"""How much of a large run the page shows: enough to judge by, and no more than reads smoothly."""

import random
from collections.abc import Iterable, Sequence
from typing import TypeVar

from reports.collect import RunData, TrialData
from reports.compute.history import HistoryPoint
from reports.compute.leaderboard import LeaderboardRow, rank_trials

SHOWN_ROWS = 200
"""Rows of a table that has one for each trial."""
UNRANKED_ROWS = 50
"""Of them, where there are more trials: those that are not complete."""

DRAWN_BEST = 50
DRAWN_OTHERS = 100
DRAWN_POINTS = 60
"""Of a learning curve, where not all trials are drawn."""

DRAWN_MARKS = 600
"""Marks of a figure that has one for each trial, and rows of its table."""

SEED = 7

Item = TypeVar("Item")


def drawn_trials(run: RunData) -> tuple[TrialData, ...]:
    """The trials whose learning curves are drawn, in order of proposal.

    All of them where there are few; else the best complete ones and some drawn at random of all
    others, the same each time.

    Args:
        run: the run's records.
    """
    if len(run.trials) <= DRAWN_BEST + DRAWN_OTHERS:
        return run.trials
    kept = {trial.name for trial in rank_trials(run)[:DRAWN_BEST]}
    if run.selection is not None:
        kept.add(run.selection.trial)
    others = [trial.name for trial in run.trials if trial.name not in kept]
    kept |= set(random.Random(SEED).sample(others, min(DRAWN_OTHERS, len(others))))
    return tuple(trial for trial in run.trials if trial.name in kept)


def board_rows(rows: Sequence[LeaderboardRow]) -> tuple[LeaderboardRow, ...]:
    """The rows of the leaderboard that the page shows: from the best, and some without a rank.

    Args:
        rows: all, in order.
    """
    if len(rows) <= SHOWN_ROWS:
        return tuple(rows)
    ranked = [row for row in rows if row.rank is not None]
    others = [row for row in rows if row.rank is None]
    best = ranked[: max(SHOWN_ROWS - len(others), SHOWN_ROWS - UNRANKED_ROWS)]
    best += [row for row in ranked[len(best) :] if row.selected]
    return (*best, *some(others, (), SHOWN_ROWS - len(best)))


def marked_points(points: Sequence[HistoryPoint]) -> tuple[HistoryPoint, ...]:
    """The trials that the figures of the history mark.

    All of them where there are few; else those that were the best so far, the best in the end, and
    some drawn at random, the same each time.

    Args:
        points: in order of proposal.
    """
    if len(points) <= DRAWN_MARKS:
        return tuple(points)
    leading = [
        point for point in points if point.value in {point.best_so_far, point.best_when_ended}
    ]
    known = [point for point in points if point.value is not None and point.state == "complete"]
    best = sorted(known, key=lambda point: -(point.value or 0.0))[:SHOWN_ROWS]
    return some(points, [*leading, *best], DRAWN_MARKS)


def some(items: Sequence[Item], kept: Iterable[Item], most: int) -> tuple[Item, ...]:
    """Leave out some items at random, the same each time, where there are too many.

    Args:
        items: in order.
        kept: those that always stay.
        most: how many may stay, unless more are kept.

    Returns:
        The rest, in order.
    """
    if len(items) <= most:
        return tuple(items)
    places = {id(item) for item in kept}
    others = [item for item in items if id(item) not in places]
    room = max(most - (len(items) - len(others)), 0)
    places |= {id(item) for item in random.Random(SEED).sample(others, min(room, len(others)))}
    return tuple(item for item in items if id(item) in places)
