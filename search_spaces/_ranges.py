"""Ranges of an experiment file in place of a dimension's own."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dfkd_tune.errors import did_you_mean
from search_spaces._dimensions import METHOD_KEY, Dimension, Value


def with_range(dimension: Dimension, given: Any) -> Dimension | Value:
    """A dimension with a range of an experiment file in place of its own.

    Args:
        dimension: of a space.
        given: as under `space.ranges`.

    Returns:
        The dimension, or the value that is fixed in its place.

    Raises:
        ValueError: if what is given does not suit the dimension; it says why.
    """
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
