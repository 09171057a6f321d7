"""Reading records, whole or up to where a crash cut them short."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from dfkd_tune.errors import RunFolderError
from dfkd_tune.records._patience import is_gone, patiently, storage_error
from dfkd_tune.records._record import Record

AnyRecord = TypeVar("AnyRecord", bound=Record)


def read_record(path: Path, kind: type[AnyRecord], within: Path | None = None) -> AnyRecord:
    """Read one record from a JSON file.

    Args:
        path: of the file.
        kind: of the record.
        within: the run folder, where one that has gone is to be waited for.

    Raises:
        RunFolderError: if the file is missing or does not hold such a record.
        StorageGoneError: if the run folder has gone for minutes.
    """
    try:
        return kind.model_validate_json(read_content(path, within))
    except FileNotFoundError as error:
        raise RunFolderError(f"{path} is missing; is this a run folder?") from error
    except OSError as error:
        raise RunFolderError(f"cannot read {path}: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise RunFolderError(f"{path} is damaged: {where}: {first['msg']}") from error


def read_lines(
    path: Path, kind: type[AnyRecord], within: Path | None = None
) -> Iterator[AnyRecord]:
    """Read the records of a JSON Lines file, passing over lines that a crash cut short.

    A missing file holds no records.

    Args:
        path: of the file.
        kind: of the records.
        within: the run folder, where one that has gone is to be waited for.
    """
    try:
        content = read_content(path, within)
    except FileNotFoundError:
        return
    for line in content.splitlines():
        try:
            yield kind.model_validate_json(line)
        except ValidationError:
            continue


def read_content(path: Path, within: Path | None) -> bytes:
    """Read a file; `within`: the run folder, where one that has gone is to be waited for."""
    if within is None:
        return path.read_bytes()
    try:
        return patiently(path.read_bytes, within)
    except OSError as error:
        if is_gone(error, within):
            raise storage_error(error, path, within, "read") from error
        raise
