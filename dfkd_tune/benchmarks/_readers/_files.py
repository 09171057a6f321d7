"""What the readers of official layouts share: finding files, and reading lists line by line."""

from collections.abc import Sequence
from pathlib import Path

from dfkd_tune.benchmarks._readers._image_folder import check_folder
from dfkd_tune.benchmarks._reasons import reason_of
from dfkd_tune.errors import DataError


def folder_with(root: Path, below: Sequence[str], mark: str, layout: str) -> Path:
    """Find the folder that holds a file or folder by which a layout is known.

    Args:
        root: where to look.
        below: folders below the root to look in as well, in this order.
        mark: name of what must be there.
        layout: what the folder should hold, for messages.

    Raises:
        DataError: if the root is no folder, or none of the folders holds the mark.
    """
    check_folder(root)
    for folder in (root, *(root / name for name in below)):
        if (folder / mark).exists():
            return folder
    also = f" (nor has {', '.join(f'{name}/' for name in below)} in it)" if below else ""
    raise DataError(f"{root} has no {mark}{also}; it must hold {layout}")


def required(path: Path, layout: str) -> Path:
    """Check that a file is there.

    Raises:
        DataError: if it is not.
    """
    if not path.is_file():
        raise DataError(f"the file {path} is missing; the layout is {layout}")
    return path


def read_rows(path: Path, fields: int, layout: str) -> list[list[str]]:
    """Read a text file of fields divided by spaces; the last field may hold spaces itself.

    Args:
        path: the file; empty lines at its end are passed over.
        fields: of each line.
        layout: for messages.

    Returns:
        The fields of each line; row `i` is line `i + 1`.

    Raises:
        DataError: if the file is missing or empty, or a line has too few fields.
    """
    try:
        lines = required(path, layout).read_text(encoding="utf-8").rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot read {path} ({reason_of(error)}); put the original file there"
        ) from error
    if not lines:
        raise DataError(f"{path} is empty; put the original file there")
    rows = []
    for number, line in enumerate(lines, start=1):
        row = line.strip().split(maxsplit=fields - 1)
        if len(row) != fields:
            raise DataError(
                f"{path}, line {number}: {len(row)} fields instead of {fields} ({line.strip()!r}); "
                f"put the original file there"
            )
        rows.append(row)
    return rows


def whole_number(path: Path, line: int, text: str, least: int, most: int) -> int:
    """Read a whole number within limits.

    Raises:
        DataError: naming the file and the line, counted from 1.
    """
    if text.isdecimal() and least <= int(text) <= most:
        return int(text)
    raise DataError(
        f"{path}, line {line}: '{text}' is no whole number from {least} to {most}; put the "
        f"original file there"
    )


def check_present(folder: Path, paths: Sequence[str], listed_in: Path) -> None:
    """Check that all images of a list are there, without opening one.

    Args:
        folder: that the paths are below.
        paths: with `/`.
        listed_in: the file that names them, for messages.

    Raises:
        DataError: naming the first that is missing, and how many are.
    """
    # One listing per folder is much faster than one question per image.
    there: dict[str, frozenset[str]] = {}
    missing = []
    for path in paths:
        parent, _, name = path.rpartition("/")
        if parent not in there:
            place = folder / parent
            found = (entry.name for entry in place.iterdir()) if place.is_dir() else ()
            there[parent] = frozenset(found)
        if name not in there[parent]:
            missing.append(path)
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(
            f"the image {folder / missing[0]}{more} of {len(paths)} in {listed_in} "
            f"{'are' if more else 'is'} missing; complete the copy"
        )
