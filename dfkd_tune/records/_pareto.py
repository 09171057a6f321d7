"""What trials cost beside the search objective, and which of them no other trial surpasses."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from pydantic import Field

from dfkd_tune.records._record import Record
from dfkd_tune.records._trial import EpochRecord, TrialRecord

CostName = Literal["parameters", "macs", "latency", "training_seconds"]

COST_WORDS: Mapping[str, str] = {
    "parameters": "parameters",
    "macs": "MACs",
    "latency": "latency",
    "training_seconds": "training seconds",
}
"""What a search may weigh the search objective against, in words for people."""


class ParetoPoint(Record):
    """A complete trial by the two numbers that are weighed against each other."""

    trial: str
    value: float = Field(description="that the choice among complete trials is by, a fraction")
    cost: float = Field(description="parameters, MACs, milliseconds or seconds")


class ParetoSet(Record):
    """The complete trials that no other one surpasses in value and cost."""

    against: str = Field(description="the cost: parameters, macs, latency or training_seconds")
    points: tuple[ParetoPoint, ...] = Field(description="in order of cost")


def trial_cost(
    against: CostName, trial: TrialRecord, epochs: Sequence[EpochRecord]
) -> float | None:
    """What a trial costs.

    Args:
        against: which cost.
        trial: its configuration and its student's size.
        epochs: all that count.

    Returns:
        Parameters, multiply-accumulates of one image, milliseconds of one image's forward pass, or
        wall seconds of all epochs; None where it was not measured.
    """
    if against == "parameters":
        return float(trial.student_size.parameters)
    if against == "macs":
        return float(trial.student_size.macs)
    if against == "latency":
        return trial.student_size.latency_ms
    return sum(epoch.seconds.total for epoch in epochs)


def pareto_points(points: Iterable[ParetoPoint]) -> tuple[ParetoPoint, ...]:
    """The points that no other one surpasses: as good in both numbers and better in one.

    Args:
        points: a higher value is better, a lower cost too. Those that are not finite are left out.

    Returns:
        In order of cost, equal ones in order of trials; of points with equal numbers all.
    """
    finite = [p for p in points if math.isfinite(p.value) and math.isfinite(p.cost)]
    found: list[ParetoPoint] = []
    for point in sorted(finite, key=lambda p: (p.cost, -p.value, p.trial)):
        best = found[-1] if found else None
        if (
            best is None
            or point.value > best.value
            or (point.value, point.cost)
            == (
                best.value,
                best.cost,
            )
        ):
            found.append(point)
    return tuple(found)
