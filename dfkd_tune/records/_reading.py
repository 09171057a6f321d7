"""Reading records, whole or up to where a crash cut them short."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from dfkd_tune.errors import RunFolderError
from dfkd_tune.records._record import Record

AnyRecord = TypeVar("AnyRecord", bound=Record)


def read_record(path: Path, kind: type[AnyRecord]) -> AnyRecord:
    """Read one record from a JSON file.

    Raises:
        RunFolderError: if the file is missing or does not hold such a record.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise RunFolderError(f"{path} is missing; is this a run folder?") from error
    except OSError as error:
        raise RunFolderError(f"cannot read {path}: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise RunFolderError(f"{path} is damaged: {where}: {first['msg']}") from error


def read_lines(path: Path, kind: type[AnyRecord]) -> Iterator[AnyRecord]:
    """Read the records of a JSON Lines file, passing over lines that a crash cut short.

    A missing file holds no records.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                yield kind.model_validate_json(line)
            except ValidationError:
                continue
