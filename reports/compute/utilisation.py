"""When trials trained, and where: how much of the machines a search has used."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dfkd_tune.records import EpochTable
from reports.collect import RunData, TrialData, once

TOLERANCE = 1.0
"""Seconds between two epochs of one process, at most: one begins when the other ends."""

UNRECORDED = "nodes not recorded"


@dataclass(frozen=True, kw_only=True)
class Spell:
    """One stretch in which a trial, or a cohort in one process, trained without a pause.

    Args:
        trial: name; of a cohort, the first one's.
        state: of the trial now.
        node: the machine's name; empty where it is not recorded.
        slot: of the node, from 1: where the spell is drawn.
        session: the start of the command that it belongs to.
        first_epoch: counted from 1.
        last_epoch: counted from 1.
        cohort: all trials that trained in its process; empty where it was alone.
        start: seconds since the first epoch of the run began.
        end: likewise.
        busy: wall seconds of its epochs.
    """

    trial: str
    state: str
    node: str
    slot: int
    session: str
    first_epoch: int
    last_epoch: int
    start: float
    end: float
    busy: float
    cohort: tuple[str, ...] = ()

    @property
    def trials(self) -> tuple[str, ...]:
        """All that trained in it."""
        return self.cohort or (self.trial,)


@dataclass(frozen=True, kw_only=True)
class NodeUse:
    """How a node was used.

    Args:
        node: its name.
        slots: processes that trained there at once, at most.
        trials: that trained there, at least for an epoch.
        busy: wall seconds of their epochs.
        share: of the time of all its slots, a fraction.
    """

    node: str
    slots: int
    trials: int
    busy: float
    share: float


@dataclass(frozen=True, kw_only=True)
class Utilisation:
    """How the nodes of a run were used while it was running.

    Args:
        spells: in order of node, slot and time.
        nodes: in order of their names.
        seconds: in which the command trained trials: from the first epoch of each of its starts to
            the last one.
        paused: seconds between these, in which it did not.
        starts: of the command, in which trials trained.
        recorded: whether the records say on which node each epoch was trained.
    """

    spells: tuple[Spell, ...]
    nodes: tuple[NodeUse, ...]
    seconds: float
    paused: float
    starts: int
    recorded: bool

    @property
    def slots(self) -> int:
        """Of all nodes."""
        return sum(node.slots for node in self.nodes)

    @property
    def shared(self) -> bool:
        """Whether trials shared a process."""
        return any(spell.cohort for spell in self.spells)

    @property
    def trials(self) -> int:
        """Trials that have trained."""
        return len({trial for spell in self.spells for trial in spell.trials})

    @property
    def share(self) -> float:
        """Part of the time of all slots in which they were busy, a fraction."""
        busy = sum(node.busy for node in self.nodes)
        return _share(busy, self.slots, self.seconds)


@once
def utilisation(run: RunData) -> Utilisation | None:
    """When the trials of a run trained, on which node, and in which of its slots.

    The records know nothing of slots: spells are packed into the fewest rows in which no two
    overlap. A trial that goes on stays in its row where that is free.

    Args:
        run: the run's records.

    Returns:
        The use; None where no epoch has a time, and where trials shared their processes and the
        records do not say which.
    """
    if shares_unknown(run):
        return None
    parts = [
        (trial, *part) for trial in run.trials if trial.epochs for part in _by_process(trial.epochs)
    ]
    found = [
        _spell(trial, process, stretch)
        for trial, process, epochs in parts
        if not process.cohort
        for stretch in _stretches(epochs)
    ]
    found += _cohort_spells(part for part in parts if part[1].cohort)
    if not found:
        return None
    origin = min(spell.start for spell in found)
    found = [replace(s, start=s.start - origin, end=s.end - origin) for s in found]
    recorded = all(spell.node for spell in found)
    packed: list[Spell] = []
    for node in sorted({spell.node for spell in found}):
        packed += _packed([spell for spell in found if spell.node == node])
    windows = _windows(packed)
    seconds = sum(end - start for start, end in windows)
    nodes = [
        _use(node, [spell for spell in packed if spell.node == node], seconds)
        for node in sorted({spell.node for spell in packed})
    ]
    return Utilisation(
        spells=tuple(packed),
        nodes=tuple(nodes),
        seconds=seconds,
        paused=max(end for _, end in windows) - seconds,
        starts=len({spell.session for spell in packed}),
        recorded=recorded,
    )


def shares_unknown(run: RunData) -> bool:
    """Whether trials shared processes, and no record says which: older records of cohorts."""
    resources = run.experiment.get("resources")
    asked = resources.get("cohort") if isinstance(resources, Mapping) else None
    if not isinstance(asked, int) or asked < 2:
        return False
    return any(None in trial.epochs.others["cohort"] for trial in run.trials if trial.epochs)


class _Process(NamedTuple):
    """Which process trained: a trial alone, or a cohort."""

    session: str
    node: str
    cohort: str | None


class _Epochs(NamedTuple):
    """Epochs of one process, in order: their numbers, their ends, and the seconds they took."""

    numbers: Sequence[int] | NDArray[np.int64]
    times: Sequence[str]
    seconds: Sequence[float] | NDArray[np.float64]


class _Stretch(NamedTuple):
    """Epochs without a pause between them."""

    first: int
    last: int
    start: float
    end: float
    busy: float


def _by_process(epochs: EpochTable) -> Iterator[tuple[_Process, _Epochs]]:
    """The epochs of a trial by the processes that trained them."""
    others = epochs.others
    whole = _Epochs(epochs.numbers("epoch"), others["time"], epochs.numbers("seconds.total"))
    if all(others[name].count(others[name][0]) == len(epochs) for name in _Process._fields):
        yield _Process(*(others[name][0] for name in _Process._fields)), whole
        return
    begin = 0
    for process, together in groupby(zip(*(others[n] for n in _Process._fields), strict=True)):
        part = slice(begin, begin := begin + len(list(together)))
        numbers, times, seconds = whole.numbers[part], whole.times[part], whole.seconds[part]
        yield _Process(*process), _Epochs(numbers, times, seconds)


def _cohort_spells(parts: Iterable[tuple[TrialData, _Process, _Epochs]]) -> Iterator[Spell]:
    """The spells of cohorts: an epoch of theirs ends with its last trial, and takes what all took.

    What is done for all of a cohort counts for each in equal parts, so that these add up.
    """
    shared: dict[_Process, list[tuple[TrialData, _Epochs]]] = {}
    for trial, process, epochs in parts:
        shared.setdefault(process, []).append((trial, epochs))
    for process, members in shared.items():
        times: dict[int, str] = {}
        seconds: dict[int, float] = {}
        for _, epochs in members:
            for number, time, took in zip(*epochs, strict=True):
                times[number] = max(times.get(number, ""), time)
                seconds[number] = seconds.get(number, 0.0) + took
        numbers = sorted(times)
        together = _Epochs(numbers, [times[n] for n in numbers], [seconds[n] for n in numbers])
        for stretch in _stretches(together):
            names = (
                trial.name
                for trial, epochs in members
                if any(stretch.first <= number <= stretch.last for number in epochs.numbers)
            )
            yield _spell(members[0][0], process, stretch, dict.fromkeys(names))


def _spell(
    trial: TrialData, process: _Process, stretch: _Stretch, cohort: Iterable[str] = ()
) -> Spell:
    """A spell in seconds since 1970, in slot 0."""
    return Spell(
        trial=trial.name,
        state=trial.state,
        node=process.node,
        slot=0,
        session=process.session,
        first_epoch=stretch.first,
        last_epoch=stretch.last,
        start=stretch.start,
        end=stretch.end,
        busy=stretch.busy,
        cohort=tuple(cohort),
    )


def _stretches(epochs: _Epochs) -> list[_Stretch]:
    """Split the epochs of one process at its pauses.

    Where all took as long as lies between their beginning and their end, there was no pause: the
    times of most epochs need not be read.
    """
    numbers, times, seconds = epochs
    began, end = _seconds(times[0]), _seconds(times[-1])
    busy = float(np.sum(seconds))
    if began is not None and end is not None:
        start = began - float(seconds[0])
        if len(times) == 1 or abs(end - start - busy) <= TOLERANCE:
            return [_Stretch(int(numbers[0]), int(numbers[-1]), start, end, busy)]
    if len(times) == 1:
        return []
    half = len(times) // 2
    before = _stretches(_Epochs(numbers[:half], times[:half], seconds[:half]))
    after = _stretches(_Epochs(numbers[half:], times[half:], seconds[half:]))
    if before and after and abs(after[0].start - before[-1].end) <= TOLERANCE:
        one, other = before.pop(), after.pop(0)
        joined = _Stretch(one.first, other.last, one.start, other.end, one.busy + other.busy)
        return [*before, joined, *after]
    return before + after


def _packed(spells: Iterable[Spell]) -> list[Spell]:
    """The spells of one node in the fewest slots, in order of slot and time."""
    free_from: list[float] = []
    slot_of: dict[str, int] = {}
    packed: list[Spell] = []
    for spell in sorted(spells, key=lambda each: (each.start, each.trial)):
        free = [slot for slot, end in enumerate(free_from) if end <= spell.start]
        slot = slot_of.get(spell.trial, -1)
        if slot not in free:
            slot = free[0] if free else len(free_from)
        if slot == len(free_from):
            free_from.append(spell.end)
        free_from[slot] = spell.end
        slot_of[spell.trial] = slot
        packed.append(replace(spell, slot=slot + 1))
    return sorted(packed, key=lambda each: (each.slot, each.start, each.trial))


def _windows(spells: Sequence[Spell]) -> list[tuple[float, float]]:
    """From the first epoch of each session to its last, joined where they overlap."""
    bounds: dict[str, tuple[float, float]] = {}
    for spell in spells:
        start, end = bounds.get(spell.session, (spell.start, spell.end))
        bounds[spell.session] = (min(start, spell.start), max(end, spell.end))
    joined: list[tuple[float, float]] = []
    for start, end in sorted(bounds.values()):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def _use(node: str, spells: Sequence[Spell], seconds: float) -> NodeUse:
    slots = max(spell.slot for spell in spells)
    busy = sum(spell.busy for spell in spells)
    return NodeUse(
        node=node or UNRECORDED,
        slots=slots,
        trials=len({trial for spell in spells for trial in spell.trials}),
        busy=busy,
        share=_share(busy, slots, seconds),
    )


def _share(busy: float, slots: int, seconds: float) -> float:
    # Clocks are not exact: never more than all of it.
    return min(busy / (slots * seconds), 1.0) if seconds > 0 else 1.0


def _seconds(moment: str) -> float | None:
    try:
        return datetime.fromisoformat(moment).timestamp()
    except ValueError:
        return None
