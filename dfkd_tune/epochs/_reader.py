"""The epochs of a run's trials, read by two processes where that is worth one more.

The other process can also write its trials' rows of `curves.csv`, while this one makes the page.
"""

import gc
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from dfkd_tune.epochs._rows import csv_rows, metric_columns
from dfkd_tune.records import EpochTable, read_epoch_table

WORTH_A_PROCESS = 50_000_000
"""Bytes that are read in about the time in which a process starts."""

OUR_SHARE = 0.41
"""Of the trials: this process makes their rows too before it waits for the other one."""

CHUNK = 1 << 18

# Memory of one file is for the next: glibc would give it back in between, a tenth of the time.
_KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(1 << 30), "MALLOC_MMAP_THRESHOLD_": str(1 << 30)}

_HELPER = "from dfkd_tune.epochs._reader import serve; serve()"

Read = EpochTable | OSError


@dataclass(frozen=True, kw_only=True)
class WrittenRows:
    """Rows of `curves.csv` of all trials of a run, the last of which another process writes.

    Args:
        ours: those that are made, of the first trials.
        our_metrics: what these have after the first columns.
        file: of the others, without a header.
        process: which writes it.
    """

    ours: Sequence[bytes]
    our_metrics: Sequence[str]
    file: Path
    process: "subprocess.Popen[bytes]"

    def have(self, metrics: Sequence[str]) -> bool:
        """Whether all rows have these after the first columns; waits until they are written."""
        if self.process.wait() != 0:
            return False
        theirs: list[str] = pickle.loads(_metrics_file(self.file).read_bytes())
        return list(self.our_metrics) == theirs == list(metrics)

    def contents(self) -> Iterator[bytes]:
        """The rows, in pieces."""
        yield from self.ours
        with self.file.open("rb") as file:
            while piece := file.read(CHUNK):
                yield piece


@dataclass(frozen=True, kw_only=True)
class _Request:
    """What another process is to do.

    Args:
        run: the run's name.
        trials: their names and `metrics.jsonl`.
        answer: the file for what it has read.
        rows: the file for their rows of `curves.csv`; None where these are not asked for.
    """

    run: str
    trials: Sequence[tuple[str, Path]]
    answer: Path
    rows: Path | None


class EpochReader(AbstractContextManager["EpochReader"]):
    """Reads the epochs of runs; at the end of its block the other processes have ended.

    Args:
        rows: whether other processes write rows of `curves.csv` as well.
        waiting: what else there is to do while another process still reads.
    """

    def __init__(self, *, rows: bool = False, waiting: Callable[[], object] = lambda: None) -> None:
        self._rows = rows
        self._waiting = waiting
        self._folder: TemporaryDirectory[str] | None = None
        self._processes: list[subprocess.Popen[bytes]] = []
        self.written: dict[Path, WrittenRows] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        if self._folder is not None:
            self._folder.cleanup()

    def read(
        self,
        run: Path,
        name: str,
        trials: Sequence[tuple[str, Path]],
        meanwhile: Callable[[], None] = lambda: None,
    ) -> list[Read]:
        """Read the epochs of a run's trials.

        Args:
            run: the run folder.
            name: of the run.
            trials: their names and `metrics.jsonl`.
            meanwhile: called once, for what else there is to do while another process reads.

        Returns:
            The epochs of each; the error of one that could not be read.
        """
        files = [file for _, file in trials]
        if len(os.sched_getaffinity(0)) < 2 or _size(files) < WORTH_A_PROCESS:
            meanwhile()
            return _read(files)
        ours = round(OUR_SHARE * len(files))
        begun = self._begin(name, trials[ours:])
        meanwhile()
        first = _read(files[:ours])
        self._waiting()
        if begun is None:
            return [*first, *_read(files[ours:])]
        process, request = begun
        metrics, rows = _rows(name, trials, first) if self._rows else ([], [])
        second = _answer(process, request.answer)
        if second is not None and request.rows is not None:
            self.written[run] = WrittenRows(
                ours=rows, our_metrics=metrics, file=request.rows, process=process
            )
        return [*first, *(second or _read(files[ours:]))]

    def _begin(
        self, name: str, trials: Sequence[tuple[str, Path]]
    ) -> "tuple[subprocess.Popen[bytes], _Request] | None":
        """Begin a process that reads these; None where that does not work here."""
        try:
            self._folder = self._folder or TemporaryDirectory()
            answer = Path(self._folder.name) / f"epochs-{len(self._processes)}"
            request = _Request(
                run=name,
                trials=trials,
                answer=answer,
                rows=answer.with_suffix(".csv") if self._rows else None,
            )
            process = subprocess.Popen(
                [sys.executable, "-c", _HELPER],
                env={**os.environ, **_KEEP_MEMORY},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # What it cannot do, this process does, and says what is wrong.
                stderr=subprocess.DEVNULL,
            )
            self._processes.append(process)
            assert process.stdin is not None
            with process.stdin as sent:
                pickle.dump(request, sent)
        except OSError:
            return None
        return process, request


def serve() -> None:
    """Do what is asked for on standard input; says on standard output when epochs are read."""
    gc.disable()  # Records have no cycles; to look for them takes a third of the time.
    request: _Request = pickle.load(sys.stdin.buffer)
    found = _read([file for _, file in request.trials])
    with request.answer.open("wb") as file:
        pickle.dump(found, file, protocol=pickle.HIGHEST_PROTOCOL)
    os.close(sys.stdout.fileno())  # Epochs are read: the other process goes on.
    if request.rows is None:
        return
    with request.rows.open("wb") as file:
        metrics, rows = _rows(request.run, request.trials, found)
        file.writelines(rows)
    _metrics_file(request.rows).write_bytes(pickle.dumps(metrics))


def _rows(
    run: str, trials: Sequence[tuple[str, Path]], found: Sequence[Read]
) -> tuple[list[str], list[bytes]]:
    """What the rows of what was found have after the first columns; and these rows."""
    named = [
        (name, epochs)
        for (name, _), epochs in zip(trials, found, strict=False)
        if isinstance(epochs, EpochTable)
    ]
    metrics = metric_columns(epochs for _, epochs in named)
    return metrics, [*csv_rows(run, named, metrics)]


def _metrics_file(rows: Path) -> Path:
    return rows.with_suffix(".metrics")


def _answer(process: "subprocess.Popen[bytes]", answer: Path) -> list[Read] | None:
    """What another process has read; None where it has not."""
    assert process.stdout is not None
    process.stdout.read()
    try:
        with answer.open("rb") as file:
            found: list[Read] = pickle.load(file)
    except (OSError, EOFError, pickle.UnpicklingError):
        return None
    return found


def _read(files: Sequence[Path]) -> list[Read]:
    found: list[Read] = []
    for file in files:
        try:
            found.append(read_epoch_table(file))
        except OSError as error:
            found.append(error)
    return found


def _size(files: Sequence[Path]) -> int:
    total = 0
    for file in files:
        try:
            total += file.stat().st_size
        except OSError:
            continue
    return total
