"""Figures: plotly figures of computed numbers, each with a summary in one line.

The colours here are those of the light theme and a fallback. A trace names its role in
`meta.role`; the page's script gives each role the colour of the theme that is shown, and does the
same for text and grid. Shapes and dashes tell the roles apart without colour.
"""

import html
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from reports.compute.history import HistoryPoint
from reports.compute.training import Curve, LossTerms, TimeShare
from reports.formatting import percent, sentence, shorten

MARKERS = {
    "complete": ("circle", "#0072B2"),
    "stopped": ("triangle-down-open", "#A86400"),
    "running": ("square-open", "#4D5560"),
    "interrupted": ("square-open", "#4D5560"),
    "diverged": ("x-thin", "#C24A00"),
    "collapsed": ("asterisk-open", "#C24A00"),
    "failed": ("cross-thin", "#9B3D74"),
    "unreadable": ("diamond-open", "#4D5560"),
}
LOSS_COLOURS = ("#0072B2", "#C24A00", "#00795A", "#9B3D74", "#A86400", "#2E86C1", "#4D5560")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
TIME_PATTERNS = (
    ("synthesis", "#0072B2", ""),
    ("student", "#A86400", "/"),
    ("evaluation", "#00795A", "."),
    ("other", "#4D5560", "x"),
)
HEIGHT = 380
DIGITS = 6
TITLE_WIDTH = 34
FEW = 12


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


def history_figure(points: Sequence[HistoryPoint], by: str, measures: str) -> Figure:
    """The value of every trial and the best so far.

    Args:
        points: the history of the search.
        by: `order` or `seconds`, what the horizontal axis counts.
        measures: what the value is, in words.
    """
    in_order = by == "order"

    def place(point: HistoryPoint) -> float:
        return point.order if in_order else round(point.ended_after_seconds, 3)

    figure = _figure(
        "trials in order of proposal" if in_order else "compute seconds of all trials so far",
        _axis_title(f"last {measures}"),
    )
    line = [(place(p), p.best_so_far if in_order else p.best_when_ended) for p in points]
    line = sorted((x, y) for x, y in line if y is not None)
    figure.add_trace(
        go.Scatter(
            x=[x for x, _ in line],
            y=[_rounded(y) for _, y in line],
            mode="lines",
            name="best so far",
            line={"shape": "hv", "width": 2, "color": "#4D5560"},
            meta={"role": "best"},
            hovertemplate="best so far %{y:.1%}<extra></extra>",
        )
    )
    for state, (symbol, colour) in MARKERS.items():
        chosen = [p for p in points if p.state == state and p.value is not None]
        if not chosen:
            continue
        figure.add_trace(
            go.Scatter(
                x=[place(p) for p in chosen],
                y=[_rounded(p.value) for p in chosen],
                text=[_plain(p.trial) for p in chosen],
                mode="markers",
                name=state,
                marker={
                    "symbol": symbol,
                    "size": 10,
                    "color": colour,
                    "line": {"width": 2, "color": colour},
                },
                meta={"role": state},
                hovertemplate=f"%{{text}}, {state}<br>%{{y:.1%}}<extra></extra>",
            )
        )
    if in_order:
        figure.update_xaxes(range=[0.5, max(len(points), 1) + 0.5], tickformat="d")
        if len(points) <= FEW:
            figure.update_xaxes(dtick=1)
    best = line[-1][1] if line else None
    shown = sum(1 for p in points if p.value is not None)
    told = "none is complete" if best is None else f"the best complete one has {percent(best)}"
    return Figure(
        name=f"history-{by}",
        figure=figure,
        summary=f"{sentence(measures)}: {shown} of {len(points)} trials were evaluated; {told}.",
    )


def curves_figure(
    curves: Sequence[Curve], best: str | None, teacher_accuracy: float | None, measures: str
) -> Figure:
    """The search objective of all trials against student steps.

    Args:
        curves: of all trials that were evaluated.
        best: name of the trial to draw bold; None for none.
        teacher_accuracy: what the teacher has, a fraction; None where there is nothing to compare.
        measures: what the curves show, in words.
    """
    figure = _figure("student steps", _axis_title(measures))
    bold = [curve for curve in curves if curve.trial == best]
    groups = (
        (
            "stopped, diverged, collapsed or failed",
            "faint",
            [c for c in curves if _ended_early(c)],
            1,
            "dot",
        ),
        (
            "complete or going on",
            "complete",
            [c for c in curves if not _ended_early(c) and c.trial != best],
            1.5,
            "solid",
        ),
        (f"{_plain(str(best))}, the best", "bold", bold, 3.5, "solid"),
    )
    for name, role, group, width, dash in groups:
        if group:
            figure.add_trace(_curve_group(name, role, group, width, dash))
    if teacher_accuracy is not None:
        end = max((curve.student_steps[-1] for curve in curves), default=1)
        figure.add_trace(
            go.Scatter(
                x=[0, end],
                y=[_rounded(teacher_accuracy)] * 2,
                mode="lines",
                name="teacher",
                line={"dash": "dash", "width": 2, "color": "#C24A00"},
                meta={"role": "teacher"},
                hovertemplate="teacher %{y:.1%}<extra></extra>",
            )
        )
    told = (
        f"; {best} ends at {percent(bold[0].values[-1])}" if bold else "; no trial is complete"
    ) + (f", the teacher has {percent(teacher_accuracy)}" if teacher_accuracy is not None else "")
    return Figure(
        name="curves",
        figure=figure,
        summary=f"{sentence(measures)} of {len(curves)} trials while they train{told}.",
    )


