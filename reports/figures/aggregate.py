"""The performance profile: which share of a method's runs have at least a relative accuracy."""

from collections.abc import Sequence

import plotly.graph_objects as go

from reports.compute.aggregate import Aggregate, share_at_least
from reports.figures.base import DASHES, LOSS_COLOURS, Figure, empty_figure, plain, rounded
from reports.formatting import relative


def profile_figure(found: Sequence[Aggregate]) -> Figure:
    """The performance profile of every method that has a result.

    Args:
        found: the methods over benchmarks; at least one has a result.
    """
    shown = [method for method in found if method.scores]
    figure = empty_figure(
        "relative accuracy, at least (%)", "share of the method's<br>benchmark runs"
    )
    scores = [score for method in shown for score in method.scores]
    low, high = min(scores) - 1, max(scores) + 1
    for place, method in enumerate(shown):
        x = [low, *dict.fromkeys(method.scores), high]
        figure.add_trace(
            go.Scatter(
                x=[rounded(level) for level in x],
                y=[rounded(share_at_least(method.scores, level)) for level in x],
                mode="lines",
                name=plain(method.method),
                line={
                    # Up to a score, and with it, its run counts; beyond it no more.
                    "shape": "vh",
                    "width": 2.5,
                    "color": LOSS_COLOURS[place % len(LOSS_COLOURS)],
                    "dash": DASHES[place % len(DASHES)],
                },
                meta={"role": f"loss-{place % len(LOSS_COLOURS)}"},
                hovertemplate=f"{plain(method.method)}: %{{y:.0%}} have at least %{{x:.1f}} %"
                "<extra></extra>",
            )
        )
    figure.update_layout(showlegend=True)
    told = ", ".join(
        f"{method.method} {relative(method.scores[len(method.scores) // 2])}" for method in shown
    )
    return Figure(
        name="profile",
        figure=figure,
        summary="Share of a method's benchmark runs that have at least a relative accuracy. At "
        f"least half of the runs have: {told}.",
    )
