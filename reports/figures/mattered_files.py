"""What mattered in a search, as figures for files: what the page draws itself, at its places."""

import math
import re
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from reports.compute.importance import Importance
from reports.compute.mattered import Mattered
from reports.figures.axes import Axis
from reports.figures.base import Figure, empty_figure, plain
from reports.figures.mattered import BANDS, Contour, Mark, MatteredFigures, ParallelLines, Slice
from reports.formatting import percent, plural, sentence

COLUMNS = 3
SHOWN = 20
"""Dimensions in a figure, at most: the most important ones."""
SLICE_HEIGHT, ROW_HEIGHT = 240, 30
LONGEST_LINE = 34
"""Characters."""
BLUE, GREY, ORANGE = "#0072B2", "#8A929C", "#C24A00"
MARKS = {
    "early": ("ended early", {"symbol": "circle-open", "size": 6, "color": GREY}),
    "complete": ("complete", {"symbol": "circle", "size": 6, "color": BLUE}),
    "best": ("the best", {"symbol": "star", "size": 14, "color": ORANGE}),
}


def mattered_files(found: Mattered, drawn: MatteredFigures | None) -> tuple[Figure, ...]:
    """Draw what mattered for files.

    Args:
        found: its numbers.
        drawn: the drawings of the page; None where it has none.

    Returns:
        Importance, slices, contour and parallel coordinates; those that there are.
    """
    figures = []
    if found.importance is not None:
        figures.append(_importance(found.importance))
    if drawn is not None:
        figures.append(_slices(drawn.slices[:SHOWN], drawn.y))
        if drawn.contour is not None:
            figures.append(_contour(drawn.contour))
        if drawn.lines is not None:
            figures.append(_parallel(drawn.lines))
    return tuple(figures)


def _importance(importance: Importance) -> Figure:
    rows = importance.rows[:SHOWN]
    values = [row.importance for row in rows]
    figure = empty_figure("drop of R² without the dimension", "", y_format=None)
    figure.add_trace(
        go.Bar(
            x=[value.value for value in values],
            y=[plain(row.dimension.name) for row in rows],
            orientation="h",
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [value.high - value.value for value in values],
                "arrayminus": [value.value - value.low for value in values],
                "thickness": 1.5,
                "width": 4,
            },
            marker={
                "color": [BLUE if row.clear else "rgba(0,0,0,0)" for row in rows],
                "line": {"color": BLUE, "width": 1.5},
            },
        )
    )
    figure.update_layout(showlegend=False, height=130 + ROW_HEIGHT * len(rows))
    figure.update_yaxes(autorange="reversed")
    told = f"over {plural(importance.trials, 'trial')}, with 95 % intervals"
    return Figure(name="importance", figure=figure, summary=f"Importance {told}.")


