"""Figures of a search: its history and its learning curves."""

from collections.abc import Sequence

import plotly.graph_objects as go

from reports.compute.history import HistoryPoint
from reports.compute.limits import DRAWN_POINTS
from reports.compute.training import Curve, spread
from reports.figures.base import Figure, axis_title, empty_figure, plain, rounded
from reports.formatting import percent, sentence

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
FEW = 12


def history_figure(
    points: Sequence[HistoryPoint], marked: Sequence[HistoryPoint], by: str, measures: str
) -> Figure:
    """The value of every trial and the best so far.

    Args:
        points: the history of the search.
        marked: those of its points that have a mark.
        by: `order` or `seconds`, what the horizontal axis counts.
        measures: what the value is, in words.
    """
    in_order = by == "order"

    def place(point: HistoryPoint) -> float:
        return point.order if in_order else round(point.ended_after_seconds, 3)

    figure = empty_figure(
        "trials in order of proposal" if in_order else "compute seconds of all trials so far",
        axis_title(f"last {measures}"),
    )
    bests = [(place(p), p.best_so_far if in_order else p.best_when_ended) for p in points]
    line = sorted((x, y) for x, y in bests if y is not None)
    size = 10
    if len(marked) < len(points):
        size = 5
        line = [*_corners(line), *line[-1:]]
    figure.add_trace(
        go.Scatter(
            x=[x for x, _ in line],
            y=[rounded(y) for _, y in line],
            mode="lines",
            name="best so far",
            line={"shape": "hv", "width": 2, "color": "#4D5560"},
            meta={"role": "best"},
            hovertemplate="best so far %{y:.1%}<extra></extra>",
        )
    )
    for state, (symbol, colour) in MARKERS.items():
        chosen = [p for p in marked if p.state == state and p.value is not None]
        if not chosen:
            continue
        figure.add_trace(
            go.Scatter(
                x=[place(p) for p in chosen],
                y=[rounded(p.value) for p in chosen],
                text=[plain(p.trial) for p in chosen],
                mode="markers",
                name=state,
                marker={
                    "symbol": symbol,
                    "size": size,
                    "color": colour,
                    "line": {"width": size // 5, "color": colour},
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


def _corners(line: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Where a line of steps rises."""
    before = [None, *(y for _, y in line[:-1])]
    return [point for point, y in zip(line, before, strict=False) if point[1] != y]


def curves_figure(
    curves: Sequence[Curve],
    best: str | None,
    teacher_accuracy: float | None,
    measures: str,
    evaluated: int,
) -> Figure:
    """The search objective of all trials against student steps.

    Args:
        curves: of all trials that were evaluated.
        best: name of the trial to draw bold; None for none.
        teacher_accuracy: what the teacher has, a fraction; None where there is nothing to compare.
        measures: what the curves show, in words.
        evaluated: trials that have a curve, drawn or not.
    """
    figure = empty_figure("student steps", axis_title(measures))
    bold = [curve for curve in curves if curve.trial == best]
    points = DRAWN_POINTS if len(curves) < evaluated else None
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
        (f"{plain(str(best))}, the best", "bold", bold, 3.5, "solid"),
    )
    for name, role, group, width, dash in groups:
        if group:
            figure.add_trace(_curve_group(name, role, group, width, dash, points))
    if teacher_accuracy is not None:
        end = max((curve.student_steps[-1] for curve in curves), default=1)
        figure.add_trace(
            go.Scatter(
                x=[0, end],
                y=[rounded(teacher_accuracy)] * 2,
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
    which = f"{len(curves)} of {evaluated}" if len(curves) < evaluated else f"{evaluated}"
    return Figure(
        name="curves",
        figure=figure,
        summary=f"{sentence(measures)} of {which} trials while they train{told}.",
    )


def _curve_group(
    name: str, role: str, group: list[Curve], width: float, dash: str, points: int | None
) -> go.Scatter:
    """Many curves as one trace, parted by gaps."""
    x: list[float | None] = []
    y: list[float | None] = []
    text: list[str] = []
    for curve in group:
        places = (
            range(len(curve.values)) if points is None else spread(range(len(curve.values)), points)
        )
        x += [*(curve.student_steps[place] for place in places), None]
        y += [*(rounded(curve.values[place]) for place in places), None]
        text += [f"{plain(curve.trial)}, {curve.state}"] * (len(places) + 1)
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
