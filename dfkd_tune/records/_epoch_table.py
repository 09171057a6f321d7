"""The epochs of a trial as columns: what a report of many trials needs, in little time and memory.

Lines are read by msgspec with the types of `EpochRecord`, and with the names that the first and the
last line give their losses. Where one has other names, or msgspec does not take it, such as one
with a NaN, it is read as all other records are: which lines count is the same.
"""

import math
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
SCALARS = (*OPTIONAL, "images_per_second", "peak_memory_mib")
SECONDS = tuple(f"seconds.{name}" for name in Seconds.model_fields)
MEASURED = ("images_per_second", "peak_memory_mib", *SECONDS)
GROUPS = ("validation", "losses", "learning_rates")
OTHERS = ("stage", "collapse_signs", "session", "node", "cohort", "time")

Columns = dict[str, NDArray[Any]]
Absent = dict[str, NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class EpochTable(Sequence[EpochRecord]):
    """The epochs of one trial, in order; as a sequence, it makes the records one by one.

    Args:
        columns: numbers by name, such as `epoch`, `losses.student/kd` or `seconds.total`, one for
            each epoch; NaN where there is none.
        absent: by name of a column, the epochs that have no number there; without the columns
            in which all have one.
        others: what is no number, by name.
    """

    columns: Mapping[str, NDArray[Any]]
    absent: Mapping[str, NDArray[np.bool_]]
    others: Mapping[str, Sequence[Any]]

    def __len__(self) -> int:
        return len(self.others["stage"])

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
        for name in (*INTEGERS, *SCALARS):
            values[name] = self._value(name, place)
        for group in GROUPS:
            values[group] = {
                name: value
                for name, column in self._group_columns[group]
                if (value := self._value(column, place)) is not None
            }
        seconds = {name: self._value(f"seconds.{name}", place) for name in Seconds.model_fields}
        values["seconds"] = Seconds.model_construct(**seconds)
        return EpochRecord.model_construct(**values)

    @cached_property
    def last(self) -> EpochRecord:
        """The last epoch; there must be one."""
        return self._record(len(self) - 1)

    def numbers(self, name: str) -> NDArray[Any]:
        """A column; NaN throughout where no epoch has such a number."""
        found = self.columns.get(name)
        return np.full(len(self), np.nan) if found is None else found

    @cached_property
    def evaluated(self) -> "EpochTable":
        """The epochs that have a value of the search objective."""
        without = self.absent.get("value")
        return self if without is None else self.select(np.flatnonzero(~without))

    def select(self, places: NDArray[np.intp]) -> "EpochTable":
        """Some of the epochs, in the order of `places`."""
        return EpochTable(
            columns={name: column[places] for name, column in self.columns.items()},
            absent={
                name: chosen
                for name, column in self.absent.items()
                if (chosen := column[places]).any()
            },
            others={name: [of[place] for place in places] for name, of in self.others.items()},
        )

    @cached_property
    def _group_columns(self) -> Mapping[str, list[tuple[str, str]]]:
        found: dict[str, list[tuple[str, str]]] = {group: [] for group in GROUPS}
        for column in self.columns:
            group, _, name = column.partition(".")
            if group in found:
                found[group].append((name, column))
        return found

    def _value(self, column: str, place: int) -> Any:
        without = self.absent.get(column)
        if without is not None and without[place]:
            return None
        return self.columns[column][place].item()


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


def _names(content: bytes) -> "Names":
    """By group, the names in the first and the last line."""
    first, last = content[: content.find(b"\n") + 1], content.rstrip(b"\n").rpartition(b"\n")[2]
    ends = [_LINES.decode(line) for line in (first, last)]
    return tuple(tuple(dict.fromkeys(chain(*(getattr(e, g) for e in ends)))) for g in GROUPS)


def _table_of_names(content: bytes, names: "Names") -> EpochTable:
    """Make a table of whole lines, none with other names than these.

    Raises:
        MsgspecError: if a line is none of these.
        OverflowError: if a count has more than 64 bits.
        ValueError: if msgspec cannot have a field of such a name.
    """
    rows = _newest(_decoder(names).decode_lines(content))
    columns, absent = _plain_columns(rows)
    for group, held in zip(GROUPS, names, strict=True):
        numbers = chain.from_iterable(map(astuple, map(attrgetter(group), rows)))
        table = _table(numbers, len(held), len(rows), np.float64)
        for name, column in zip(held, table, strict=True):
            columns[f"{group}.{name}"] = column
            # Such lines hold no NaN: there is none but where nothing was recorded.
            without = np.isnan(column)
            if without.any():
                absent[f"{group}.{name}"] = without
    return EpochTable(columns=columns, absent=absent, others=_others(rows))


def epoch_table(lines: Sequence[Any]) -> EpochTable:
    """Make a table of what has the fields of an `EpochRecord`.

    Args:
        lines: in the order in which they were written.

    Raises:
        OverflowError: if a count has more than 64 bits.
    """
    rows = _newest(lines)
    columns, absent = _plain_columns(rows)
    for group in GROUPS:
        held = [*map(attrgetter(group), rows)]
        for name in dict.fromkeys(chain.from_iterable(held)):
            _add_optional(f"{group}.{name}", [of.get(name) for of in held], columns, absent)
    return EpochTable(columns=columns, absent=absent, others=_others(rows))


def _newest(lines: Sequence[Any]) -> Sequence[Any]:
    """The lines in order of epochs; of an epoch trained again, the newest."""
    newest = {line.epoch: line for line in lines}
    epochs = [*newest]
    if len(epochs) == len(lines) and all(map(lt, epochs, epochs[1:])):
        return lines
    return [newest[epoch] for epoch in sorted(newest)]


def _plain_columns(rows: Sequence[Any]) -> tuple[Columns, Absent]:
    """The columns that all tables have."""
    columns: Columns = {}
    absent: Absent = {}
    for names, kind in ((INTEGERS, np.int64), (MEASURED, np.float64)):
        numbers = chain.from_iterable(map(attrgetter(*names), rows))
        columns.update(zip(names, _table(numbers, len(names), len(rows), kind), strict=True))
    for name in OPTIONAL:
        _add_optional(name, [*map(attrgetter(name), rows)], columns, absent)
    return columns, absent


def _table(numbers: Iterable[float], columns: int, rows: int, kind: type) -> NDArray[Any]:
    """Numbers that come row by row, as an array that has a row for each column."""
    return np.fromiter(numbers, kind, count=columns * rows).reshape(rows, columns).T.copy()


def _add_optional(name: str, values: list[Any], columns: Columns, absent: Absent) -> None:
    columns[name] = np.array(values, dtype=np.float64)
    # A NaN that was recorded is a number; what was not recorded is none.
    if None in values:
        absent[name] = np.array([value is None for value in values])


def _others(rows: Sequence[Any]) -> dict[str, list[Any]]:
    found = {name: [*map(attrgetter(name), rows)] for name in OTHERS}
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


Names = tuple[tuple[str, ...], ...]


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


_LINES = msgspec.json.Decoder(_structure(EpochRecord))
