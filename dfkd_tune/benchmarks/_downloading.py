"""Bringing the original distribution of a benchmark into its folder."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dfkd_tune.benchmarks._archives import unpacked
from dfkd_tune.benchmarks._decoding import Progress
from dfkd_tune.benchmarks._download import DOWNLOADS, Download
from dfkd_tune.benchmarks._fetching import fetch_all
from dfkd_tune.benchmarks._readers import is_image_folder
from dfkd_tune.benchmarks._reasons import reason_of
from dfkd_tune.benchmarks._registry import BENCHMARKS
from dfkd_tune.errors import DataError, StorageError, UsageError, unknown_name

_WORK_FOLDER = ".download"


def download_benchmark(
    name: str,
    root: Path,
    progress: Progress,
    *,
    download: Download | None = None,
    wait_seconds: float = 1.0,
) -> None:
    """Fetch a benchmark's original files into its folder; nothing is done where they are already.

    What was fetched before an interruption is kept in `root/.download`, and the next call goes on
    from there. Files appear in the folder only when all are fetched, checked and unpacked.

    Args:
        name: of a benchmark of ours.
        root: the benchmark's folder, made where it is missing.
        progress: told the bytes fetched, and all; all is 0 where a host does not tell sizes.
        download: where the files are; `DOWNLOADS[name]` by default.
        wait_seconds: before the second attempt; twice as long before each further one.

    Raises:
        UnknownNameError: if there is no such benchmark.
        UsageError: if the benchmark needs no download.
        DataError: if there is nothing to fetch it from, no network, or the files are not those
            that were published.
        StorageError: if the folder cannot be written, or holds an incomplete copy.
    """
    if name not in BENCHMARKS:
        raise unknown_name("benchmark", name, BENCHMARKS)
    root = root.expanduser().absolute()
    download = download or _known_download(name, root)
    with _errors_named(root):
        if _is_complete(name, root, download):
            return
        _check_writable(root)
        with _work_folder(root, _first_missing(root)) as work:
            files = fetch_all(download, work, progress, wait_seconds)
            if download.kind == "files":
                ready = {file.name: file for file in files}
            else:
                ready = unpacked(files, download, work)
            for result in download.results():
                ready[result].replace(root / result)
            shutil.rmtree(work)


def _known_download(name: str, root: Path) -> Download:
    definition = BENCHMARKS[name]
    if definition.read is None:
        raise UsageError(f"'{name}' needs no download ({definition.source}); use it as it is")
    if name not in DOWNLOADS:
        raise DataError(
            f"'{name}' cannot be downloaded: its original host is gone; put a copy into {root}, "
            f"laid out as {definition.layout}"
        )
    return DOWNLOADS[name]


def _is_complete(name: str, root: Path, download: Download) -> bool:
    """Whether the folder can be read as it is.

    Raises:
        StorageError: if it cannot, and holds files that the download would replace.
    """
    if not root.is_dir():
        return False
    if is_image_folder(root):
        return True
    read = BENCHMARKS[name].read
    assert read is not None
    try:
        read(root)
    except DataError as error:
        there = next((result for result in download.results() if (root / result).exists()), None)
        if there is not None:
            raise StorageError(
                f"{root / there} is there and cannot be used ({error}); remove it to download it "
                f"again"
            ) from error
        return False
    return True


def _first_missing(root: Path) -> Path | None:
    """The topmost of the folders that must be made for a path."""
    missing = [path for path in (root, *root.parents) if not path.exists()]
    return missing[-1] if missing else None


def _check_writable(root: Path) -> None:
    """Check, without writing, that a folder can be made or written.

    Raises:
        StorageError: if it cannot.
    """
    nearest = next(path for path in (root, *root.parents) if path.exists())
    if not nearest.is_dir():
        raise StorageError(f"cannot download into {root}: {nearest} is a file; give a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise StorageError(f"cannot write into {nearest}; change its rights or give another folder")


@contextmanager
def _errors_named(root: Path) -> Iterator[None]:
    """Turn what the file system refuses into one clear line."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot download into {root}: {reason_of(error)}; free space or give another folder"
        ) from error


@contextmanager
def _work_folder(root: Path, made: Path | None) -> Iterator[Path]:
    """A folder inside the target, so that finished files need only be renamed; held by one process.

    Args:
        root: the target.
        made: topmost folder that is made for it, which goes again if nothing was fetched.
    """
    work = root / _WORK_FOLDER
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageError(
                f"another process is downloading into {root}; wait for it"
            ) from error
        try:
            yield work
        finally:
            _remove_if_nothing_was_fetched(work, made)


def _remove_if_nothing_was_fetched(work: Path, made: Path | None) -> None:
    if not work.is_dir() or any(path.name != "lock" for path in work.iterdir()):
        return
    shutil.rmtree(work)
    folder = work.parent
    while made is not None and folder != made.parent and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
