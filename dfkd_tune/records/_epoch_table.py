"""The epochs of a trial as columns: what a report of many trials needs, in little time and memory.

Lines are read by msgspec with the types of `EpochRecord`, and with the names that the first and the
last line give their losses. Where one has other names, or msgspec does not take it, such as one
with a NaN, it is read as all other records are: which lines count is the same.
"""

import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain
from operator import attrgetter, lt
from pathlib import Path
from typing import Any, overload

import msgspec
import numpy as np
from msgspec.structs import astuple
from numpy.typing import NDArray
from pydantic import ValidationError

from dfkd_tune.records._reading import read_content
from dfkd_tune.records._record import Record
from dfkd_tune.records._trial import EpochRecord, Seconds

INTEGERS = ("epoch", "total_epochs", "student_steps", "generator_steps")
OPTIONAL = ("value", "class_entropy", "feature_distance", "kept_agreement")
ALWAYS = ("images_per_second", "peak_memory_mib")
GROUPS = ("validation", "losses", "learning_rates")
OTHERS = ("stage", "collapse_signs", "session", "node", "cohort", "time")
NUMBERS = (*OPTIONAL, *ALWAYS, *(f"seconds.{name}" for name in Seconds.model_fields))
"""What is a number in all tables and not whole, in the order of their rows in `values`."""

Names = tuple[tuple[str, ...], ...]
"""Names of losses and the like, by group."""

Nans = frozenset[tuple[str, int]]
"""Columns and places where a NaN was recorded, which is a number."""


@dataclass(frozen=True, eq=False)
class EpochTable(Sequence[EpochRecord]):
    """The epochs of one trial, in order; as a sequence, it makes the records one by one.

    In two arrays, not one for each column: that many are slow to make, and to hand over.

    Args:
        counts: of shape `(4, epochs)`, a row for each of `INTEGERS`.
        names: of the rows of `values`, such as `losses.student/kd` or `seconds.total`.
        values: of shape `(len(names), epochs)`; NaN where there is none.
        others: what is no number, by name.
        nans: the places of NaN that were recorded.
    """

    counts: NDArray[np.int64]
    names: tuple[str, ...]
    values: NDArray[np.float64]
    others: Mapping[str, Sequence[Any]]
    nans: Nans = frozenset()

    def __len__(self) -> int:
        return int(self.counts.shape[1])

    @overload
    def __getitem__(self, index: int) -> EpochRecord: ...
    @overload
    def __getitem__(self, index: slice) -> "EpochTable": ...
    def __getitem__(self, index: int | slice) -> "EpochRecord | EpochTable":
        if isinstance(index, slice):
            return self.select(np.arange(len(self))[index])
        place = range(len(self))[index]
        return self.last if place == len(self) - 1 else self._record(place)

    def __iter__(self) -> Iterator[EpochRecord]:
        return (self._record(place) for place in range(len(self)))

    def _record(self, place: int) -> EpochRecord:
        values: dict[str, Any] = {name: self.others[name][place] for name in OTHERS}
        values.update(zip(INTEGERS, self.counts[:, place].tolist(), strict=True))
        groups: dict[str, Any] = {name: {} for name in (*GROUPS, "seconds")}
        for name, value in zip(self.names, self.values[:, place].tolist(), strict=True):
            there = value == value or (name, place) in self.nans
            group, dot, key = name.partition(".")
            if not dot:
                values[name] = value if there else None
            elif there:
                groups[group][key] = value
        seconds = Seconds.model_construct(**groups.pop("seconds"))
        return EpochRecord.model_construct(**(values | groups), seconds=seconds)

    @cached_property
    def last(self) -> EpochRecord:
        """The last epoch; there must be one."""
        return self._record(len(self) - 1)

    def numbers(self, name: str) -> NDArray[Any]:
        """A column, such as `epoch` or `losses.student/kd`.

        Args:
            name: one of `INTEGERS` or `names`.

        Returns:
            A number for each epoch; NaN where it has none, so throughout for another name.
        """
        found: NDArray[Any]
        if name in INTEGERS:
            found = self.counts[INTEGERS.index(name)]
        elif (place := _places(self.names).get(name)) is not None:
            found = self.values[place]
        else:
            found = np.full(len(self), np.nan)
        return found

    def absent(self, name: str) -> NDArray[np.bool_]:
        """Which epochs have no number in a column."""
        without: NDArray[np.bool_] = np.isnan(self.numbers(name))
        without[[place for column, place in self.nans if column == name]] = False
        return without

    @cached_property
    def evaluated(self) -> "EpochTable":
        """The epochs that have a value of the search objective."""
        without = self.absent("value")
        return self.select(np.flatnonzero(~without)) if without.any() else self

    def select(self, places: NDArray[np.intp]) -> "EpochTable":
        """Some of the epochs, in the order of `places`."""
        kept = enumerate(places.tolist()) if self.nans else ()
        return EpochTable(
            counts=self.counts[:, places],
            names=self.names,
            values=self.values[:, places],
            others={name: [of[place] for place in places] for name, of in self.others.items()},
            nans=frozenset(
                (name, new) for new, old in kept for name, place in self.nans if place == old
            ),
        )


