"""The epochs of many trials, read by two processes where that is worth one more."""

import gc
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from dfkd_tune.records._epoch_table import EpochTable, read_epoch_table

WORTH_A_PROCESS = 50_000_000
"""Bytes that are read in about the time in which a process starts."""

OUR_SHARE = 0.5
"""Of the files; the other process must start first, and hand over what it has read."""

_HELPER = "from dfkd_tune.records._epoch_tables import serve; serve()"


def read_epoch_tables(
    files: Sequence[Path], meanwhile: Callable[[], None] = lambda: None
) -> list[EpochTable | OSError]:
    """Read the epochs of many trials.

    Args:
        files: their `metrics.jsonl`.
        meanwhile: called once, for what else there is to do while another process reads.

    Returns:
        The epochs of each; the error of one that could not be read.
    """
    if len(os.sched_getaffinity(0)) < 2 or _size(files) < WORTH_A_PROCESS:
        meanwhile()
        return _read(files)
    ours = round(OUR_SHARE * len(files))
    with TemporaryDirectory() as folder:
        answer = Path(folder) / "epochs"
        process = _begin(files[ours:], answer)
        meanwhile()
        first = _read(files[:ours])
        return [*first, *(_end(process, answer) or _read(files[ours:]))]


def serve() -> None:
    """Read the files named on standard input, and write their epochs to the file in argument 1."""
    gc.disable()  # Records have no cycles; to look for them takes a third of the time.
    found = _read(pickle.load(sys.stdin.buffer))
    with Path(sys.argv[1]).open("wb") as file:
        pickle.dump(found, file, protocol=pickle.HIGHEST_PROTOCOL)


def _begin(files: Sequence[Path], answer: Path) -> "subprocess.Popen[bytes] | None":
    """Begin to read in a process of its own; None where that does not work here."""
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", _HELPER, str(answer)], stdin=subprocess.PIPE
        )
        assert process.stdin is not None
        with process.stdin as sent:
            pickle.dump(list(files), sent)
    except OSError:
        return None
    return process


def _end(
    process: "subprocess.Popen[bytes] | None", answer: Path
) -> list[EpochTable | OSError] | None:
    """What another process has read; None where it has not."""
    if process is None or process.wait() != 0:
        return None
    with answer.open("rb") as file:
        found: list[EpochTable | OSError] = pickle.load(file)
    return found


def _read(files: Sequence[Path]) -> list[EpochTable | OSError]:
    found: list[EpochTable | OSError] = []
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
