"""Figures of what mattered in a search, as places in percent of a drawing's width and height.

The page draws them itself as SVG, so that they print, follow the theme and need no script. Text
stands beside the drawing as HTML and keeps its size at every width.
"""

from dataclasses import dataclass

from reports.compute.importance import DimensionImportance, Surface
from reports.compute.mattered import TOP_TRIALS, Mattered, TriedTrial
from reports.figures.axes import (
    Axis,
    dimension_axis,
    number_axis,
    place_on,
    place_words,
    value_axis,
)
from reports.formatting import percent, plural, sentence

SLICE_ROOM, LINES_ROOM = 23, 46
"""Characters that fit beside one another, on the narrowest page."""
MOST_AXES = 20
BANDS = 7
SHOWN_CELLS = (0, 6, 12, 17, 23)
"""Cells of the surface that its table holds, along each dimension."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One trial in a slice or over a surface.

    Args:
        x, y: percent of the drawing, from its left and from its bottom.
        role: `complete`, `early` or `best`.
        text: what it is, in words.
    """

    x: float
    y: float
    role: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Slice:
    """The trials along one dimension.

    Args:
        x: the dimension's axis.
        marks: one for each trial, the best one last.
        importance: of the dimension; None where it is not known.
        summary: what it shows, in one line.
    """

    x: Axis
    marks: tuple[Mark, ...]
    importance: DimensionImportance | None
    summary: str