def read_epoch_table(path: Path, within: Path | None = None) -> EpochTable:
    """Read `metrics.jsonl`: one row per epoch, in order; of an epoch trained again, the newest.

    Lines that a crash cut short, and those with counts of more than 64 bits, are passed over. A
    missing file holds no epochs.

    Args:
        path: of the file.
        within: the run folder, where one that has gone is to be waited for.
    """
    try:
        content = read_content(path, within)
    except FileNotFoundError:
        return epoch_table([])
    try:
        return _table_of_names(content, _names(content))
    except (msgspec.MsgspecError, OverflowError, ValueError):
        return epoch_table(list(_tolerant_lines(content)))


def _names(content: bytes) -> Names:
    """By group, the names in the first and the last line."""
    first, last = content[: content.find(b"\n") + 1], content.rstrip(b"\n").rpartition(b"\n")[2]
    ends = [_LINES.decode(line) for line in (first, last)]
    return tuple(tuple(dict.fromkeys(chain(*(getattr(e, g) for e in ends)))) for g in GROUPS)


def _table_of_names(content: bytes, names: Names) -> EpochTable:
    """Make a table of whole lines, none with other names than these.

    Raises:
        MsgspecError: if a line is none of these.
        OverflowError: if a count has more than 64 bits.
        ValueError: if msgspec cannot have a field of such a name.
    """
    rows = _newest(_decoder(names).decode_lines(content))
    fields = dict(zip(_FIELDS, zip(*map(astuple, rows), strict=True), strict=True))
    # Such lines hold no NaN: there is none but where nothing was recorded.
    values = [_filled(fields[name]) for name in OPTIONAL]
    values += [fields[name] for name in ALWAYS]
    for name in ("seconds", *GROUPS):
        values += zip(*map(astuple, fields[name]), strict=True)
    return EpochTable(
        counts=_counts([fields[name] for name in INTEGERS]),
        names=_column_names(names),
        values=_values(values, len(rows)),
        others=_others(fields),
    )


def epoch_table(lines: Sequence[Any]) -> EpochTable:
    """Make a table of what has the fields of an `EpochRecord`.

    Args:
        lines: in the order in which they were written.

    Raises:
        OverflowError: if a count has more than 64 bits.
    """
    rows = _newest(lines)
    held = {group: [getattr(row, group) for row in rows] for group in GROUPS}
    names = tuple(tuple(dict.fromkeys(chain.from_iterable(held[group]))) for group in GROUPS)
    columns = [[*map(attrgetter(name), rows)] for name in NUMBERS]
    for group, keys in zip(GROUPS, names, strict=True):
        columns += [[of.get(key) for of in held[group]] for key in keys]
    named = _column_names(names)
    return EpochTable(
        counts=_counts([[*map(attrgetter(name), rows)] for name in INTEGERS]),
        names=named,
        values=_values([*map(_filled, columns)], len(rows)),
        others=_others({name: [*map(attrgetter(name), rows)] for name in OTHERS}),
        nans=frozenset(
            (name, place)
            for name, column in zip(named, columns, strict=True)
            for place, value in enumerate(column)
            if value is not None and math.isnan(value)
        ),
    )


