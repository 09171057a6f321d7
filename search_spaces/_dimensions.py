"""What a search space is made of, and how Optuna walks through it."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from dfkd_tune.distillation import DistillationConfig
from dfkd_tune.errors import SpaceError, did_you_mean
from dfkd_tune.inputs import InputSpecification
from search_spaces._students import students_for

Value = str | int | float
Kind = Literal["float", "int", "choice"]
ON, OFF = "on", "off"
STUDENT_KEY = "student.architecture"
METHOD_KEY = "method"


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A dimension is asked only where another one, named before it, has one of these values."""

    key: str
    values: tuple[Value, ...]

    def __str__(self) -> str:
        """For people: `generator.conditioning is embed_concat`."""
        return f"{self.key} is {' or '.join(str(value) for value in self.values)}"


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """One searched value.

    Args:
        key: dotted path in a `DistillationConfig`.
        kind: float, int or choice.
        low, high: bounds, both included; for float and int.
        log: searched on a logarithmic scale.
        choices: for choice.
        switch: a weight that may also be 0: Optuna asks `KEY?` on or off first.
        condition: where it applies; it names a parameter, not a key.
        source: where the range comes from.
        method: in a space over several methods, the one that it belongs to; asked only where that
            is chosen, under a name of its own.
    """

    key: str
    kind: Kind
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[Value, ...] = ()
    switch: bool = False
    condition: Condition | None = None
    source: str = ""
    method: str = ""

    @property
    def name(self) -> str:
        """Name of its parameter: the key, such as `dfq/schedule.generator_steps` for a method."""
        return f"{self.method}/{self.key}" if self.method else self.key

    @property
    def switch_key(self) -> str:
        """Name of the switch's own parameter."""
        return f"{self.name}?"

    def of_method(self, method: str) -> "Dimension":
        """The same, as part of a space over several methods."""
        condition = self.condition
        if condition is not None:
            condition = replace(condition, key=f"{method}/{condition.key}")
        return replace(self, method=method, condition=condition)

    def condition_text(self) -> str:
        """Where it applies, for people; empty where it always does."""
        parts = [f"{METHOD_KEY} is {self.method}"] if self.method else []
        if self.condition is not None:
            parts.append(str(self.condition))
        return " and ".join(parts)

    def distribution(self) -> BaseDistribution:
        """The range as Optuna states it."""
        if self.kind == "choice":
            return CategoricalDistribution(self.choices)
        if self.kind == "int":
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)

    def holds(self, value: Any) -> bool:
        """Whether a value lies in the range."""
        if self.kind == "choice":
            return value in self.choices
        number = isinstance(value, int | float) and math.isfinite(value)
        return number and self.low <= value <= self.high

    def scale_text(self) -> str:
        """How the range is walked through, for people."""
        if self.kind == "choice":
            return "choice"
        scale = "logarithmic" if self.log else "linear"
        return f"{scale}, whole numbers" if self.kind == "int" else scale

    def range_text(self) -> str:
        """The range for people, such as `0 or 0.05 .. 10 (log)`."""
        if self.kind == "choice":
            return ", ".join(str(choice) for choice in self.choices)
        text = f"{self.low:g} .. {self.high:g}{' (log)' if self.log else ''}"
        return f"0 or {text}" if self.switch else text


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
        value = params.get(condition.key, self.fixed.get(condition.key))
        if value is None and condition.key.endswith("?"):
            # The switch itself is not asked: the weight is fixed, or always on.
            key = condition.key.removesuffix("?")
            weight = params.get(key, self.fixed.get(key))
            value = None if weight is None else ON if float(weight) > 0 else OFF
        return value in condition.values

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
            value = get_key(config, dimension.key)
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
                values[dimension.key] = params[dimension.name]
        return with_values(base, values)

    def with_ranges(self, ranges: Mapping[str, Any]) -> "SearchSpace":
        """The space with ranges of an experiment file in place of its own.

        Args:
            ranges: by name: `{low, high}` or `{choices}` narrows or widens, `{switch: false}` takes
                the choice of 0 away; a plain value fixes. `{choices}` of a number searches these
                alone, 0 only if it is among them. Choices of `method` also take away the dimensions
                of the other methods.

        Raises:
            SpaceError: if a key is no dimension, or a range does not suit it; all are named.
        """
        known = {dimension.name: dimension for dimension in self.dimensions}
        problems = []
        fixed: dict[str, Value | bool] = dict(self.fixed)
        changed = dict(known)
        for key, given in ranges.items():
            if key not in known:
                problems.append(f"{key}: not searched; {did_you_mean(key, known)}")
                continue
            try:
                result = _with_range(known[key], given)
            except ValueError as error:
                problems.append(f"{key}: {error}")
                continue
            if isinstance(result, Dimension):
                changed[key] = result
            else:
                fixed[key] = result
                del changed[key]
        if problems:
            raise SpaceError(problems)
        space = replace(self, dimensions=tuple(changed.values()), fixed=fixed)
        kept = ("", *space.methods)
        return replace(space, dimensions=tuple(d for d in space.dimensions if d.method in kept))


