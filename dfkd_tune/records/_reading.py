"""Reading records, whole or up to where a crash cut them short."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from dfkd_tune.errors import RunFolderError
from dfkd_tune.records._patience import is_gone, patiently, storage_error
from dfkd_tune.records._record import SCHEMA_VERSION, Record

AnyRecord = TypeVar("AnyRecord", bound=Record)


class _Versioned(Record):
    schema_version: int = SCHEMA_VERSION


def read_record(path: Path, kind: type[AnyRecord], within: Path | None = None) -> AnyRecord:
    """Read one record from a JSON file.

    Args:
        path: of the file.
        kind: of the record.
        within: the run folder, where one that has gone is to be waited for.

    Raises:
        RunFolderError: if the file is missing, does not hold such a record, or is of a newer
            version.
        StorageGoneError: if the run folder has gone for minutes.
    """
    try:
        content = read_content(path, within)
    except FileNotFoundError as error:
        raise RunFolderError(f"{path} is missing; is this a run folder?") from error
    except OSError as error:
        raise RunFolderError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        record = kind.model_validate_json(content)
    except ValidationError as error:
        _refuse_newer(path, _version(content))
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise RunFolderError(f"{path} is damaged: {where}: {first['msg']}") from error
    _refuse_newer(path, getattr(record, "schema_version", SCHEMA_VERSION))
    return record


def _version(content: bytes) -> int:
    """The version of a record, whatever else it holds."""
    try:
        return _Versioned.model_validate_json(content).schema_version
    except ValidationError:
        return SCHEMA_VERSION


def _refuse_newer(path: Path, version: int) -> None:
    """Say so where a record means what this version does not know."""
    if version > SCHEMA_VERSION:
        raise RunFolderError(
            f"{path} was written by a newer dfkd-tune (records version {version}, this one reads "
            f"{SCHEMA_VERSION}); upgrade dfkd-tune"
        )


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
