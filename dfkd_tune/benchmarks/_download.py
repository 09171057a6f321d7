"""Fetching the original distribution of a benchmark whose host is still there."""

import fcntl
import gzip
import hashlib
import http
import http.client
import lzma
import os
import shutil
import socket
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from ssl import SSLError
from typing import Literal
from urllib.error import HTTPError, URLError
from urllib.request import OpenerDirector, Request, build_opener

from dfkd_tune.benchmarks._decoding import Progress
from dfkd_tune.benchmarks._readers import is_image_folder
from dfkd_tune.benchmarks._reasons import reason_of
from dfkd_tune.benchmarks._registry import BENCHMARKS
from dfkd_tune.errors import DataError, StorageError, UsageError, unknown_name

_TIMEOUT_SECONDS = 30
_ATTEMPTS = 5
_CHUNK = 1 << 20
_WORK_FOLDER = ".download"
# Answers below 500 after which another attempt may succeed: request timeout, too many requests.
_PASSING = frozenset({408, 429})


@dataclass(frozen=True, kw_only=True)
class Download:
    """Where a benchmark's original files are.

    Args:
        urls: one per file.
        md5s: as published, one per file.
        kind: files: they are kept as they are; tar: they are unpacked, whatever their compression;
            zip: they are unpacked, and so are the `.tar.gz` of the wanted folders in them.
        folders: what is taken out of the unpacked archives; empty for files.
    """

    urls: tuple[str, ...]
    md5s: tuple[str, ...]
    kind: Literal["files", "tar", "zip"]
    folders: tuple[str, ...] = ()

    def names(self) -> tuple[str, ...]:
        """The file name of each address."""
        return tuple(PurePosixPath(url).name for url in self.urls)

    def results(self) -> tuple[str, ...]:
        """What lies in the benchmark's folder in the end."""
        return self.names() if self.kind == "files" else self.folders


def _four_files(base: str, *md5s: str) -> Download:
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    return Download(
        urls=tuple(f"{base}/{name}-ubyte.gz" for name in names), md5s=md5s, kind="files"
    )


