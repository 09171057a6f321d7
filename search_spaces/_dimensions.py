"""What a search space is made of: dimensions, and where each applies."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from dfkd_tune.distillation import DistillationConfig

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
        times: key of a number that this one is tied to: their product is searched, under the name
            `KEY*TIMES`, and a trial's value is the product divided by that number.
        alone: bounds of the number itself, for an experiment that unties it.
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
    times: str = ""
    alone: tuple[float, float] = (0.0, 0.0)
    condition: Condition | None = None
    source: str = ""
    method: str = ""

    @property
    def name(self) -> str:
        """Name of its parameter: what is searched, such as `dfq/student.width`."""
        return f"{self.method}/{self.searched}" if self.method else self.searched

    @property
    def searched(self) -> str:
        """What is searched of a configuration: the key, or its product with what it is tied to."""
        return f"{self.key}*{self.times}" if self.times else self.key

    @property
    def switch_key(self) -> str:
        """Name of the switch's own parameter."""
        return f"{self.name}?"

    def untied(self) -> "Dimension":
        """The number itself, where it is tied to another one."""
        low, high = self.alone
        return replace(self, times="", alone=(0.0, 0.0), low=low, high=high)

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

    def scaled(self, value: float) -> float:
        """Where a number lies on the scale of the range, from 0 at its start to 1 at its end.

        A number beyond it lies at the nearer end.
        """
        low, high, place = self.low, self.high, float(value)
        if self.log:
            low, high, place = math.log(low), math.log(high), math.log(place)
        if low == high:
            return 0.0
        return min(1.0, max(0.0, (place - low) / (high - low)))

    def scale_text(self) -> str:
        """How the range is walked through, for people."""
        if self.kind == "choice":
            return "choice"
        scale = "logarithmic" if self.log else "linear"
        return f"{scale}, whole numbers" if self.kind == "int" else scale

    def as_json(self) -> dict[str, Any]:
        """The dimension as `experiment.json` holds it, in words and in numbers."""
        number = self.kind != "choice"
        return {
            "key": self.name,
            "range": self.range_text(),
            "condition": self.condition_text(),
            "source": self.source,
            "kind": self.kind,
            "low": self.low if number else None,
            "high": self.high if number else None,
            "log": self.log,
            "choices": None if number else list(self.choices),
            "switch": self.switch,
            "limits": limits(self.searched) if number else {},
        }

    def range_text(self) -> str:
        """The range for people, such as `0 or 0.05 .. 10 (log)`."""
        if self.kind == "choice":
            return ", ".join(str(choice) for choice in self.choices)
        text = f"{self.low:g} .. {self.high:g}{' (log)' if self.log else ''}"
        return f"0 or {text}" if self.switch else text


def limits(key: str) -> dict[str, float]:
    """What a configuration takes at a dotted path: the bounds `gt`, `ge`, `lt`, `le` that it has.

    Of a product such as `a*b`, which is no field of its own, none.
    """
    if "*" in key:
        return {}
    model: Any = DistillationConfig
    *parents, leaf = key.split(".")
    for part in parents:
        model = model.model_fields[part].annotation
    bounds = model.model_fields[leaf].metadata
    return {
        name: float(getattr(bound, name))
        for name in ("gt", "ge", "lt", "le")
        for bound in bounds
        if hasattr(bound, name)
    }


def get_key(config: DistillationConfig, key: str) -> Any:
    """The value at a dotted path of a configuration, or the product of several joined by `*`."""
    if "*" in key:
        return _rounded(math.prod(get_key(config, factor) for factor in key.split("*")), 12)
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def with_values(base: DistillationConfig, values: Mapping[str, Any]) -> DistillationConfig:
    """The configuration with values at dotted paths replaced, validated again.

    Of a product such as `a*b`, `a` is replaced so that the product has the value.

    Raises:
        pydantic.ValidationError: if the result is not valid.
    """
    data = base.model_dump()
    # Products last: what they are divided by may be replaced too.
    for key, value in sorted(values.items(), key=lambda item: "*" in item[0]):
        path, _, times = key.partition("*")
        *parents, leaf = path.split(".")
        section = data
        for part in parents:
            section = section[part]
        section[leaf] = _rounded(value / _at(data, times), 15) if times else value
    return DistillationConfig.model_validate(data)


def _at(data: Mapping[str, Any], key: str) -> float:
    value: Any = data
    for part in key.split("."):
        value = value[part]
    return float(value)


def _rounded(value: float, digits: int) -> float:
    """Without the last bits, so that what is divided and multiplied again comes back."""
    return float(f"{value:.{digits}g}")
