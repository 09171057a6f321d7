"""The figure of a comparison: every variant over its seeds, beside what was published."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from reports.compute.comparison import VariantRow
from reports.figures.base import Figure, empty_figure, plain, rounded
from reports.formatting import shorten


def comparison_figure(rows: Sequence[VariantRow]) -> Figure:
    """Mean and spread of each variant; the test accuracy, or the objective where there is none.

    Args:
        rows: of the comparison, in its order.
    """
    tested = any(row.relative.count for row in rows)
    spreads = [row.relative if tested else row.last for row in rows]
    title = "relative accuracy, test (%)" if tested else "last value (%)"
    figure = empty_figure(title, "", y_format=None)
    several = any(row.seeds > 1 for row in rows)
    over = "mean and standard deviation over seeds" if several else "one seed each"
    shown = [(row, each) for row, each in zip(rows, spreads, strict=True) if each.count]
    figure.add_trace(
        go.Scatter(
            x=[rounded(each.mean) for _, each in shown],
            y=[plain(row.variant) for row, _ in shown],
            error_x={
                "type": "data",
                "array": [
                    0 if math.isnan(each.deviation) else rounded(each.deviation)
                    for _, each in shown
                ],
                "thickness": 2,
                "width": 5,
            },
            text=[each.words(" %") for _, each in shown],
            mode="markers",
            name=over,
            marker={"symbol": "circle", "size": 10, "color": "#0072B2"},
            meta={"role": "complete"},
            hovertemplate="%{y}: %{text}<extra></extra>",
        )
    )
    figure.update_layout(showlegend=False, height=150 + 28 * len(rows))
    figure.update_yaxes(
        categoryorder="array",
        categoryarray=[plain(row.variant) for row in rows],
        autorange="reversed",
    )
    best = max(shown, key=lambda pair: pair[1].mean, default=None)
    told = (
        f"{shorten(best[0].variant)} is highest with {best[1].words(' %')}"
        if best
        else "none ended yet"
    )
    return Figure(
        name="comparison",
        figure=figure,
        summary=f"{len(rows)} variants, {over}: {told}.",
    )
