"""Recorded learning curves, and what they tell of a trial that was never run."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from dfkd_tune.errors import UsageError
from dfkd_tune.records import Record, RunFolder, write_bytes_atomically
from search_spaces import Dimension, SearchSpace

NEIGHBOURS = 5


class RecordedCurve(Record):
    """The learning curve of one complete trial."""

    parameters: dict[str, Any] = Field(description="searched values by key")
    fractions: tuple[float, ...] = Field(description="of the whole budget, ascending, up to 1")
    values: tuple[float, ...] = Field(description="of the search objective, at each fraction")
    seconds: float = Field(gt=0, description="of the whole trial")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if len(self.fractions) != len(self.values) or not self.fractions:
            raise ValueError("fractions and values must be as many, and at least one")
        if any(a >= b for a, b in pairwise(self.fractions)) or self.fractions[-1] != 1:
            raise ValueError("fractions must ascend, up to 1")
        return self

    def at(self, fraction: float) -> float:
        """The value at a fraction of the budget, linear in between, constant before the first."""
        return float(np.interp(fraction, self.fractions, self.values))


def recorded_curves(run: RunFolder) -> list[RecordedCurve]:
    """The curves of a run's complete trials, in order of proposal."""
    curves = []
    for folder in run.trial_folders():
        record = folder.trial()
        epochs = [e for e in folder.epochs() if e.student_steps > 0 and e.value is not None]
        if folder.status().state != "complete" or not epochs:
            continue
        curves.append(
            RecordedCurve(
                parameters=record.parameters,
                fractions=tuple(e.student_steps / record.total_student_steps for e in epochs),
                values=tuple(e.value for e in epochs if e.value is not None),
                seconds=sum(e.seconds.total for e in folder.epochs()),
            )
        )
    return curves


def write_curves(path: Path, curves: Sequence[RecordedCurve]) -> None:
    """Write curves as JSON Lines."""
    text = "".join(f"{curve.model_dump_json()}\n" for curve in curves)
    write_bytes_atomically(path, text.encode())


def read_curves(path: Path) -> tuple[RecordedCurve, ...]:
    """Read curves from JSON Lines.

    Raises:
        UsageError: if the file cannot be read, is damaged or holds none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the curves {path}: {error}") from error
    curves = []
    for number, line in enumerate(lines, start=1):
        try:
            curves.append(RecordedCurve.model_validate_json(line))
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise UsageError(f"{path}, line {number}: no recorded curve: {reason}") from error
    if not curves:
        raise UsageError(f"{path} holds no curve")
    return tuple(curves)


@dataclass(frozen=True)
class CurveModel:
    """Predicts curves by the nearest recorded ones.

    A trial's curve is the mean of the five nearest, weighted by a Gaussian of their distance, whose
    width is the median distance of a curve to its nearest other.

    Args:
        space: in which distances are measured.
        curves: recorded.
    """

    space: SearchSpace
    curves: tuple[RecordedCurve, ...]

    @cached_property
    def bandwidth(self) -> float:
        """The width of the Gaussian."""
        if len(self.curves) < 2:
            return 1.0
        nearest = [np.sort(self.distances(c.parameters))[1] for c in self.curves]
        return max(float(np.median(nearest)), 1e-6)

    def distances(self, parameters: Mapping[str, Any]) -> NDArray[np.float64]:
        """To every recorded curve, in a space whose sides have length 1."""
        return np.asarray(
            [self._distance(parameters, curve.parameters) for curve in self.curves], np.float64
        )

    def _distance(self, first: Mapping[str, Any], second: Mapping[str, Any]) -> float:
        total = 0.0
        for dimension in self.space.dimensions:
            names = [dimension.switch_key] if dimension.switch else []
            for name in (*names, dimension.name):
                if name in first and name in second:
                    pair = first[name], second[name]
                    total += _apart(dimension if name == dimension.name else None, *pair) ** 2
                elif name in first or name in second:
                    total += 1.0
        return math.sqrt(total)

    def weights(self, parameters: Mapping[str, Any]) -> NDArray[np.float64]:
        """Of every recorded curve in the prediction; they add up to 1."""
        distances = self.distances(parameters)
        near = np.argsort(distances, kind="stable")[:NEIGHBOURS]
        # Relative to the nearest, so that a point far from all has weights too.
        exponents = (distances[near] ** 2 - distances[near[0]] ** 2) / self.bandwidth**2
        weights = np.zeros(len(self.curves))
        weights[near] = np.exp(-exponents) / np.exp(-exponents).sum()
        return weights

    def predict(self, parameters: Mapping[str, Any], fraction: float) -> float:
        """The value of the search objective at a fraction of the budget."""
        weights = self.weights(parameters)
        return float(weights @ np.asarray([curve.at(fraction) for curve in self.curves]))

    def seconds(self, parameters: Mapping[str, Any]) -> float:
        """Of the whole trial."""
        return float(self.weights(parameters) @ np.asarray([c.seconds for c in self.curves]))


def _apart(dimension: Dimension | None, first: Any, second: Any) -> float:
    """Of two values of a dimension, in [0, 1]; None stands for a choice."""
    if dimension is None or dimension.kind == "choice":
        return 0.0 if first == second else 1.0
    low, high = dimension.low, dimension.high
    if dimension.log:
        low, high, first, second = (math.log(value) for value in (low, high, first, second))
    return min(1.0, abs(float(first) - float(second)) / (high - low))