def _slices(slices: Sequence[Slice], y: Axis) -> Figure:
    rows = math.ceil(len(slices) / COLUMNS)
    figure = make_subplots(
        rows=rows,
        cols=COLUMNS,
        subplot_titles=[_named(each.x) for each in slices],
        shared_yaxes=True,
        horizontal_spacing=0.03,
        vertical_spacing=0.45 / rows,
    )
    figure.update_layout(**_style(y.name))
    figure.update_annotations(font={"size": 12})
    for place, each in enumerate(slices):
        where = {"row": place // COLUMNS + 1, "col": place % COLUMNS + 1}
        for trace in _marks(each.marks, legend=place == 0):
            figure.add_trace(trace, **where)
        figure.update_xaxes(**_axis(each.x), **where)
        figure.update_yaxes(**_axis(y), **where)
    for row in range(rows):
        figure.update_yaxes(
            title={"text": sentence(y.name)}, row=row + 1, col=1, title_font_size=12
        )
    figure.update_layout(height=100 + SLICE_HEIGHT * rows)
    return Figure(name="slices", figure=figure, summary=" ".join(each.summary for each in slices))


def _contour(contour: Contour) -> Figure:
    figure = empty_figure(_named(contour.x), _named(contour.y), y_format=None)
    for band, values in enumerate(contour.bands):
        cells = [cell for cell in contour.cells if cell.band == band]
        corners = [_corners(c.x, 100 - c.y, c.x + c.width, 100 - c.y - c.height) for c in cells]
        figure.add_trace(
            go.Scatter(
                x=[x for xs, _ in corners for x in xs],
                y=[y for _, ys in corners for y in ys],
                mode="lines",
                line={"width": 0},
                fill="toself",
                fillcolor=f"rgba(0,114,178,{0.06 + 0.8 * band / (BANDS - 1):.2f})",
                name=f"{100 * values.low:.1f} to {percent(values.high)}",
            )
        )
    for trace in _marks(contour.marks):
        trace.update(marker={"line": {"color": "#FFFFFF", "width": 1}})
        figure.add_trace(trace)
    figure.update_xaxes(**_axis(contour.x), showgrid=False)
    figure.update_yaxes(**_axis(contour.y), showgrid=False, minallowed=None, maxallowed=None)
    figure.update_layout(height=620)
    return Figure(name="contour", figure=figure, summary=contour.summary)


def _corners(
    left: float, top: float, right: float, bottom: float
) -> tuple[list[float | None], list[float | None]]:
    """A rectangle as a closed line with a gap after it."""
    return [left, right, right, left, left, None], [top, top, bottom, bottom, top, None]


def _parallel(lines: ParallelLines) -> Figure:
    figure = empty_figure("", "", y_format=None)
    looks = {
        "other": ("other trials", {"width": 1, "color": "rgba(138,146,156,0.45)"}),
        "top": (f"the {lines.top} best", {"width": 1.5, "color": BLUE}),
        "best": ("the best", {"width": 3.5, "color": ORANGE}),
    }
    for role, (name, look) in looks.items():
        of_role = [line for line in lines.lines if line.role == role]
        if of_role:
            rows = [[*range(len(line.at)), None] for line in of_role]
            figure.add_trace(
                go.Scatter(
                    x=[at for line in of_role for at in (*line.at, None)],
                    y=[row for each in rows for row in each],
                    mode="lines",
                    line=look,
                    name=name,
                )
            )
    for row, axis in enumerate(lines.axes):
        for tick in axis.ticks:
            figure.add_annotation(
                x=tick.at, y=row, text=plain(tick.text), showarrow=False, yshift=-10, font_size=10
            )
    figure.update_xaxes(range=[0, 100], showticklabels=False, ticks="", showgrid=False)
    figure.update_yaxes(
        range=[len(lines.axes) - 0.4, -0.4],
        tickmode="array",
        tickvals=[*range(len(lines.axes))],
        ticktext=[_named(axis) for axis in lines.axes],
        minallowed=None,
        maxallowed=None,
    )
    figure.update_layout(height=130 + 48 * len(lines.axes))
    return Figure(name="parallel", figure=figure, summary=lines.summary)


def _marks(marks: Sequence[Mark], *, legend: bool = True) -> list[go.Scatter]:
    return [
        go.Scatter(
            x=[mark.x for mark in of_role],
            y=[mark.y for mark in of_role],
            mode="markers",
            marker=look,
            name=name,
            legendgroup=role,
            showlegend=legend,
        )
        for role, (name, look) in MARKS.items()
        if (of_role := [mark for mark in marks if mark.role == role])
    ]


def _axis(axis: Axis) -> dict[str, object]:
    """The page's axis: places in percent, with its own texts."""
    return {
        "range": [0, 100],
        "tickmode": "array",
        "tickvals": [tick.at for tick in axis.ticks],
        "ticktext": [plain(tick.text) for tick in axis.ticks],
        "tickfont": {"size": 11},
        "zeroline": False,
        "showline": True,
        "linecolor": "#4D5560",
        "gridcolor": "#DCE1E6",
    }


def _named(axis: Axis) -> str:
    """The axis's name, in lines that fit above a slice."""
    lines = [""]
    for part in re.findall(r"[^.*]+[.*]?", axis.name + (" (log)" if axis.log else "")):
        if lines[-1] and len(lines[-1] + part) > LONGEST_LINE:
            lines.append("")
        lines[-1] += part
    return "<br>".join(plain(line) for line in lines)


def _style(title: str) -> dict[str, object]:
    """The look of all figures, for one of several parts."""
    whole = empty_figure("", title, y_format=None).layout.to_plotly_json()
    return {name: of for name, of in whole.items() if name not in ("xaxis", "yaxis", "height")}
