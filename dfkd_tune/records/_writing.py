"""Writing files that a reader or a crash never meets half."""

import json
import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from dfkd_tune.records._patience import patiently, storage_error
from dfkd_tune.records._record import Record

TRIALS = "trials"
"""Folder of a run that holds its trials."""


def now() -> str:
    """The present time in UTC, ISO 8601 to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def make_folder(folder: Path) -> None:
    """Make a folder with those above it.

    Within the trials of a run, one by one, below the run folder: where that has vanished for a
    while, nothing may take its place.
    """
    above = (folder, *folder.parents)
    trials = next((path for path in above if path.name == TRIALS), None)
    if trials is None:
        folder.mkdir(parents=True, exist_ok=True)
        return
    for path in reversed([path for path in above if path.is_relative_to(trials)]):
        path.mkdir(exist_ok=True)


def write_bytes_atomically(path: Path, *content: bytes, anew: bool = True) -> None:
    """Replace a file so that a reader, or a crash, meets the old or the new content, never half.

    Args:
        path: of the file.
        content: of it, in parts that follow one another.
        anew: make its folder where there is none.

    Raises:
        DiskFullError: if there is no space.
        StorageGoneError: if the storage has gone for minutes.
        StorageError: if the folder cannot be written.
    """
    write_parts_atomically(path, lambda: content, anew=anew)


def write_parts_atomically(
    path: Path, parts: Callable[[], Iterable[bytes | memoryview]], *, anew: bool = True
) -> None:
    """The same, of parts that are made while they are written.

    Args:
        path: of the file.
        parts: makes its content; called again where the storage had gone meanwhile.
        anew: make its folder where there is none.

    Raises:
        DiskFullError: if there is no space.
        StorageGoneError: if the storage has gone for minutes.
        StorageError: if the folder cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")

    def write() -> None:
        if anew:
            make_folder(path.parent)
        with partial.open("wb") as file:
            file.writelines(parts())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)

    try:
        patiently(write, path.parent)
    except OSError as error:
        # Half a file would take the space that a record may need.
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise storage_error(error, path, path.parent) from error


def copy_file_atomically(source: Path, target: Path) -> None:
    """Copy a file so that a reader, or a crash, meets the whole copy or none.

    Raises:
        DiskFullError: if there is no space.
        StorageGoneError: if the storage has gone for minutes.
        StorageError: if the folder cannot be written.
    """
    partial = target.with_suffix(".partial")

    def copy() -> None:
        make_folder(target.parent)
        shutil.copyfile(source, partial)
        partial.replace(target)

    try:
        patiently(copy, target.parent)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise storage_error(error, target, target.parent) from error


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, atomically, keys in their own order."""
    # Twice as fast as to have json indent it; but msgspec knows no NaN.
    text = json.dumps(value, ensure_ascii=False)
    try:
        text = msgspec.json.format(text, indent=2)
    except msgspec.DecodeError:
        text = json.dumps(value, indent=2, ensure_ascii=False)
    write_bytes_atomically(path, (text + "\n").encode())


def write_record(path: Path, record: Record, *, anew: bool = True) -> None:
    """Write one record as a JSON file, atomically; `anew`: make its folder where there is none."""
    write_bytes_atomically(path, (record.model_dump_json(indent=2) + "\n").encode(), anew=anew)


def append_record(path: Path, record: Record) -> None:
    """Append one line to a JSON Lines file; a half line left by a crash is closed off first.

    A line that cannot be written whole is taken back.

    Raises:
        DiskFullError: if there is no space.
        StorageGoneError: if the storage has gone for minutes.
        StorageError: if the folder cannot be written.
    """
    line = (record.model_dump_json() + "\n").encode()

    def append() -> None:
        make_folder(path.parent)
        # Unbuffered: what the system refuses is not written once more when the file is closed.
        with path.open("ab+", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            try:
                whole = line
                if size > 0:
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":
                        whole = b"\n" + line
                written = file.write(whole)
                while written < len(whole):
                    written += file.write(whole[written:])
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):
                    file.truncate(size)
                raise

    try:
        patiently(append, path.parent)
    except OSError as error:
        raise storage_error(error, path, path.parent) from error
