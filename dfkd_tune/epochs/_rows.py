"""Rows of `curves.csv`: one per epoch of every trial."""

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import orjson
from numpy.typing import NDArray

from dfkd_tune.records import EpochTable

COUNTS = ("epoch", "student_steps", "generator_steps")
FIRST_COLUMNS = ("run", "trial", *COUNTS, "stage", "collapse_signs", "value")
SINGULAR = {"losses": "loss", "learning_rates": "learning_rate"}
QUOTE = '"'

NamedEpochs = tuple[str, EpochTable]


def metric_columns(tables: Iterable[EpochTable]) -> list[str]:
    """The names in `EpochTable.values` that have a column after the first ones, in order.

    Args:
        tables: of trials; those without epochs do not count.
    """
    found = {epochs.names for epochs in tables if epochs}
    return sorted({name for names in found for name in names} - {"value"}, key=_heading)


def csv_header(metrics: Sequence[str]) -> bytes:
    """The first line of the file.

    Args:
        metrics: what comes after the first columns.
    """
    header = ",".join(_cell(name) for name in (*FIRST_COLUMNS, *map(_heading, metrics)))
    return f"{header}\n".encode("utf-8", "replace")


def csv_rows(run: str, trials: Iterable[NamedEpochs], metrics: Sequence[str]) -> Iterator[bytes]:
    """The rows of a run's trials, a trial at a time.

    Args:
        run: its name.
        trials: names and epochs, in order; those without epochs have no row.
        metrics: what comes after the first columns; empty where an epoch did not measure it.
    """
    for name, epochs in trials:
        if epochs:
            yield "".join(_rows(f"{_cell(run)},{_cell(name)}", epochs, metrics)).encode(
                "utf-8", "replace"
            )


def _rows(begin: str, epochs: EpochTable, metrics: Sequence[str]) -> Iterator[str]:
    counts = np.array([epochs.numbers(name) for name in COUNTS])
    values = np.array([epochs.numbers(name) for name in ("value", *metrics)])
    stages, signs = epochs.others["stage"], epochs.others["collapse_signs"]
    cells = zip(_lines(counts), stages, signs, _lines(values), strict=True)
    for whole, stage, found, numbers in cells:
        yield f"{begin},{whole},{stage},{_cell(', '.join(found)) if found else ''},{numbers}\n"


def _lines(columns: NDArray[np.int64] | NDArray[np.float64]) -> list[str]:
    """Numbers as cells with commas between them, a text for each epoch; nothing for a NaN."""
    if np.isinf(columns).any():
        return [",".join(map(_number, row)) for row in columns.T.tolist()]
    # JSON's numbers are CSV's, and this library writes them many times as fast as others.
    content = orjson.dumps(np.ascontiguousarray(columns.T), option=orjson.OPT_SERIALIZE_NUMPY)
    return content[2:-2].replace(b"null", b"").decode().split("],[")


def _number(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


def _cell(text: str) -> str:
    """A text as a cell of CSV."""
    return f'"{text.replace(QUOTE, 2 * QUOTE)}"' if set(text) & set('",\r\n') else text


def _heading(name: str) -> str:
    """The heading of a column of epochs."""
    group, dot, key = name.partition(".")
    return f"{SINGULAR.get(group, group)}{dot}{key}"
