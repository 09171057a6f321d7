"""Rows of `curves.csv`: one per epoch of every trial, made of some trials at a time."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain

import numpy as np
import pyarrow as pa
from pyarrow import csv

from dfkd_tune.records import EpochTable

CURVE_COLUMNS = ("run", "trial", "epoch", "student_steps", "generator_steps", "stage", "value")
SINGULAR = {"losses": "loss", "learning_rates": "learning_rate"}
QUOTE = '"'
WRITERS = 2
TRIALS_IN_PART = 100

NamedEpochs = tuple[str, EpochTable]


def metric_columns(tables: Iterable[EpochTable]) -> list[str]:
    """The columns beside those that every table of epochs has, in order.

    Args:
        tables: of trials; those without epochs do not count.
    """
    found: set[str] = set()
    for epochs in tables:
        if epochs:
            found |= {_metric(name) for name in epochs.columns} | {"collapse_signs"}
    return sorted(found - {*CURVE_COLUMNS, "total_epochs"})


def row_parts(
    run: str, trials: Sequence[NamedEpochs], metrics: Sequence[str]
) -> Iterator[pa.Table]:
    """The rows of a run's trials, some trials at a time.

    Args:
        run: its name.
        trials: names and epochs, in order; those without epochs have no row.
        metrics: the columns beside those that every table of epochs has.
    """
    begun = [(name, epochs) for name, epochs in trials if epochs]
    for start in range(0, len(begun), TRIALS_IN_PART):
        yield _part(run, begun[start : start + TRIALS_IN_PART], metrics)


def csv_header(metrics: Sequence[str]) -> bytes:
    """The first line of the file."""
    header = ",".join(_quoted(name) for name in (*CURVE_COLUMNS, *metrics))
    return f"{header}\n".encode("utf-8", "replace")


def csv_contents(parts: Iterable[pa.Table]) -> Iterator[memoryview]:
    """Parts as CSV without a header, in their order."""
    # The writer leaves Python's lock, so that threads share the work.
    with ThreadPoolExecutor(WRITERS) as writers:
        begun: deque[Future[memoryview]] = deque()
        for part in parts:
            begun.append(writers.submit(_csv, part))
            if len(begun) > 2 * WRITERS:
                yield begun.popleft().result()
        yield from (each.result() for each in begun)


def _csv(part: pa.Table) -> memoryview:
    sink = pa.BufferOutputStream()
    texts = [column for column in part.columns if pa.types.is_string(column.type)]
    plain = all(_quoted(text) == text for column in texts for text in column.unique().to_pylist())
    style = "none" if plain else "needed"
    csv.write_csv(part, sink, csv.WriteOptions(include_header=False, quoting_style=style))
    return memoryview(sink.getvalue())


def _quoted(name: str) -> str:
    """A cell of CSV."""
    return f'"{name.replace(QUOTE, 2 * QUOTE)}"' if set(name) & set('",\r\n') else name


def _metric(column: str) -> str:
    """The name of a column of epochs in the table."""
    group, dot, name = column.partition(".")
    return f"{SINGULAR.get(group, group)}{dot}{name}"


def _part(run: str, trials: Sequence[NamedEpochs], metrics: Sequence[str]) -> pa.Table:
    epochs = [of for _, of in trials]
    named = [{_metric(name): column for name, column in each.columns.items()} for each in epochs]
    of_trial = np.repeat(np.arange(len(trials)), [len(each) for each in epochs])
    texts = {
        "run": pa.array([_sound(run)]).take(np.zeros_like(of_trial)),
        "trial": pa.array([_sound(name) for name, _ in trials]).take(of_trial),
        "stage": pa.array(chain.from_iterable(each.others["stage"] for each in epochs)),
        "collapse_signs": pa.array(
            _sound(", ".join(signs)) if signs else ""
            for each in epochs
            for signs in each.others["collapse_signs"]
        ),
    }
    arrays: dict[str, pa.Array] = {}
    for name in (*CURVE_COLUMNS, *metrics):
        if name in texts:
            arrays[name] = texts[name]
        else:
            parts = [
                columns[name] if name in columns else np.full(len(each), np.nan)
                for columns, each in zip(named, epochs, strict=True)
            ]
            arrays[name] = pa.array(np.concatenate(parts), from_pandas=True)
    return pa.table(arrays)


def _sound(text: str) -> str:
    """A text that UTF-8 can hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