def _suggest(trial: optuna.trial.BaseTrial, dimension: Dimension) -> None:
    name = dimension.name
    if dimension.kind == "choice":
        trial.suggest_categorical(name, dimension.choices)
    elif dimension.kind == "int":
        trial.suggest_int(name, int(dimension.low), int(dimension.high), log=dimension.log)
    else:
        trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)


def _with_range(dimension: Dimension, given: Any) -> Dimension | Value:
    if not isinstance(given, Mapping):
        if dimension.key == METHOD_KEY:
            raise ValueError(f"got {given!r}; give {{choices: [...]}}, or the method's own space")
        if isinstance(given, bool) or not isinstance(given, str | int | float):
            raise ValueError(f"got {given!r}; give {{low, high}}, {{choices}} or one value")
        if dimension.kind != "choice" and isinstance(given, str):
            raise ValueError(f"got {given!r}, not a number")
        return given
    allowed = set() if dimension.kind == "choice" else {"low", "high"}
    if dimension.switch:
        allowed |= {"switch"}
    if set(given) != {"choices"} and (not given or set(given) - allowed):
        either = f"{sorted(allowed)} or " if allowed else ""
        raise ValueError(f"got {dict(given)!r}; a {dimension.kind} takes {either}['choices']")
    if "choices" in given:
        choices = given["choices"]
        if not isinstance(choices, list) or not choices:
            raise ValueError(f"choices is {choices!r}; give a list of at least one value")
        if not all(isinstance(c, str | int | float) and not isinstance(c, bool) for c in choices):
            raise ValueError(f"choices {choices!r} may hold text and numbers only")
        if len({str(choice) for choice in choices}) < len(choices):
            raise ValueError(f"choices {choices!r} name a value twice")
        if dimension.kind != "choice":
            return _only(dimension, choices)
        beyond = [choice for choice in choices if choice not in dimension.choices]
        if dimension.key == METHOD_KEY and beyond:
            meant = did_you_mean(str(beyond[0]), [str(name) for name in dimension.choices])
            raise ValueError(f"no method {beyond[0]!r}; {meant}")
        return replace(dimension, choices=tuple(choices))
    low, high = given.get("low", dimension.low), given.get("high", dimension.high)
    for name, value in (("low", low), ("high", high)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name} is {value!r}, not a number")
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value!r}, not finite")
        if dimension.kind == "int" and value != int(value):
            raise ValueError(f"{name} is {value!r}, not a whole number")
    if not low < high:
        raise ValueError(f"low {low:g} is not below high {high:g}")
    if dimension.log and low <= 0:
        raise ValueError(f"low {low:g} must be above 0: the scale is logarithmic")
    switch = given.get("switch", dimension.switch)
    if not isinstance(switch, bool):
        raise ValueError(f"switch is {switch!r}; give true (may also be 0) or false")
    return replace(dimension, low=low, high=high, switch=switch)


def _only(dimension: Dimension, choices: list[Value]) -> Dimension:
    """A number that is one of some instead of any within a range."""
    numbers: list[Value] = []
    for choice in choices:
        if isinstance(choice, str) or not math.isfinite(choice):
            raise ValueError(f"choices hold {choice!r}, not a finite number")
        if dimension.kind == "int" and choice != int(choice):
            raise ValueError(f"choices hold {choice!r}, not a whole number")
        numbers.append(int(choice) if dimension.kind == "int" else float(choice))
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"choices {choices!r} name a value twice")
    # What its scale was says nothing about these any more.
    return replace(
        dimension, kind="choice", choices=tuple(numbers), low=0.0, high=0.0, log=False, switch=False
    )


def get_key(config: DistillationConfig, key: str) -> Any:
    """The value at a dotted path of a configuration."""
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def with_values(base: DistillationConfig, values: Mapping[str, Any]) -> DistillationConfig:
    """The configuration with values at dotted paths replaced, validated again.

    Raises:
        pydantic.ValidationError: if the result is not valid.
    """
    data = base.model_dump()
    for key, value in values.items():
        *parents, leaf = key.split(".")
        section = data
        for part in parents:
            section = section[part]
        section[leaf] = value
    return DistillationConfig.model_validate(data)
