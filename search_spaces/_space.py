"""A search space, and how Optuna walks through it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution

from dfkd_tune.distillation import DistillationConfig
from dfkd_tune.errors import SpaceError, did_you_mean
from dfkd_tune.inputs import InputSpecification
from search_spaces._dimensions import (
    METHOD_KEY,
    OFF,
    ON,
    STUDENT_KEY,
    Dimension,
    Value,
    get_key,
    with_values,
)
from search_spaces._ranges import with_range
from search_spaces._students import students_for


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """Dimensions in the order in which they are asked, and values that are fixed instead.

    Args:
        name: as in an experiment file.
        title: for people.
        dimensions: a condition names only an earlier dimension.
        fixed: values by key that take the place of the recipe's.
    """

    name: str
    title: str
    dimensions: tuple[Dimension, ...]
    fixed: Mapping[str, Value | bool] = field(default_factory=dict)

    def for_inputs(self, inputs: InputSpecification, usual: str) -> "SearchSpace":
        """The space with the students that suit an image size.

        Args:
            inputs: whose size decides.
            usual: architecture of the benchmark's own student, which is always among them.
        """
        students = students_for(inputs)
        if usual not in students:
            students = (usual, *students)
        return replace(
            self,
            dimensions=tuple(
                replace(d, choices=students) if d.key == STUDENT_KEY else d for d in self.dimensions
            ),
        )

    def distributions(self) -> dict[str, BaseDistribution]:
        """Every parameter that a trial can have, switches included."""
        result: dict[str, BaseDistribution] = {}
        for dimension in self.dimensions:
            if dimension.switch:
                result[dimension.switch_key] = CategoricalDistribution((OFF, ON))
            result[dimension.name] = dimension.distribution()
        return result

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that it searches over; empty where it is of one method."""
        choices = (d.choices for d in self.dimensions if d.key == METHOD_KEY)
        return tuple(str(name) for name in next(choices, ()))

    def _applies(self, dimension: Dimension, params: Mapping[str, Any]) -> bool:
        """Whether a dimension's condition holds for what was asked before it, or is fixed."""
        if dimension.method and params.get(METHOD_KEY) != dimension.method:
            return False
        condition = dimension.condition
        if condition is None:
            return True
        return self._known(condition.key, params) in condition.values

    def _known(self, key: str, params: Mapping[str, Any]) -> Any:
        """What a condition looks at, as asked before or fixed; None where it is neither."""
        value = params.get(key, self.fixed.get(key))
        if value is None and key.endswith("?"):
            # The switch itself is not asked: the weight is fixed, or always on.
            weight = params.get(key[:-1], self.fixed.get(key[:-1]))
            return None if weight is None else ON if float(weight) > 0 else OFF
        return value

    def _may_apply(self, dimension: Dimension) -> bool:
        """Whether a dimension's condition can hold at all, for what is fixed."""
        condition = dimension.condition
        value = None if condition is None else self._known(condition.key, {})
        return condition is None or value is None or value in condition.values

    def ask(self, trial: optuna.trial.BaseTrial) -> dict[str, Value]:
        """Let Optuna propose one point, asking only what applies.

        Returns:
            The trial's parameters, switches included.
        """
        for dimension in self.dimensions:
            if not self._applies(dimension, trial.params):
                continue
            if dimension.switch:
                switch = trial.suggest_categorical(dimension.switch_key, (OFF, ON))
                if switch == OFF:
                    continue
            _suggest(trial, dimension)
        return dict(trial.params)

    def combinations(self) -> Iterator[dict[str, Value]]:
        """Every point of a space of choices alone, each with what applies; the last varies first.

        Raises:
            SpaceError: if a dimension is a range; all are named.
        """
        problems = [
            f"{d.name}: is a range, {d.range_text()}, and a grid needs {{choices: [...]}} or one "
            f"value"
            for d in self.dimensions
            if d.kind != "choice"
        ]
        if problems:
            raise SpaceError(problems)
        return self._combinations({}, 0)

    def _combinations(self, params: dict[str, Value], index: int) -> Iterator[dict[str, Value]]:
        """Every way to go on from the parameters of the dimensions before this one."""
        if index == len(self.dimensions):
            yield params
            return
        dimension = self.dimensions[index]
        if not self._applies(dimension, params):
            yield from self._combinations(params, index + 1)
            return
        for value in dimension.choices:
            yield from self._combinations({**params, dimension.name: value}, index + 1)

    def point(self, config: DistillationConfig) -> dict[str, Value]:
        """The parameters that stand for a configuration exactly.

        Raises:
            SpaceError: if a value of the configuration lies outside its range; all are named.
        """
        params: dict[str, Value] = {}
        problems = []
        for dimension in self.dimensions:
            if not self._applies(dimension, params):
                continue
            value = get_key(config, dimension.searched)
            if dimension.switch:
                params[dimension.switch_key] = ON if value > 0 else OFF
                if value == 0:
                    continue
            if not dimension.holds(value):
                problems.append(
                    f"{dimension.name}: the recipe's value {value!r} is outside the range "
                    f"{dimension.range_text()}; widen space.ranges, or set another value in "
                    f"settings"
                )
            params[dimension.name] = value
        if problems:
            raise SpaceError(problems)
        return params

    def configuration(
        self, base: DistillationConfig, params: Mapping[str, Any]
    ) -> DistillationConfig:
        """The configuration of a trial: the base with the trial's parameters in place.

        Args:
            base: the recipe with the experiment's settings; in a space over methods, of the method
                that the parameters name.
            params: of the trial.
        """
        values: dict[str, Any] = {}
        for name, value in self.fixed.items():
            method, _, key = name.rpartition("/")
            if method in ("", base.method):
                values[key] = value
        for dimension in self.dimensions:
            if dimension.switch and params.get(dimension.switch_key) == OFF:
                values[dimension.key] = 0.0
            elif dimension.name in params:
                values[dimension.searched] = params[dimension.name]
        return with_values(base, values)

    def with_ranges(self, ranges: Mapping[str, Any]) -> "SearchSpace":
        """The space with ranges of an experiment file in place of its own.

        Args:
            ranges: by name: `{low, high}` or `{choices}` narrows or widens, `{switch: false}` takes
                the choice of 0 away; a plain value fixes. `{choices}` of a number searches these
                alone, 0 only if it is among them. Choices of `method` also take away the dimensions
                of the other methods. What cannot apply any more is no dimension either.

        Raises:
            SpaceError: if a key is no dimension, or a range does not suit it; all are named.
        """
        known = {dimension.name: dimension for dimension in self.dimensions}
        # A number that is tied to another may also be named alone, which unties it.
        alone = {d.untied().name: d for d in self.dimensions if d.times}
        problems = []
        fixed: dict[str, Value | bool] = dict(self.fixed)
        changed = dict(known)
        for key, given in ranges.items():
            if key not in known and key not in alone:
                problems.append(f"{key}: not searched; {did_you_mean(key, [*known, *alone])}")
                continue
            dimension = alone[key].untied() if key in alone else known[key]
            place = alone[key].name if key in alone else key
            if key in alone and place in ranges:
                problems.append(f"{key}: is given as {place} too; keep one of the two")
                continue
            try:
                result = with_range(dimension, given)
            except ValueError as error:
                problems.append(f"{key}: {error}")
                continue
            if isinstance(result, Dimension):
                changed[place] = result
            else:
                fixed[key] = result
                del changed[place]
        if problems:
            raise SpaceError(problems)
        space = replace(self, dimensions=tuple(changed.values()), fixed=fixed)
        kept = ("", *space.methods)
        applicable = (d for d in space.dimensions if d.method in kept and space._may_apply(d))
        return replace(space, dimensions=tuple(applicable))


def _suggest(trial: optuna.trial.BaseTrial, dimension: Dimension) -> None:
    name = dimension.name
    if dimension.kind == "choice":
        trial.suggest_categorical(name, dimension.choices)
    elif dimension.kind == "int":
        trial.suggest_int(name, int(dimension.low), int(dimension.high), log=dimension.log)
    else:
        trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)
