"""First points from finished sweeps: what did best for other teachers or benchmarks."""

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dfkd_tune.distillation import DistillationConfig
from dfkd_tune.errors import DfkdTuneError, ExperimentError, SpaceError
from dfkd_tune.records import RunFolder
from search_spaces import SearchSpace, get_key

Parameters = Mapping[str, Any]


def recorded_warm_points(run: RunFolder, sources: Sequence[Path]) -> list[Parameters] | None:
    """The points that a run has begun with, so that it goes on where its sources are gone.

    Returns:
        None where the run has not begun, or began from other sources.
    """
    if not run.experiment_file.exists():
        return None
    try:
        experiment = run.experiment()
    except DfkdTuneError:
        return None
    points, before = experiment.get("warm_points"), experiment.get("search", {}).get("warm_start")
    same = before == [str(source) for source in sources]
    return list(points) if same and isinstance(points, list) else None


def warm_points(
    sources: Sequence[Path],
    space: SearchSpace,
    base_of: Callable[[Parameters], DistillationConfig],
    *,
    most: int,
    known: Sequence[Parameters],
) -> list[Parameters]:
    """The best points of finished sweeps, as far as they lie within a space.

    The sources take turns, each with its best complete trial first: values of different teachers
    cannot be compared. Of a trial, the values count that the space searches too and whose range
    holds them; all else is the recipe's.

    Args:
        sources: run folders.
        space: of the new search.
        base_of: the recipe that a point changes.
        most: points.
        known: points that are tried anyway.

    Raises:
        RunFolderError: if a source is no run folder.
        ExperimentError: if one has no complete trial, or if none of all lies within the space.
    """
    ranked = [_ranked(RunFolder.open(source)) for source in sources]
    for source, trials in zip(sources, ranked, strict=True):
        if not trials:
            raise ExperimentError(f"{source} has no complete trial to begin from")
    turns = [each for round_ in zip_longest(*ranked) for each in round_ if each is not None]
    fitting = [_within(parameters, space, base_of) for parameters in turns]
    points: list[Parameters] = []
    for point in fitting:
        if point is not None and point not in [*known, *points]:
            points.append(point)
    if not any(fitting):
        names = " and ".join(str(source) for source in sources)
        raise ExperimentError(f"no trial of {names} lies within this search's space")
    return points[:most]


def _ranked(run: RunFolder) -> list[Parameters]:
    """The parameters of a run's complete trials, the best first."""
    found = []
    for folder in run.trial_folders():
        epochs = folder.epochs()
        if folder.status().state == "complete" and epochs and epochs[-1].value is not None:
            found.append((-epochs[-1].value, folder.name, folder.trial().parameters))
    return [parameters for _, _, parameters in sorted(found, key=lambda each: each[:2])]


def _within(
    parameters: Parameters,
    space: SearchSpace,
    base_of: Callable[[Parameters], DistillationConfig],
) -> Parameters | None:
    """The nearest point of a space; None where it has nothing of these parameters."""
    switches = {d.switch_key for d in space.dimensions if d.switch}
    values = {name: value for name, value in parameters.items() if name in switches}
    for dimension in space.dimensions:
        value = parameters.get(dimension.name)
        if value is not None and dimension.holds(value):
            values[dimension.name] = value
    if not values:
        return None
    try:
        base = base_of(values)
        for dimension in space.dimensions:
            # Not the recipe's number with this trial's other one: their product would be neither's.
            if dimension.times and dimension.method in ("", base.method):
                values.setdefault(dimension.name, get_key(base, dimension.searched))
        return space.point(space.configuration(base, values))
    except (KeyError, SpaceError, ValidationError):
        return None
