"""Figures of what happened inside trials: loss terms, collapse watch, time."""

from collections.abc import Sequence

import plotly.graph_objects as go

from reports.compute.training import LossTerms, TimeShare, Watch
from reports.figures.base import (
    DASHES,
    LOSS_COLOURS,
    Figure,
    empty_figure,
    plain,
    rounded,
)
from reports.formatting import percent

TIME_PATTERNS = (
    ("synthesis", "#0072B2", ""),
    ("student", "#A86400", "/"),
    ("evaluation", "#00795A", "."),
    ("other", "#4D5560", "x"),
)


def losses_figure(losses: LossTerms, trial: str) -> Figure:
    """The weighted loss terms of one trial over its epochs.

    Their sizes differ by orders of magnitude, and some are negative: each is drawn as a share of
    its own largest size, and the value itself is shown on hovering.
    """
    figure = empty_figure("epoch", "share of the term's largest size", y_format=".0%")
    for place, (name, values) in enumerate(losses.terms.items()):
        largest = max((abs(value) for value in values if value is not None), default=0.0) or 1.0
        colour = LOSS_COLOURS[place % len(LOSS_COLOURS)]
        figure.add_trace(
            go.Scatter(
                x=list(losses.epochs),
                y=[None if value is None else rounded(value / largest) for value in values],
                customdata=[rounded(value) for value in values],
                mode="lines",
                name=plain(name),
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
    figure = empty_figure("epoch", "class entropy (nats)", y_format=None)
    known = [
        (epoch, value)
        for epoch, value in zip(losses.epochs, losses.class_entropy, strict=True)
        if value is not None
    ]
    figure.add_trace(
        go.Scatter(
            x=[epoch for epoch, _ in known],
            y=[rounded(value) for _, value in known],
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


def watch_figure(watch: Watch, trial: str) -> Figure:
    """What the collapse watch saw in one trial, with a mark at every epoch that has a sign."""
    figure = empty_figure("epoch", "distance, agreement", y_format=None)
    lines = (
        ("distance of two images' features", watch.feature_distance, "loss-0", DASHES[0]),
        ("agreement on kept images", watch.agreement, "loss-2", DASHES[1]),
    )
    for name, values, role, dash in lines:
        colour = LOSS_COLOURS[int(role[-1])]
        figure.add_trace(
            go.Scatter(
                x=list(watch.epochs),
                y=[rounded(value) for value in values],
                mode="lines",
                name=name,
                line={"width": 2, "color": colour, "dash": dash},
                meta={"role": role},
                hovertemplate=f"{name} %{{y:.3f}}<extra></extra>",
            )
        )
    marked = [
        (epoch, distance, signs)
        for epoch, distance, signs in zip(
            watch.epochs, watch.feature_distance, watch.signs, strict=True
        )
        if signs and distance is not None
    ]
    if marked:
        figure.add_trace(
            go.Scatter(
                x=[epoch for epoch, _, _ in marked],
                y=[rounded(distance) for _, distance, _ in marked],
                text=[", ".join(signs) for _, _, signs in marked],
                mode="markers",
                name="a sign of collapse",
                marker={"symbol": "x", "size": 9, "color": "#C24A00"},
                meta={"role": "diverged"},
                hovertemplate="epoch %{x}: %{text}<extra></extra>",
            )
        )
    figure.update_layout(height=280)
    figure.update_yaxes(rangemode="tozero")
    with_signs = sum(1 for signs in watch.signs if signs)
    count = len(watch.epochs)
    told = (
        f": signs of collapse in {with_signs} of {count} epochs"
        if with_signs
        else f" over {count} epochs: no sign of collapse"
    )
    return Figure(
        name="watch",
        figure=figure,
        summary=f"What the collapse watch saw in {trial}{told}.",
    )


def time_figure(shares: Sequence[TimeShare]) -> Figure:
    """Where the time went, per state of the trials."""
    figure = empty_figure("compute seconds", "", y_format=None)
    names = [f"{share.name} ({share.trials})" for share in shares]
    for part, colour, pattern in TIME_PATTERNS:
        figure.add_trace(
            go.Bar(
                x=[rounded(getattr(share, part)) for share in shares],
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
