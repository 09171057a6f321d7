"""Best at the edge of its range: which range to try next."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from reports.compute.dimensions import Dimension
from reports.formatting import exact, plural

EDGE = 0.05
"""Share of a range, on its scale, that is its edge."""
TOP = 0.1
"""Share of the complete trials whose median is looked at."""
DECADE = 10
SIDES: tuple[Literal["low", "high"], ...] = ("low", "high")


@dataclass(frozen=True, kw_only=True)
class Edge:
    """A number that does best at an edge of its range.

    Args:
        dimension: which.
        side: which edge.
        found: whose number lies there, in words, and the number.
        beyond: the bound to try next in place of this one; None where the key takes nothing more.
    """

    dimension: Dimension
    side: Literal["low", "high"]
    found: tuple[tuple[str, float], ...]
    beyond: float | None

    @property
    def next_range(self) -> tuple[float, float] | None:
        """The range to try next; None where the key takes nothing more."""
        low, high = self.dimension.low, self.dimension.high
        if self.beyond is None or low is None or high is None:
            return None
        return (self.beyond, high) if self.side == "low" else (low, self.beyond)


def find_edges(
    dimensions: Sequence[Dimension],
    best: tuple[str, Mapping[str, Any]],
    ranked: Sequence[Mapping[str, Any]],
) -> tuple[Edge, ...]:
    """Find where the best trials lie within 5 % of an edge of a range.

    Looked at are the best trial, and the median of the best 10 % of all where these are several.

    Args:
        dimensions: of the search.
        best: what the best complete trial is called, and its parameters.
        ranked: parameters of all complete trials, the best value first.

    Returns:
        In the order of the space.
    """
    top = ranked[: math.ceil(TOP * len(ranked))]
    groups = [(best[0], [best[1]])]
    if len(top) > 1:
        groups.append((f"median of the {plural(len(top), 'best trial')}", list(top)))
    found = []
    for dimension in dimensions:
        if not dimension.numeric:
            continue
        shares = [(who, _median(dimension, trials)) for who, trials in groups]
        for side in SIDES:
            there = tuple(
                (who, dimension.value_at(share))
                for who, share in shares
                if share is not None and (share if side == "low" else 1 - share) <= EDGE
            )
            if there:
                beyond = _next_low(dimension) if side == "low" else _next_high(dimension)
                found.append(Edge(dimension=dimension, side=side, found=there, beyond=beyond))
    return tuple(found)


def next_ranges(found: Sequence[Edge], given: Mapping[str, Any]) -> str:
    """The ranges to try next as lines of an experiment file; empty where there is none.

    Args:
        found: the edges.
        given: `space.ranges` of the experiment. What they say of a switch is kept.
    """
    wider: dict[str, dict[str, float]] = {}
    dimensions = {edge.dimension.name: edge.dimension for edge in found}
    for edge in found:
        if edge.beyond is not None:
            wider.setdefault(edge.dimension.name, {})[edge.side] = edge.beyond
    lines = []
    for name, ends in wider.items():
        dimension, before = dimensions[name], given.get(name)
        low, high = ends.get("low", dimension.low), ends.get("high", dimension.high)
        switch = before.get("switch") if isinstance(before, Mapping) else None
        kept = "" if switch is None else f", switch: {str(bool(switch)).lower()}"
        lines.append(f"    {name}: {{low: {exact(low)}, high: {exact(high)}{kept}}}")
    return "\n".join(["space:", "  ranges:", *lines]) if lines else ""


def _median(dimension: Dimension, trials: Sequence[Mapping[str, Any]]) -> float | None:
    """The median share of the range; None where most of the trials do without the number."""
    places = [dimension.place(parameters) for parameters in trials]
    shares = [dimension.scaled(place) for place in places if isinstance(place, float)]
    return median(shares) if 2 * len(shares) > len(trials) else None


def _next_low(dimension: Dimension) -> float | None:
    """A decade less on a logarithmic scale, else half of the range less; within the key's limits.

    A number above 0 stays above 0, and one above an open limit stays above it.
    """
    low, high = dimension.low or 0.0, dimension.high or 0.0
    bound = low / DECADE if dimension.log else low - (high - low) / 2
    if low >= 0 and bound <= 0:
        bound = low / 2
    if dimension.whole:
        bound = float(math.floor(bound)) if low <= 0 else max(1.0, math.floor(bound))
    least, above = dimension.limits.get("ge"), dimension.limits.get("gt")
    if above is not None and bound <= above:
        bound = (low + above) / 2
    if least is not None:
        bound = max(bound, least)
    return bound if bound < low else None


def _next_high(dimension: Dimension) -> float | None:
    """As the low bound, upwards."""
    low, high = dimension.low or 0.0, dimension.high or 0.0
    bound = high * DECADE if dimension.log else high + (high - low) / 2
    if high <= 0 and bound >= 0:
        bound = high / 2
    if dimension.whole:
        bound = float(math.ceil(bound)) if high >= 0 else min(-1.0, math.ceil(bound))
    most, below = dimension.limits.get("le"), dimension.limits.get("lt")
    if below is not None and bound >= below:
        bound = (high + below) / 2
    if most is not None:
        bound = min(bound, most)
    return bound if bound > high else None