@dataclass(frozen=True, kw_only=True)
class Band:
    """Values that the surface shows in one shade.

    Args:
        low, high: of the search objective, fractions.
    """

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A stretch of the surface in one shade; all in percent, `y` from the top."""

    x: float
    y: float
    width: float
    height: float
    band: int


@dataclass(frozen=True, kw_only=True)
class Contour:
    """The forest's prediction over two dimensions, and the complete trials.

    Args:
        x, y: the axes.
        cells: that cover the drawing.
        bands: shades, the lowest values first.
        marks: complete trials that have both numbers, the best one last.
        rows: for the table: a number of the dimension upwards, and the prediction at each number
            of `columns`; the highest first.
        columns: numbers of the dimension across.
        summary: what it shows, in one line.
    """

    x: Axis
    y: Axis
    cells: tuple[Cell, ...]
    bands: tuple[Band, ...]
    marks: tuple[Mark, ...]
    rows: tuple[tuple[float, tuple[float, ...]], ...]
    columns: tuple[float, ...]
    summary: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """A complete trial across all axes.

    Args:
        trial: name.
        rank: from 1.
        value: of the search objective, a fraction.
        role: `best`, `top` or `other`.
        at: percent on each axis.
    """

    trial: str
    rank: int
    value: float
    role: str
    at: tuple[float, ...]

    @property
    def points(self) -> str:
        """For a polyline: 10 units for a percent across, 100 for an axis downwards."""
        return " ".join(f"{10 * x:.0f},{100 * row + 50}" for row, x in enumerate(self.at))


@dataclass(frozen=True, kw_only=True)
class ParallelLines:
    """Parallel coordinates, with the axes below one another.

    Args:
        axes: the search objective first.
        lines: complete trials, the best one last, so that it lies on top.
        left_out: names of dimensions for which there is no room.
        top: how many trials count as the best ones.
        summary: what it shows, in one line.
    """

    axes: tuple[Axis, ...]
    lines: tuple[Line, ...]
    left_out: tuple[str, ...]
    top: int
    summary: str


@dataclass(frozen=True, kw_only=True)
class MatteredFigures:
    """All figures of what mattered.

    Args:
        y: axis of the search objective, of all slices.
        slices: one for each dimension.
        contour: None without importance or two numbers.
        lines: None with fewer than two complete trials.
    """

    y: Axis
    slices: tuple[Slice, ...]
    contour: Contour | None
    lines: ParallelLines | None


def mattered_figures(found: Mattered, measures: str) -> MatteredFigures | None:
    """Draw what mattered.

    Args:
        found: its numbers.
        measures: what the value is, in words.

    Returns:
        None where there is no trial with a value, or no dimension in which trials differ.
    """
    if not found.trials or not found.dimensions:
        return None
    y = value_axis([trial.value for trial in found.trials], measures)
    surface = found.importance.surface if found.importance is not None else None
    return MatteredFigures(
        y=y,
        slices=tuple(_slice(found, index, y) for index in range(len(found.dimensions))),
        contour=_contour(found, surface, measures) if surface is not None else None,
        lines=_lines(found, measures) if len(found.ranked) > 1 else None,
    )


def _slice(found: Mattered, index: int, y: Axis) -> Slice:
    dimension = found.dimensions[index]
    x = dimension_axis(dimension, [trial.places[index] for trial in found.trials], SLICE_ROOM)
    # What lies on top comes last.
    order = sorted(found.trials, key=lambda trial: (trial.best, trial.rank is not None))
    rows = found.importance.rows if found.importance is not None else ()
    best = next((trial for trial in found.trials if trial.best), None)
    complete = sum(t.rank is not None and t.places[index] is not None for t in found.trials)
    told = (
        f"; the {found.called} one, {best.trial}, at {place_words(best.places[index])} with "
        f"{percent(best.value)}"
        if best
        else ""
    )
    return Slice(
        x=x,
        marks=tuple(
            Mark(
                x=place_on(x, dimension, trial.places[index]),
                y=y.height(trial.value),
                role=_role(trial),
                text=f"{trial.trial}, {trial.state}: {place_words(trial.places[index])}, "
                f"{percent(trial.value)}",
            )
            for trial in order
        ),
        importance=next((row for row in rows if row.dimension == dimension), None),
        summary=f"{sentence(y.name)} along {dimension.name}{', logarithmic' if x.log else ''}: "
        f"{plural(complete, 'complete trial')}{told}.",
    )


def _contour(found: Mattered, surface: Surface, measures: str) -> Contour:
    columns, rows = len(surface.values[0]), len(surface.values)
    lowest, highest = min(map(min, surface.values)), max(map(max, surface.values))
    width = (highest - lowest) / BANDS or 1.0
    cells = []
    for row, values in enumerate(surface.values):
        bands = [min(BANDS - 1, int((value - lowest) / width)) for value in values]
        first = 0
        for column in range(1, columns + 1):
            if column == columns or bands[column] != bands[first]:
                cells.append(
                    Cell(
                        x=_fine(100 * first / columns),
                        y=_fine(100 - 100 * (row + 1) / rows),
                        width=_fine(100 * (column - first) / columns),
                        height=_fine(100 / rows),
                        band=bands[first],
                    )
                )
                first = column
    axes = [number_axis(dimension, SLICE_ROOM) for dimension in (surface.across, surface.up)]
    at = [found.dimensions.index(dimension) for dimension in (surface.across, surface.up)]
    marks = []
    for trial in sorted(found.ranked, key=lambda trial: trial.best):
        places = [trial.places[index] for index in at]
        if all(isinstance(place, float) for place in places):
            x, y = (
                place_on(axis, found.dimensions[index], place)
                for axis, index, place in zip(axes, at, places, strict=True)
            )
            told = ", ".join(place_words(place) for place in places)
            text = f"{trial.trial}: {told}, {percent(trial.value)}"
            marks.append(Mark(x=x, y=y, role=_role(trial), text=text))
    shown = [(cell + 0.5) / rows for cell in SHOWN_CELLS]
    return Contour(
        x=axes[0],
        y=axes[1],
        cells=tuple(cells),
        bands=tuple(
            Band(low=lowest + index * width, high=lowest + (index + 1) * width)
            for index in range(BANDS)
        ),
        marks=tuple(marks),
        rows=tuple(
            (
                surface.up.value_at(share),
                tuple(surface.values[cell][column] for column in SHOWN_CELLS),
            )
            for cell, share in reversed(tuple(zip(SHOWN_CELLS, shown, strict=True)))
        ),
        columns=tuple(surface.across.value_at(share) for share in shown),
        summary=f"{sentence(measures)} as the forest predicts it, from {percent(lowest)} to "
        f"{percent(highest)}, over {surface.across.name} (across) and {surface.up.name} "
        f"(upwards); {plural(len(marks), 'complete trial')} as marks.",
    )


def _lines(found: Mattered, measures: str) -> ParallelLines:
    trials = found.ranked
    shown = range(min(len(found.dimensions), MOST_AXES))
    value = value_axis([trial.value for trial in trials], measures)
    axes = [
        dimension_axis(
            found.dimensions[index], [trial.places[index] for trial in trials], LINES_ROOM
        )
        for index in shown
    ]
    top = min(TOP_TRIALS, len(trials))
    lines = []
    for trial in reversed(trials):
        rank = trial.rank or 0
        # Lines that meet in a choice lie side by side there, in order of their value.
        aside = 3 * ((rank - 1) / max(1, found.complete - 1) - 0.5)
        at = [value.height(trial.value)]
        for index, axis in zip(shown, axes, strict=True):
            place = trial.places[index]
            apart = 0.0 if isinstance(place, float) else -aside
            at.append(round(place_on(axis, found.dimensions[index], place) + apart, 1))
        role = "best" if trial.best else "top" if rank <= top else "other"
        lines.append(Line(trial=trial.trial, rank=rank, value=trial.value, role=role, at=tuple(at)))
    lines.sort(key=lambda line: line.role == "best")
    return ParallelLines(
        axes=(value, *axes),
        lines=tuple(lines),
        left_out=tuple(d.name for d in found.dimensions[MOST_AXES:]),
        top=top,
        summary=f"{plural(len(lines), 'complete trial')} as lines across {measures} and "
        f"{plural(len(axes), 'dimension')}; the best {top} stand out.",
    )


def _role(trial: TriedTrial) -> str:
    return "best" if trial.best else "early" if trial.rank is None else "complete"


def _fine(at: float) -> float:
    return round(at, 3)
