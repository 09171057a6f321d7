"""What all figures have in common: their style, and texts and numbers fit to be drawn."""

import html
import textwrap
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from reports.formatting import shorten

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
LOSS_COLOURS = ("#0072B2", "#C24A00", "#00795A", "#9B3D74", "#A86400", "#2E86C1", "#4D5560")
HEIGHT = 380
DIGITS = 6
TITLE_WIDTH = 34


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure of the report.

    Args:
        name: part of its id in the page, such as `history-order`.
        figure: the plotly figure.
        summary: what it shows, in one line, for those who do not see it.
    """

    name: str
    figure: go.Figure
    summary: str


def empty_figure(x_title: str, y_title: str, y_format: str | None = ".0%") -> go.Figure:
    """An empty figure in the report's style."""
    axis: dict[str, Any] = {
        "zeroline": False,
        "showline": True,
        "linecolor": "#4D5560",
        "gridcolor": "#DCE1E6",
        "ticks": "outside",
        "automargin": True,
    }
    figure = go.Figure()
    if y_format is not None:
        figure.update_yaxes(minallowed=-0.02, maxallowed=1.02)
    figure.update_layout(
        template="none",
        height=HEIGHT,
        margin={"l": 64, "r": 16, "t": 34, "b": 84},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13, "color": "#14181D"},
        legend={
            "orientation": "h",
            "x": 0,
            "yref": "container",
            "y": 0,
            "yanchor": "bottom",
            "traceorder": "normal",
            "font": {"size": 12},
        },
        hoverlabel={"namelength": -1},
        xaxis={**axis, "title": {"text": x_title}},
        yaxis={**axis, "title": {"text": y_title, "standoff": 12}, "tickformat": y_format},
        uirevision="kept",
    )
    return figure


def plain(text: str) -> str:
    """Text for a figure, where plotly reads markup: escaped, and short enough for a legend."""
    return html.escape(shorten(text))


def axis_title(text: str) -> str:
    """A title that fits beside its axis, in lines where it is long."""
    head, on, tail = text.partition(" on ")
    parts = [head, f"on {tail}"] if on else [text]
    lines = [line for part in parts for line in textwrap.wrap(part, TITLE_WIDTH)]
    return "<br>".join(plain(line) for line in lines) if len(text) > TITLE_WIDTH else plain(text)


def rounded(value: float | None) -> float | None:
    """A value with as many digits as a figure can show; keeps the page small."""
    return None if value is None else float(f"{value:.{DIGITS}g}")