def _newest(lines: Sequence[Any]) -> Sequence[Any]:
    """The lines in order of epochs; of an epoch trained again, the newest."""
    newest = {line.epoch: line for line in lines}
    epochs = [*newest]
    if len(epochs) == len(lines) and all(map(lt, epochs, epochs[1:])):
        return lines
    return [newest[epoch] for epoch in sorted(newest)]


@lru_cache(maxsize=64)
def _places(names: tuple[str, ...]) -> Mapping[str, int]:
    return {name: place for place, name in enumerate(names)}


@lru_cache(maxsize=64)
def _column_names(names: Names) -> tuple[str, ...]:
    """The rows of `values`, from the names by group."""
    groups = zip(GROUPS, names, strict=True)
    return (*NUMBERS, *(f"{group}.{name}" for group, held in groups for name in held))


def _filled(values: Sequence[float | None]) -> Sequence[float]:
    return [math.nan if value is None else value for value in values]


def _counts(columns: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    return np.array(columns, dtype=np.int64)


def _values(columns: Sequence[Sequence[float]], rows: int) -> NDArray[np.float64]:
    # Numbers by way of bytes: several times as fast as what numpy has for it.
    content = struct.pack(f"{len(columns) * rows}d", *chain.from_iterable(columns))
    return np.frombuffer(content).reshape(len(columns), rows)


def _others(fields: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    found = {name: fields[name] for name in OTHERS}
    # One text in place of as many equal ones.
    for name in ("stage", "session", "node", "cohort"):
        one = {text: text for text in found[name]}
        found[name] = [one[text] for text in found[name]]
    return found


def _tolerant_lines(content: bytes) -> Iterable[Any]:
    """The lines that are whole, each by itself."""
    for line in content.splitlines():
        try:
            found: Any = _LINES.decode(line)
        except msgspec.MsgspecError:
            try:
                found = EpochRecord.model_validate_json(line)
            except ValidationError:
                continue
        if all(-(2**63) <= getattr(found, name) < 2**63 for name in INTEGERS):
            yield found


def _structure(
    record: type[Record], groups: Mapping[str, type[msgspec.Struct]] | None = None
) -> type[msgspec.Struct]:
    """The fields of a record for msgspec; of those in `groups` with the types given there."""
    fields: list[Any] = []
    for name, field in record.model_fields.items():
        kind: Any = (groups or {}).get(name, field.annotation)
        if isinstance(kind, type) and issubclass(kind, Record):
            kind = _structure(kind)
        default = () if field.is_required() or name in (groups or {}) else (field.default,)
        fields.append((name, kind, *default))
    return msgspec.defstruct(record.__name__, fields, kw_only=True, gc=False)


def _fields(names: Sequence[str]) -> list[str]:
    """A name in Python for each of some names."""
    return [f"number{place}" for place in range(len(names))]


@lru_cache(maxsize=64)
def _decoder(names: Names) -> msgspec.json.Decoder[Any]:
    """Of lines whose groups have no other names than these."""
    groups = {
        group: msgspec.defstruct(
            group,
            [(field, float, math.nan) for field in _fields(held)],
            rename=dict(zip(_fields(held), held, strict=True)),
            forbid_unknown_fields=True,
            gc=False,
        )
        for group, held in zip(GROUPS, names, strict=True)
    }
    return msgspec.json.Decoder(_structure(EpochRecord, groups))


_FIELDS = tuple(EpochRecord.model_fields)
_LINES = msgspec.json.Decoder(_structure(EpochRecord))
