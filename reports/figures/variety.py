"""The figure of how a trial's own images spread over the classes."""

import plotly.graph_objects as go

from reports.compute.selected_images import Variety
from reports.figures.base import Figure, empty_figure, plain, rounded
from reports.formatting import percent, shorten

MOST_NAMED = 40
LONGEST_NAME = 16
SHORT_NAME = 2


def balance_figure(found: Variety) -> Figure:
    """The share of each class by the teacher's choice, beside an even spread.

    Args:
        found: of the kept images.
    """
    rows = found.rows
    named = len(rows) <= MOST_NAMED
    figure = empty_figure(
        "class, as the teacher sees it" if named else "class, in label order",
        "share of kept images (%)",
        y_format=None,
    )
    figure.add_trace(
        go.Bar(
            x=list(range(len(rows))),
            y=[rounded(100 * row.share) for row in rows],
            text=[plain(row.name) for row in rows],
            customdata=[row.images for row in rows],
            textposition="none",
            marker={"color": "#0072B2"},
            meta={"role": "complete"},
            hovertemplate="%{text}: %{y:.1f} %, %{customdata} images<extra></extra>",
        )
    )
    even = rounded(100 / len(rows))
    figure.add_trace(
        go.Scatter(
            x=[-0.5, len(rows) - 0.5],
            y=[even, even],
            mode="lines",
            line={"dash": "dash", "width": 2, "color": "#14181D"},
            meta={"role": "bold"},
            hoverinfo="skip",
        )
    )
    figure.update_layout(showlegend=False, height=320, bargap=0.25)
    figure.update_yaxes(rangemode="tozero")
    figure.update_xaxes(
        showgrid=False,
        range=[-0.6, len(rows) - 0.4],
        tickangle=0 if all(len(row.name) <= SHORT_NAME for row in rows) else -45,
        tickmode="array",
        tickvals=list(range(len(rows))) if named else [],
        ticktext=[plain(shorten(row.name, LONGEST_NAME)) for row in rows] if named else [],
    )
    absent = f", {found.absent} of {len(rows)} classes not at all" if found.absent else ""
    most = f"class {shorten(found.most.name)} most, {percent(found.most.share)}"
    return Figure(
        name="balance",
        figure=figure,
        summary=f"Share of {len(rows)} classes among {found.images} kept images of "
        f"{shorten(found.trial)}: {most}{absent}; the dashed line is an even spread, "
        f"{percent(1 / len(rows))}.",
    )
