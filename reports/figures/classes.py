"""The figure of teacher and student class by class."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from reports.compute.classes import ClassReport, ClassRow
from reports.figures.base import Figure, empty_figure, plain, rounded
from reports.formatting import percent, shorten

ROW_HEIGHT = 22
LONGEST_NAME = 24


def classes_figure(found: ClassReport) -> Figure:
    """What teacher and student have right of each class that is shown, the largest loss on top.

    Args:
        found: the classes.
    """
    # A row stays free where classes are left out.
    rows = (*found.first, *((None,) if found.last else ()), *found.last)
    title = "accuracy (%)" if found.labelled else "agreement with the teacher (%)"
    figure = empty_figure(title, "", y_format=None)
    if found.labelled:
        figure.add_trace(_gaps(rows))
        shares = [row.teacher_share if row else None for row in rows]
        figure.add_trace(_dots(rows, shares, "teacher", "teacher", "diamond-open", 12))
    shares = [row.student_share if row else None for row in rows]
    figure.add_trace(_dots(rows, shares, "student", "complete", "circle", 8))
    figure.update_layout(height=150 + ROW_HEIGHT * len(rows), showlegend=found.labelled)
    figure.update_yaxes(
        tickmode="array",
        tickvals=list(range(len(rows))),
        # Names are no categories: two that are shortened alike stay two.
        ticktext=[
            plain(shorten(row.name, LONGEST_NAME)) if row else f"{found.left_out} more in between"
            for row in rows
        ],
        range=[len(rows) - 0.4, -0.6],
        tickfont={"size": 11},
    )
    figure.update_xaxes(range=_range(found))
    return Figure(name="classes", figure=figure, summary=_summary(found))


def _range(found: ClassReport) -> list[float]:
    """Whole tens around all accuracies that are shown, and some space for their marks."""
    shares = [
        100 * share
        for row in (*found.first, *found.last)
        for share in (row.student_share, row.teacher_share)
        if share is not None
    ]
    low, high = 10 * math.floor(min(shares) / 10), 10 * math.ceil(max(shares) / 10)
    space = 0.02 * max(10, high - low)
    return [low - space, high + space]


def _summary(found: ClassReport) -> str:
    known = found.known
    of = "1 class" if len(known) == 1 else f"{len(known):,} classes"
    if not found.labelled:
        least = known[0]
        return (
            f"Agreement of the student with the teacher in {of}: least in class "
            f"{shorten(least.name)}, {percent(least.student_share)}."
        )
    told = (
        f"The student has fewer right than the teacher in {found.lower} of {of}, more in "
        f"{found.higher}, as many in {len(known) - found.lower - found.higher}"
    )
    worst = known[0]
    if worst.gap is not None and worst.gap < 0:
        told += (
            f"; it loses most in class {shorten(worst.name)}, {percent(worst.student_share)} "
            f"where the teacher has {percent(worst.teacher_share)}"
        )
    return f"{told}."


def _dots(
    rows: Sequence[ClassRow | None],
    shares: Sequence[float | None],
    name: str,
    role: str,
    symbol: str,
    size: int,
) -> go.Scatter:
    colour = {"teacher": "#B84600", "complete": "#0072B2"}[role]
    return go.Scatter(
        x=[None if share is None else rounded(100 * share) for share in shares],
        y=list(range(len(rows))),
        text=[plain(row.name) if row else "" for row in rows],
        customdata=[row.images if row else 0 for row in rows],
        mode="markers",
        name=name,
        marker={
            "symbol": symbol,
            "size": size,
            "color": colour,
            "line": {"width": 2, "color": colour},
        },
        meta={"role": role},
        hovertemplate=f"%{{text}}, {name}: %{{x:.1f}} % of %{{customdata}} images<extra></extra>",
    )


def _gaps(rows: Sequence[ClassRow | None]) -> go.Scatter:
    """A line from the teacher to the student of each class."""
    x: list[float | None] = []
    y: list[int | None] = []
    for place, row in enumerate(rows):
        if row and row.teacher_share is not None and row.student_share is not None:
            x += [rounded(100 * row.teacher_share), rounded(100 * row.student_share), None]
            y += [place, place, None]
    return go.Scatter(
        x=x,
        y=y,
        mode="lines",
        line={"width": 2, "color": "#8A929C"},
        meta={"role": "faint"},
        hoverinfo="skip",
        showlegend=False,
    )
