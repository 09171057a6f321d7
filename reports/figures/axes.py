"""Axes of drawings that the page makes itself: places in percent, and what stands there."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from reports.compute.dimensions import OFF, Dimension, Place
from reports.formatting import number, shorten

UNUSED = "not used"
MARGIN = 4.0
"""Percent that stays free at both ends of an axis."""
SLOTS = {UNUSED: 28.0, OFF: 18.0}
"""Percent that each of these takes at the start of an axis."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"
STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5)
MOST_STEPS = 4


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A place on an axis and what stands there.

    Args:
        at: percent of the axis, from its start.
        text: as written there.
        place: of a choice, of `off` and of `not used`: the whole text; empty for a number.
        side: where the text stands: about the place, or after or before it.
    """

    at: float
    text: str
    place: str = ""
    side: Literal["about", "after", "before"] = "about"


@dataclass(frozen=True, kw_only=True)
class Axis:
    """An axis of a dimension, or of the search objective.

    Args:
        name: what it shows.
        ticks: in order from the start.
        log: whether its numbers are on a logarithmic scale.
        numbers: percent of their low and high end, and the two ends; None for choices.
        lettered: whether letters stand for the choices.
    """

    name: str
    ticks: tuple[Tick, ...]
    log: bool = False
    numbers: tuple[float, float, float, float] | None = None
    lettered: bool = False

    @property
    def letters(self) -> str:
        """What the letters stand for; empty where there are none."""
        lettered = (t for t in self.ticks if t.place and t.place != t.text) if self.lettered else ()
        return ", ".join(f"{tick.text}: {tick.place}" for tick in lettered)

    @property
    def data(self) -> str:
        """The axis as JSON for the page's script, which puts a brush's ends into words."""
        stops = [[tick.at, tick.place] for tick in self.ticks if tick.place]
        found = {"log": self.log, "numbers": self.numbers, "stops": stops}
        return json.dumps(found, separators=(",", ":"))

    def height(self, value: float) -> float:
        """Where a number on a linear scale lies, in percent."""
        start, end, low, high = self.numbers or (0.0, 100.0, 0.0, 1.0)
        return round(start + (value - low) / (high - low) * (end - start), 1)


def dimension_axis(dimension: Dimension, places: Sequence[Place], room: int) -> Axis:
    """The axis of a dimension: `not used` and `off` first, then its numbers or choices.

    Args:
        dimension: which.
        places: where the trials lie.
        room: characters that fit beside one another along the axis.
    """
    apart = [UNUSED] if None in places else []
    if dimension.numeric and OFF in places:
        apart.append(OFF)
    slots = []
    start, end = MARGIN, 100 - MARGIN
    for text in apart:
        slots.append(Tick(at=start + 0.4 * SLOTS[text], text=text, place=text))
        start += SLOTS[text]
    if dimension.numeric:
        return number_axis(dimension, room, slots=slots, start=start, end=end)
    choices = _choices(dimension, places)
    width = (end - start) / len(choices)
    longest = max(map(len, choices))
    lettered = longest > width / 100 * room and len(choices) <= len(LETTERS)
    ticks = [
        Tick(
            at=round(start + width * (i + 0.5), 1),
            text=LETTERS[i] if lettered else shorten(choice),
            place=choice,
        )
        for i, choice in enumerate(choices)
    ]
    return Axis(name=dimension.name, ticks=(*slots, *ticks), lettered=lettered)


def number_axis(
    dimension: Dimension,
    room: int,
    *,
    slots: Sequence[Tick] = (),
    start: float = 0.0,
    end: float = 100.0,
) -> Axis:
    """The axis of a dimension of numbers.

    Args:
        dimension: which.
        room: characters that fit beside one another along the axis.
        slots: places before its numbers.
        start: percent at which its numbers begin.
        end: percent at which they end.
    """
    low, high = dimension.low or 0.0, dimension.high or 0.0
    ticks = [Tick(at=start, text=number(low), side="after")]
    middle, share = _round_middle(dimension)
    characters = room * (end - start) / 100
    half = len(number(middle)) / 2 + 1
    if len(number(low)) + half <= share * characters <= characters - len(number(high)) - half:
        ticks.append(Tick(at=round(start + share * (end - start), 1), text=number(middle)))
    ticks.append(Tick(at=end, text=number(high), side="before"))
    return Axis(
        name=dimension.name,
        ticks=(*slots, *ticks),
        log=dimension.log,
        numbers=(start, end, low, high),
    )


def value_axis(values: Sequence[float], measures: str) -> Axis:
    """The axis of the search objective, from a round percentage to another.

    Args:
        values: fractions.
        measures: what they are, in words.
    """
    low, high = min(values), max(values)
    step = next((size for size in STEPS if (high - low) / size <= MOST_STEPS), STEPS[-1])
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    axis = Axis(name=measures, ticks=(), numbers=(MARGIN, 100 - MARGIN, first * step, last * step))
    ticks = (
        Tick(
            at=axis.height(index * step),
            text=f"{round(100 * index * step, 1):g}\N{NO-BREAK SPACE}%",
        )
        for index in range(first, last + 1)
    )
    return Axis(name=measures, ticks=tuple(ticks), numbers=axis.numbers)


def place_on(axis: Axis, dimension: Dimension, place: Place) -> float:
    """Where a trial lies on an axis, in percent; what lies beyond a range, at its nearer end."""
    if isinstance(place, float) and axis.numbers is not None:
        start, end, *_ = axis.numbers
        share = min(1.0, max(0.0, dimension.scaled(place)))
        return round(start + share * (end - start), 1)
    text = place_words(place)
    return next(tick.at for tick in axis.ticks if tick.place == text)


def place_words(place: Place) -> str:
    """A place in words."""
    if place is None:
        return UNUSED
    return number(place) if isinstance(place, float) else place


def _round_middle(dimension: Dimension) -> tuple[float, float]:
    """A round number about the middle of a range, and its share of the scale."""
    middle = dimension.value_at(0.5)
    size = 10.0 ** math.floor(math.log10(abs(middle) or 1.0))
    if dimension.log:
        middle = min((size, 10 * size), key=lambda each: abs(dimension.scaled(each) - 0.5))
    else:
        middle = round(middle / size) * size
    return middle, dimension.scaled(middle)


def _choices(dimension: Dimension, places: Sequence[Place]) -> list[str]:
    """The choices of the space in its order, then any others that trials have."""
    tried = (str(place) for place in places if place is not None)
    return list(dict.fromkeys([*dimension.choices, *tried]))
