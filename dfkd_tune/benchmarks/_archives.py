"""Unpacking archives, which can write nowhere but beside themselves."""

import gzip
import lzma
import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path, PureWindowsPath

from dfkd_tune.benchmarks._download import Download
from dfkd_tune.benchmarks._reasons import reason_of
from dfkd_tune.errors import DataError


def unpacked(files: list[Path], download: Download, work: Path) -> dict[str, Path]:
    """Unpack archives beside them.

    Args:
        files: the archives, which are removed where they are of no use.
        download: what they are, and which folders are wanted of them.
        work: where they lie; they are unpacked into a folder in it.

    Returns:
        The wanted folders by name.

    Raises:
        DataError: if an archive is damaged or unsafe, or lacks a wanted folder.
    """
    place = work / "unpacked"
    # What an interruption may have left.
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    try:
        for file in files:
            if download.kind == "tar":
                _untar(file, place)
            else:
                _unzip(file, place)
        for folder in download.folders:
            for inner in sorted(place.rglob(f"{folder}.tar.gz")):
                _untar(inner, place)
            if not (place / folder).is_dir():
                raise DataError(
                    f"the archive of {', '.join(download.urls)} holds no folder {folder}; get the "
                    f"files elsewhere and put them into {work.parent}"
                )
    except DataError:
        # The same archive would fail again.
        for file in files:
            file.unlink()
        shutil.rmtree(place)
        raise
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return {folder: place / folder for folder in download.folders}


def _untar(file: Path, place: Path) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise DataError("unpacking safely needs Python 3.11.4 or newer; update Python")
    try:
        with tarfile.open(file) as archive:
            archive.extractall(place, filter="data")
    except tarfile.FilterError as error:
        raise _unsafe(file, reason_of(error)) from error
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError) as error:
        raise DataError(
            f"the archive {file.name} is damaged ({reason_of(error)}); download it again"
        ) from error


def _unzip(file: Path, place: Path) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                path = PureWindowsPath(name)
                if path.anchor or ".." in path.parts:
                    raise _unsafe(file, f"'{name}' is outside the destination")
            archive.extractall(place)
    except (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
        raise DataError(
            f"the archive {file.name} is damaged ({reason_of(error)}); download it again"
        ) from error


def _unsafe(file: Path, reason: str) -> DataError:
    return DataError(
        f"the archive {file.name} wants to write outside its folder ({reason}) and was not "
        f"unpacked; get the files elsewhere"
    )
