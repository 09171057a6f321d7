"""What a search has searched: its dimensions, and where a trial lies in each."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reports.collect import RunData

OFF = "off"
RANGE = re.compile(r"(?P<off>0 or )?(?P<low>\S+) \.\. (?P<high>\S+)(?P<log> \(log\))?")
"""A range of numbers in words, such as `0 or 0.05 .. 10 (log)`."""

Place = float | str | None
"""Where a trial lies: a number, a choice or `off`; None where the dimension was not used."""


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """One searched dimension.

    Args:
        name: of its parameter.
        low, high: bounds of a number; None for a choice.
        log: whether its scale is logarithmic.
        whole: whether it takes whole numbers only.
        choices: as text, in the order of the space; empty for a number.
        switch: whether it may also be off.
        condition: where it is used, in words; empty where it always is.
        limits: of the key itself, beyond which no range can go: `gt`, `ge`, `lt`, `le`.
    """

    name: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    whole: bool = False
    choices: tuple[str, ...] = ()
    switch: bool = False
    condition: str = ""
    limits: Mapping[str, float] = field(default_factory=dict)

    @property
    def numeric(self) -> bool:
        """Whether its values are numbers within a range."""
        return self.low is not None and self.high is not None

    def place(self, parameters: Mapping[str, Any]) -> Place:
        """Where a trial lies in this dimension.

        Args:
            parameters: of the trial.
        """
        if self.switch and parameters.get(f"{self.name}?") == OFF:
            return OFF
        value = parameters.get(self.name)
        if not self.numeric:
            return None if value is None else str(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value) if math.isfinite(value) and (value > 0 or not self.log) else None

    def scaled(self, value: float) -> float:
        """Where a number lies on the range's scale: 0 at its low end, 1 at its high end."""
        low, high, at = self._on_scale(self.low), self._on_scale(self.high), self._on_scale(value)
        return (at - low) / (high - low) if high > low else 0.0

    def value_at(self, share: float) -> float:
        """The number at a share of the range's scale, such as 0.5 in its middle."""
        low, high = self._on_scale(self.low), self._on_scale(self.high)
        at = low + share * (high - low)
        return 10**at if self.log else at

    def _on_scale(self, value: float | None) -> float:
        number = 0.0 if value is None else value
        return math.log10(number) if self.log else number


def searched_dimensions(run: RunData) -> tuple[Dimension, ...]:
    """The dimensions of a run's search, in the order of its space.

    Of older runs, which state a range in words alone, these are read; a dimension is one of whole
    numbers then if all trials have whole ones.

    Args:
        run: the run's records.

    Returns:
        Empty where the run folder does not tell.
    """
    recorded = run.experiment.get("dimensions")
    if not isinstance(recorded, list):
        return ()
    tried = [trial.trial.parameters for trial in run.trials if trial.trial is not None]
    found = (_dimension(entry, tried) for entry in recorded if isinstance(entry, Mapping))
    return tuple(dimension for dimension in found if dimension is not None)


def _dimension(entry: Mapping[str, Any], tried: Sequence[Mapping[str, Any]]) -> Dimension | None:
    name, words = str(entry.get("key", "")), str(entry.get("range", ""))
    condition = str(entry.get("condition") or "")
    if "kind" not in entry:
        values = [parameters[name] for parameters in tried if name in parameters]
        whole = bool(values) and all(isinstance(value, int) for value in values)
        return _from_words(name, words, condition, whole)
    if entry["kind"] == "choice":
        choices = tuple(str(choice) for choice in entry.get("choices") or ())
        return Dimension(name=name, choices=choices, condition=condition)
    return _number(
        name,
        (entry.get("low"), entry.get("high")),
        condition,
        log=bool(entry.get("log")),
        whole=entry["kind"] == "int",
        switch=bool(entry.get("switch")),
        limits=dict(entry.get("limits") or {}),
    )


def _from_words(name: str, words: str, condition: str, whole: bool) -> Dimension | None:
    match = RANGE.fullmatch(words)
    if match is None:
        return Dimension(name=name, choices=tuple(words.split(", ")), condition=condition)
    ends = (_parsed(match["low"]), _parsed(match["high"]))
    switch, log = bool(match["off"]), bool(match["log"])
    return _number(name, ends, condition, log=log, whole=whole, switch=switch)


def _number(name: str, ends: tuple[Any, Any], condition: str, **more: Any) -> Dimension | None:
    """A range of numbers; None where its ends make none."""
    low, high = ends
    if not all(isinstance(end, int | float) and math.isfinite(end) for end in ends):
        return None
    if not low < high or (more.get("log") and low <= 0):
        return None
    return Dimension(name=name, low=float(low), high=float(high), condition=condition, **more)


def _parsed(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
