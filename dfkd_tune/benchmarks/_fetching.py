"""Fetching files over the network, going on where an attempt ended, and checking their sums."""

import hashlib
import http
import http.client
import socket
import time
from collections.abc import Callable
from pathlib import Path
from ssl import SSLError
from urllib.error import HTTPError, URLError
from urllib.request import OpenerDirector, Request, build_opener

from dfkd_tune.benchmarks._decoding import Progress
from dfkd_tune.benchmarks._download import Download
from dfkd_tune.benchmarks._reasons import reason_of
from dfkd_tune.errors import DataError

_TIMEOUT_SECONDS = 30
_ATTEMPTS = 5
_CHUNK = 1 << 20
# Answers below 500 after which another attempt may succeed: request timeout, too many requests.
_PASSING = frozenset({408, 429})


def fetch_all(
    download: Download, work: Path, progress: Progress, wait_seconds: float
) -> list[Path]:
    """Fetch all files of a download, but for those that were fetched and checked before.

    Args:
        download: where they are.
        work: folder to fetch into; what an earlier attempt left there is gone on with.
        progress: told the bytes fetched, and all; all is 0 where a host does not tell sizes.
        wait_seconds: before the second attempt; twice as long before each further one.

    Returns:
        The files, in the order of their addresses.

    Raises:
        DataError: if one cannot be fetched, or is another file than was published.
    """
    opener = build_opener()
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
