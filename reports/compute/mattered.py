"""What mattered in a search: which dimensions, which values of them, and where it might go on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from reports.collect import RunData, TrialData, once
from reports.compute.dimensions import Dimension, Place, searched_dimensions
from reports.compute.edges import Edge, find_edges, next_ranges
from reports.compute.importance import Importance, measure_importance
from reports.compute.leaderboard import last_value, rank_trials
from reports.compute.reproduction import best_trial
from reports.compute.training import spread
from reports.configuration import look_up

TOP_TRIALS = 10
MOST_COMPLETE = 200
MOST_EARLY = 100
"""Trials that are drawn. Of more, the best ones, and others at even distances."""


@dataclass(frozen=True, kw_only=True)
class TriedTrial:
    """One trial as the figures draw it.

    Args:
        trial: name.
        state: of the trial.
        value: of the search objective at its own last evaluation, a fraction.
        rank: from 1 for the best complete trial; None for one that ended early or goes on.
        best: whether this is the selected trial, else the best one.
        places: where it lies in each dimension.
    """

    trial: str
    state: str
    value: float
    rank: int | None
    best: bool
    places: tuple[Place, ...]


@dataclass(frozen=True, kw_only=True)
class Mattered:
    """What mattered in a search.

    Args:
        dimensions: those in which trials differ; the most important first where that is known,
            else in the order of the space.
        same: names of the dimensions in which all trials are the same.
        importance: None where it is not given.
        why_not: why it is not given, in a sentence.
        best: name of the selected trial, else of the best complete one; None while there is none.
        called: `selected` or `best`, as that trial is.
        edges: numbers that do best at an edge of their range.
        next_ranges: the ranges to try next as lines of an experiment file; empty for none.
        trials: complete ones first, the best one first; then those that ended early.
        complete: complete trials that there are, drawn or not.
        early: other trials with a value that there are, drawn or not.
    """

    dimensions: tuple[Dimension, ...]
    same: tuple[str, ...]
    importance: Importance | None
    why_not: str
    best: str | None
    called: str
    edges: tuple[Edge, ...]
    next_ranges: str
    trials: tuple[TriedTrial, ...]
    complete: int
    early: int

    @property
    def ranked(self) -> tuple[TriedTrial, ...]:
        """The complete trials that are drawn."""
        return tuple(trial for trial in self.trials if trial.rank is not None)


@once
def what_mattered(run: RunData) -> Mattered | None:
    """Tell what mattered in a search.

    Children of population based training are no ground for importance: their value is the work of
    several configurations.

    Args:
        run: the run's records.

    Returns:
        None for a run that is no search.
    """
    if run.run.kind != "sweep":
        return None
    dimensions = searched_dimensions(run)
    ranked = [trial for trial in rank_trials(run) if trial.trial is not None]
    names = {trial.name for trial in ranked}
    early = [
        trial
        for trial in run.trials
        if trial.name not in names and trial.trial is not None and last_value(trial) is not None
    ]
    measured = _importance(dimensions, ranked)
    importance = None if isinstance(measured, str) else measured
    best = best_trial(run)
    chosen = run.selection.trial if run.selection is not None else None
    called = "selected" if best is not None and best.name == chosen else "best"
    found: tuple[Edge, ...] = ()
    if best is not None and best.trial is not None:
        everyone = [trial.trial.parameters for trial in ranked if trial.trial]
        who = f"{called} trial, {best.name}"
        found = find_edges(dimensions, (who, best.trial.parameters), everyone)
    drawn = _ordered(dimensions, importance, [*ranked, *early])
    places = {name: index + 1 for index, name in enumerate(trial.name for trial in ranked)}
    shown = [*_some(ranked, MOST_COMPLETE), *_some(early, MOST_EARLY)]
    given = look_up(run.experiment, "space.ranges")
    return Mattered(
        dimensions=drawn,
        same=tuple(d.name for d in dimensions if d not in drawn),
        importance=importance,
        why_not=measured if isinstance(measured, str) else "",
        best=best.name if best else None,
        called=called,
        edges=found,
        next_ranges=next_ranges(found, given if isinstance(given, dict) else {}),
        trials=tuple(
            TriedTrial(
                trial=trial.name,
                state=trial.state,
                value=last_value(trial) or 0.0,
                rank=places.get(trial.name),
                best=best is not None and trial.name == best.name,
                places=tuple(d.place(trial.trial.parameters) for d in drawn),
            )
            for trial in shown
            if trial.trial is not None
        ),
        complete=len(ranked),
        early=len(early),
    )


def _importance(dimensions: Sequence[Dimension], ranked: Sequence[TrialData]) -> Importance | str:
    own = sorted((t for t in ranked if t.inherited_steps == 0), key=lambda trial: trial.name)
    parameters = [trial.trial.parameters for trial in own if trial.trial is not None]
    return measure_importance(dimensions, parameters, [last_value(trial) or 0.0 for trial in own])


def _ordered(
    dimensions: Sequence[Dimension], importance: Importance | None, trials: Sequence[TrialData]
) -> tuple[Dimension, ...]:
    """The dimensions in which trials differ, the most important first."""
    differ = [
        dimension
        for dimension in dimensions
        if any(one != other for one, other in pairwise(_places(dimension, trials)))
    ]
    rows = importance.rows if importance is not None else ()
    order = {row.dimension.name: index for index, row in enumerate(rows)}
    return tuple(sorted(differ, key=lambda dimension: order.get(dimension.name, len(order))))


def _places(dimension: Dimension, trials: Sequence[TrialData]) -> Iterator[Place]:
    return (dimension.place(trial.trial.parameters) for trial in trials if trial.trial is not None)


def _some(trials: Sequence[TrialData], most: int) -> list[TrialData]:
    """All trials, or the first ones and others at even distances."""
    if len(trials) <= most:
        return list(trials)
    rest = range(TOP_TRIALS, len(trials))
    return [trials[at] for at in (*range(TOP_TRIALS), *spread(rest, most - TOP_TRIALS))]
