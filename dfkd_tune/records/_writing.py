"""Writing files that a reader or a crash never meets half."""

import json
import os
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dfkd_tune.errors import StorageError
from dfkd_tune.records._record import Record


def now() -> str:
    """The present time in UTC, ISO 8601 to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def write_bytes_atomically(path: Path, content: bytes) -> None:
    """Replace a file so that a reader, or a crash, meets the old or the new content, never half.

    Raises:
        StorageError: if the folder cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}; free space or choose another storage"
        ) from error


def copy_file_atomically(source: Path, target: Path) -> None:
    """Copy a file so that a reader, or a crash, meets the whole copy or none.

    Raises:
        StorageError: if the folder cannot be written.
    """
    partial = target.with_suffix(".partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, partial)
        partial.replace(target)
    except OSError as error:
        raise StorageError(
            f"cannot write {target}: {error.strerror or error}; "
            f"free space or choose another storage"
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, atomically, keys in their own order."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=True)
    write_bytes_atomically(path, (text + "\n").encode())


def write_record(path: Path, record: Record) -> None:
    """Write one record as a JSON file, atomically."""
    write_bytes_atomically(path, (record.model_dump_json(indent=2) + "\n").encode())


def append_record(path: Path, record: Record) -> None:
    """Append one line to a JSON Lines file; a half line left by a crash is closed off first."""
    line = record.model_dump_json() + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            if file.tell() > 0:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    line = "\n" + line
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}; free space or choose another storage"
        ) from error
