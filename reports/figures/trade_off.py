"""The figure of a trade-off: the search objective against a cost."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from reports.compute.limits import DRAWN_MARKS, some
from reports.compute.trade_off import TradeOff, WeighedTrial
from reports.figures.base import Figure, axis_title, empty_figure, plain, rounded
from reports.formatting import cost_in_full, percent, plural, relative, sentence

AXES = {
    "parameters": "parameters of the student",
    "macs": "MACs of one image",
    "latency": "latency of one image (ms)",
    "training_seconds": "seconds of training",
}
WIDE = 5.0
"""From this many times the smallest cost, the axis is logarithmic."""


def trade_off_figure(found: TradeOff) -> Figure:
    """Value of every complete trial against its cost, those that no other surpasses joined.

    Args:
        found: the trials.
    """
    everyone = (*found.pareto_set, *found.surpassed)
    measure = f"relative {found.measures}" if found.relative else found.measures
    figure = empty_figure(
        AXES[found.against],
        f"{axis_title(measure)} (%)",
        y_format=None,
    )
    costs = [trial.cost for trial in everyone]
    if min(costs) > 0 and max(costs) >= WIDE * min(costs):
        low, high = (math.log10(each) for each in (min(costs), max(costs)))
        edge = 0.06 * (high - low)
        figure.update_xaxes(type="log", range=[low - edge, high + edge], dtick=_ticks(high - low))
    elif min(costs) == max(costs):
        figure.update_xaxes(range=[0.9 * costs[0], 1.1 * costs[0]])
    figure.update_xaxes(tickformat=".3~s")
    if found.surpassed:
        figure.add_trace(
            _marks(
                found,
                some(found.surpassed, (), DRAWN_MARKS),
                "surpassed",
                "faint",
                "circle-open",
                8,
            )
        )
    figure.add_trace(_stepped(found, max(costs)))
    chosen = [trial for trial in everyone if trial.selected]
    if chosen:
        figure.add_trace(_marks(found, chosen, "selected", "bold", "star", 15))
    values = [
        f"{_value(found, trial)} at {cost_in_full(trial.cost, found.against)}"
        for trial in dict.fromkeys((found.pareto_set[0], found.pareto_set[-1]))
    ]
    told = f"{plural(len(found.pareto_set), 'trial')} of {len(everyone)} complete ones"
    return Figure(
        name="trade-off",
        figure=figure,
        summary=f"{sentence(measure)} against {found.words}: no other trial surpasses {told}, "
        f"{'of ' if len(values) == 1 else 'from '}{' to '.join(values)}.",
    )


def _ticks(decades: float) -> str | int:
    """Ticks of a logarithmic axis: 1, 2, 5 where it is short enough for them."""
    return "D2" if decades <= 2 else 1


def _height(found: TradeOff, trial: WeighedTrial) -> float:
    if found.relative and trial.relative is not None:
        return trial.relative
    return 100 * trial.value


def _value(found: TradeOff, trial: WeighedTrial) -> str:
    return relative(trial.relative) if found.relative else percent(trial.value)


def _stepped(found: TradeOff, end: float) -> go.Scatter:
    """The Pareto set, joined by what can be had at each cost or less, up to the dearest trial."""
    trace = _marks(found, found.pareto_set, "Pareto set", "complete", "circle", 10)
    trace.update(
        mode="lines+markers", line={"shape": "hv", "width": 2, "color": trace.marker.color}
    )
    if end > found.pareto_set[-1].cost:
        # Where the line ends there is no trial of the set.
        trace.update(x=[*trace.x, rounded(end)], y=[*trace.y, trace.y[-1]])
        trace.update(text=[*trace.text, trace.text[-1]])
        sizes = [trace.marker.size] * len(found.pareto_set)
        trace.marker.update(size=[*sizes, 0], opacity=1)
    return trace


def _marks(
    found: TradeOff,
    trials: Sequence[WeighedTrial],
    name: str,
    role: str,
    symbol: str,
    size: int,
) -> go.Scatter:
    colour = {"faint": "#8A929C", "complete": "#0072B2", "bold": "#14181D"}[role]
    return go.Scatter(
        x=[rounded(trial.cost) for trial in trials],
        y=[rounded(_height(found, trial)) for trial in trials],
        text=[
            f"{plain(trial.trial)}, {plain(trial.student or 'unknown student')}<br>"
            f"{_value(found, trial)} at {cost_in_full(trial.cost, found.against)}"
            for trial in trials
        ],
        mode="markers",
        name=name,
        marker={
            "symbol": symbol,
            "size": size,
            "color": colour,
            "line": {"width": 2, "color": colour},
        },
        meta={"role": role},
        hovertemplate="%{text}<extra></extra>",
    )