# Addresses and sums as torchvision has them. It has no sum of Aircraft and nothing of CUB: these
# are the ones that other public downloaders check.
DOWNLOADS: dict[str, Download] = {
    "mnist": _four_files(
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
    "fashion_mnist": _four_files(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
    "svhn": Download(
        urls=(
            "http://ufldl.stanford.edu/housenumbers/train_32x32.mat",
            "http://ufldl.stanford.edu/housenumbers/test_32x32.mat",
        ),
        md5s=("e26dedcc434d2e4c54c9b2d4a06d8373", "eb5a983be6a315427106f1b164d9cef3"),
        kind="files",
    ),
    "cifar10": Download(
        urls=("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
        md5s=("c58f30108f718f92721af3b95e74349a",),
        kind="tar",
        folders=("cifar-10-batches-py",),
    ),
    "cifar100": Download(
        urls=("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
        md5s=("eb9058c3a382ffc7106e4002c42a8d85",),
        kind="tar",
        folders=("cifar-100-python",),
    ),
    "caltech101": Download(
        urls=("https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",),
        md5s=("3138e1922a9193bfa496528edbbc45d0",),
        kind="zip",
        folders=("101_ObjectCategories",),
    ),
    "aircraft": Download(
        urls=(
            "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
        ),
        md5s=("d4acdd33327262359767eeaa97a4f732",),
        kind="tar",
        folders=("fgvc-aircraft-2013b",),
    ),
    "cub200": Download(
        urls=("https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",),
        md5s=("97eceeb196236b17998738112f37df78",),
        kind="tar",
        folders=("CUB_200_2011",),
    ),
}


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
            files = _fetch_all(build_opener(), download, work, progress, wait_seconds)
            if download.kind == "files":
                ready = {file.name: file for file in files}
            else:
                ready = _unpacked(files, download, work)
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


# ------------------------------------------------------------------ the folder


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


# ------------------------------------------------------------------ the network


def _fetch_all(
    opener: OpenerDirector,
    download: Download,
    work: Path,
    progress: Progress,
    wait_seconds: float,
) -> list[Path]:
    total = _total_size(opener, download.urls)
    files: list[Path] = []
    for url, md5, name in zip(download.urls, download.md5s, download.names(), strict=True):
        before = sum(file.stat().st_size for file in files)
        files.append(work / name)
        _fetch(opener, url, md5, files[-1], _shifted(progress, before, total), wait_seconds)
    return files


def _shifted(progress: Progress, before: int, total: int) -> Callable[[int], None]:
    return lambda done: progress(before + done, total)


def _total_size(opener: OpenerDirector, urls: tuple[str, ...]) -> int:
    """Bytes of all files together; 0 where a host does not say."""
    total = 0
    for url in urls:
        try:
            with opener.open(_request(url, method="HEAD"), timeout=_TIMEOUT_SECONDS) as answer:
                total += int(answer.headers["Content-Length"])
        except HTTPError as error:
            error.close()
            return 0
        except (OSError, http.client.HTTPException, TypeError, ValueError):
            return 0
    return total


def _request(url: str, *, method: str = "GET", start: int = 0) -> Request:
    headers = {"User-Agent": "dfkd-tune"}
    if start:
        headers["Range"] = f"bytes={start}-"
    return Request(url, headers=headers, method=method)


def _fetch(
    opener: OpenerDirector,
    url: str,
    md5: str,
    file: Path,
    report: Callable[[int], None],
    wait_seconds: float,
) -> None:
    """Fetch one file, unless it was fetched and checked before.

    Raises:
        DataError: if it cannot be fetched, or is another file than was published.
    """
    if file.exists():
        report(file.stat().st_size)
        return
    partial = file.with_name(f"{file.name}.partial")
    begun_before = partial.exists()
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(wait_seconds * 2 ** (attempt - 1))
        try:
            _receive(opener, url, partial, report)
            break
        except HTTPError as error:
            error.close()
            problem = f"it answered {error.code} {error.reason}"
            if error.code < 500 and error.code not in _PASSING:
                raise DataError(
                    f"cannot download {url}: {problem}; get the files elsewhere and put them into "
                    f"{_target(file)}"
                ) from error
        except (URLError, http.client.HTTPException, ConnectionError, TimeoutError, SSLError) as e:
            reason = e.reason if isinstance(e, URLError) else e
            problem = reason if isinstance(reason, str) else reason_of(reason)
            if isinstance(reason, socket.gaierror):
                raise DataError(f"cannot download {url}: {problem}; check the network") from e
    else:
        raise DataError(
            f"cannot download {url}: {problem}, {_ATTEMPTS} times; check the network and repeat "
            f"the command, which keeps what was fetched"
        )
    found = _md5(partial)
    if found == md5:
        partial.replace(file)
        return
    partial.unlink()
    if begun_before:
        # Its beginning may be of another file; without it, this is asked once more only.
        _fetch(opener, url, md5, file, report, wait_seconds)
        return
    raise DataError(
        f"{url} is not the file that was published: its MD5 is {found} instead of {md5}; it was "
        f"removed, try again later or put a copy into {_target(file)}"
    )


def _receive(
    opener: OpenerDirector, url: str, partial: Path, report: Callable[[int], None]
) -> None:
    """Fetch what is missing of a file.

    Raises:
        URLError, HTTPException, ConnectionError, TimeoutError: if the network fails.
    """
    have = partial.stat().st_size if partial.exists() else 0
    try:
        answer = opener.open(_request(url, start=have), timeout=_TIMEOUT_SECONDS)
    except HTTPError as error:
        if have and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            # All is here already; whether it is the right file, its sum will tell.
            error.close()
            report(have)
            return
        raise
    with answer:
        goes_on = answer.status == http.HTTPStatus.PARTIAL_CONTENT
        if goes_on and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            partial.unlink()
            raise ConnectionError("it answered with another part of the file")
        done = have if goes_on else 0
        length = answer.headers.get("Content-Length")
        end = done + int(length) if length else None
        with partial.open("ab" if goes_on else "wb") as file:
            report(done)
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                report(done)
    if end is not None and done < end:
        raise ConnectionError(f"the connection ended after {done:,} of {end:,} bytes")


def _target(file: Path) -> Path:
    """The benchmark's folder, of a file in the work folder."""
    return file.parent.parent


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    return digest.hexdigest()


# ------------------------------------------------------------------ the archives


def _unpacked(files: list[Path], download: Download, work: Path) -> dict[str, Path]:
    """Unpack archives beside them.

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
