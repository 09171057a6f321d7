"""Recorded learning curves, and what they tell of a trial that was never run."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from dfkd_tune.errors import UsageError
from dfkd_tune.records import Record, RunFolder, write_bytes_atomically
from search_spaces import ON, SearchSpace

# They take a second to import, and every trial's process would.
if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestRegressor

TREES = 200
FOLDS = 5
ABSENT = -1.0
"""In the place of a number that was not asked for; those that were lie in [0, 1]."""


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


def recorded_curves(run: RunFolder, score: str) -> list[RecordedCurve]:
    """The curves of a run's complete trials, in order of proposal.

    Args:
        run: the run folder.
        score: whose curves, as among an epoch's scores: it need not be what the run searched by.

    Returns:
        Of the trials that have this score after every epoch of student training.
    """
    curves = []
    for folder in run.trial_folders():
        record = folder.trial()
        epochs = [epoch for epoch in folder.epochs() if epoch.student_steps > 0]
        values = [epoch.validation[score] for epoch in epochs if score in epoch.validation]
        # A child's curve is of several configurations, and not all of it its own.
        whole = folder.status().state == "complete" and record.parent is None
        if not whole or not epochs or len(values) < len(epochs):
            continue
        curves.append(
            RecordedCurve(
                parameters=record.parameters,
                fractions=tuple(e.student_steps / record.total_student_steps for e in epochs),
                values=tuple(values),
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
    """Predicts the curves of trials that were never run, by a random forest over recorded ones.

    In every tree, the recorded curves in a trial's leaf weigh the same. Their weighted mean is what
    can be expected of the trial. A draw by these weights is a curve that it might have: one with
    the ups and downs of real training, which cross and mislead, where the mean is smooth.

    Source: forests as models of recorded trials, Eggensperger et al., "Efficient Benchmarking of
    Hyperparameter Optimizers via Surrogates" (AAAI 2015); their weights, Meinshausen, "Quantile
    Regression Forests" (JMLR 2006).

    Args:
        space: from which the parameters are.
        curves: recorded.
    """

    space: SearchSpace
    curves: tuple[RecordedCurve, ...]

    @cached_property
    def fractions(self) -> tuple[float, ...]:
        """All at which a curve was recorded."""
        return tuple(sorted({fraction for curve in self.curves for fraction in curve.fractions}))

    @cached_property
    def skill(self) -> float:
        """How well it ranks trials that it has not seen, in [-1, 1]; NaN for fewer than ten.

        Spearman's correlation of the last values with those predicted by models of the other four
        fifths.
        """
        if len(self.curves) < 2 * FOLDS:
            return math.nan
        from scipy.stats import spearmanr
        from sklearn.model_selection import KFold

        predicted = np.zeros(len(self.curves))
        for known, unseen in KFold(FOLDS, shuffle=True, random_state=0).split(self.curves):
            model = CurveModel(self.space, tuple(self.curves[index] for index in known))
            for index in unseen:
                predicted[index] = model.predict(self.curves[index].parameters).values[-1]
        return float(spearmanr(predicted, self._values[:, -1]).statistic)

    def predict(self, parameters: Mapping[str, Any]) -> RecordedCurve:
        """The curve that can be expected of a trial, and its seconds."""
        weights = self.weights(parameters)
        return RecordedCurve(
            parameters=dict(parameters),
            fractions=self.fractions,
            values=tuple((weights @ self._values).tolist()),
            seconds=float(weights @ np.asarray([curve.seconds for curve in self.curves])),
        )

    def draw(self, parameters: Mapping[str, Any]) -> RecordedCurve:
        """One of the recorded curves, drawn by their weights; the same at every call."""
        digest = hashlib.sha256(json.dumps(dict(parameters), sort_keys=True).encode()).digest()
        source = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        chosen = source.choice(len(self.curves), p=self.weights(parameters))
        return self.curves[int(chosen)].model_copy(update={"parameters": dict(parameters)})

    def weights(self, parameters: Mapping[str, Any]) -> NDArray[np.float64]:
        """Of every recorded curve in the prediction; they add up to 1."""
        row = np.asarray([self.features(parameters)], np.float32)
        leaves = [tree.apply(row, check_input=False)[0] for tree in self._forest.estimators_]
        same = self._leaves == leaves
        return np.asarray((same / same.sum(axis=0)).mean(axis=1))

    def features(self, parameters: Mapping[str, Any]) -> list[float]:
        """A trial's parameters as numbers: scaled to [0, 1], one for each choice and switch."""
        found = []
        for dimension in self.space.dimensions:
            if dimension.switch:
                found.append(float(parameters.get(dimension.switch_key) == ON))
            value = parameters.get(dimension.name)
            if dimension.kind == "choice":
                found += [float(value == choice) for choice in dimension.choices]
            else:
                found.append(ABSENT if value is None else dimension.scaled(value))
        return found

    @cached_property
    def _values(self) -> NDArray[np.float64]:
        return np.asarray([[c.at(f) for f in self.fractions] for c in self.curves])

    @cached_property
    def _known(self) -> NDArray[np.float32]:
        return np.asarray([self.features(curve.parameters) for curve in self.curves], np.float32)

    @cached_property
    def _forest(self) -> "RandomForestRegressor":
        from sklearn.ensemble import RandomForestRegressor

        # Two in a leaf: one alone would pass its own chance on.
        forest = RandomForestRegressor(
            TREES, max_features=0.5, min_samples_leaf=2, random_state=0, n_jobs=1
        )
        # Of a single column, scikit-learn wants it flat.
        flat = self._values.ravel() if len(self.fractions) == 1 else self._values
        return forest.fit(self._known, flat)

    @cached_property
    def _leaves(self) -> NDArray[np.int64]:
        """Of every recorded curve in every tree."""
        return np.asarray(self._forest.apply(self._known))