def losses_figure(losses: LossTerms, trial: str) -> Figure:
    """The weighted loss terms of one trial over its epochs.

    Their sizes differ by orders of magnitude, and some are negative: each is drawn as a share of
    its own largest size, and the value itself is shown on hovering.
    """
    figure = _figure("epoch", "share of the term's largest size", y_format=".0%")
    for place, (name, values) in enumerate(losses.terms.items()):
        largest = max((abs(value) for value in values if value is not None), default=0.0) or 1.0
        colour = LOSS_COLOURS[place % len(LOSS_COLOURS)]
        figure.add_trace(
            go.Scatter(
                x=list(losses.epochs),
                y=[None if value is None else _rounded(value / largest) for value in values],
                customdata=[_rounded(value) for value in values],
                mode="lines",
                name=_plain(name),
                line={"width": 2, "color": colour, "dash": DASHES[place % len(DASHES)]},
                meta={"role": f"loss-{place % len(LOSS_COLOURS)}"},
                hovertemplate="%{customdata:.4g}",
            )
        )
    figure.update_layout(hovermode="x unified")
    figure.update_yaxes(minallowed=-1.02)
    return Figure(
        name="losses",
        figure=figure,
        summary=f"{len(losses.terms)} weighted loss terms of {trial} over "
        f"{len(losses.epochs)} epochs.",
    )


def entropy_figure(losses: LossTerms, trial: str) -> Figure:
    """How evenly the synthetic images of one trial spread over the classes."""
    figure = _figure("epoch", "class entropy (nats)", y_format=None)
    known = [
        (epoch, value)
        for epoch, value in zip(losses.epochs, losses.class_entropy, strict=True)
        if value is not None
    ]
    figure.add_trace(
        go.Scatter(
            x=[epoch for epoch, _ in known],
            y=[_rounded(value) for _, value in known],
            mode="lines+markers",
            name="class entropy",
            line={"width": 2, "color": "#0072B2"},
            marker={"size": 5, "color": "#0072B2"},
            meta={"role": "complete"},
            hovertemplate="epoch %{x}: %{y:.3f} nats<extra></extra>",
        )
    )
    figure.update_layout(showlegend=False, height=260)
    return Figure(
        name="entropy",
        figure=figure,
        summary=f"Class entropy of the synthetic images of {trial}: "
        f"{known[0][1]:.2f} nats at first, {known[-1][1]:.2f} at last.",
    )


def time_figure(shares: Sequence[TimeShare]) -> Figure:
    """Where the time went, per state of the trials."""
    figure = _figure("compute seconds", "", y_format=None)
    names = [f"{share.name} ({share.trials})" for share in shares]
    for part, colour, pattern in TIME_PATTERNS:
        figure.add_trace(
            go.Bar(
                x=[_rounded(getattr(share, part)) for share in shares],
                y=names,
                orientation="h",
                name=part,
                marker={
                    "color": colour,
                    "pattern": {
                        "shape": pattern,
                        "size": 7,
                        "solidity": 0.2,
                        "bgcolor": colour,
                        "fgcolor": "#FFFFFF",
                    },
                },
                meta={"role": f"time-{part}"},
                hovertemplate=f"{part} %{{x:,.1f}} s<extra></extra>",
            )
        )
    figure.update_layout(barmode="stack", bargap=0.35, height=190 + 40 * len(shares))
    figure.update_yaxes(autorange="reversed", showgrid=False)
    whole = shares[-1]
    share = whole.synthesis / whole.total if whole.total else 0.0
    return Figure(
        name="time",
        figure=figure,
        summary=f"{whole.total:,.1f} compute seconds in all; {percent(share)} went to synthesis.",
    )


def _curve_group(name: str, role: str, group: list[Curve], width: float, dash: str) -> go.Scatter:
    """Many curves as one trace, parted by gaps."""
    x: list[float | None] = []
    y: list[float | None] = []
    text: list[str] = []
    for curve in group:
        x += [*curve.student_steps, None]
        y += [*(_rounded(value) for value in curve.values), None]
        text += [f"{_plain(curve.trial)}, {curve.state}"] * (len(curve.values) + 1)
    colour = {"faint": "#8A929C", "complete": "#0072B2", "bold": "#14181D"}[role]
    return go.Scatter(
        x=x,
        y=y,
        text=text,
        mode="lines+markers",
        name=name,
        connectgaps=False,
        line={"width": width, "color": colour, "dash": dash},
        marker={"size": width + 2, "color": colour},
        opacity=0.75 if role == "faint" else 1,
        meta={"role": role},
        hovertemplate="%{text}<br>step %{x:,}: %{y:.1%}<extra></extra>",
    )


def _ended_early(curve: Curve) -> bool:
    return curve.state in {"stopped", "diverged", "collapsed", "failed"}


def _figure(x_title: str, y_title: str, y_format: str | None = ".0%") -> go.Figure:
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


def _plain(text: str) -> str:
    """Text for a figure, where plotly reads markup: escaped, and short enough for a legend."""
    return html.escape(shorten(text))


def _axis_title(text: str) -> str:
    """A title that fits beside its axis, in two lines where it is long."""
    head, on, tail = text.partition(" on ")
    lines = [head, f"on {tail}"] if on else textwrap.wrap(text, TITLE_WIDTH)
    return "<br>".join(_plain(line) for line in lines) if len(text) > TITLE_WIDTH else _plain(text)


def _rounded(value: float | None) -> float | None:
    """A value with as many digits as a figure can show; keeps the page small."""
    return None if value is None else float(f"{value:.{DIGITS}g}")
