"""What a write or a read does where the storage fails: it waits for one that may come back."""

import errno
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

from dfkd_tune.errors import DiskFullError, StorageError, StorageGoneError

Value = TypeVar("Value")

PATIENCE_SECONDS = 300.0
"""How long a storage that has gone is waited for: a file server restarts in less, and a trial's
watchdog, which waits for 10 minutes at least, does not take it for a hang."""

FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 15.0

GONE = frozenset(
    {
        errno.ESTALE,
        errno.EIO,
        errno.ENOTCONN,
        errno.ENODEV,
        errno.ETIMEDOUT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ECONNRESET,
    }
)
"""What a network share says while its server is away."""

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""No space, no quota, a limit on the size of files: waiting does not help."""


def is_gone(error: OSError, folder: Path) -> bool:
    """Whether an error means that a storage is away, perhaps for a moment.

    Args:
        error: of the system.
        folder: that should be there; a file that is missing in it is no sign.
    """
    return error.errno in GONE or (error.errno == errno.ENOENT and not folder.exists())


def patiently(work: Callable[[], Value], folder: Path) -> Value:
    """Do what needs a storage; where that has gone, try again with growing pauses.

    Args:
        work: made anew at each try, so it must not leave half a thing.
        folder: that should be there.

    Raises:
        OSError: of another kind, at once; of this kind after `PATIENCE_SECONDS`.
    """
    deadline, pause = time.monotonic() + PATIENCE_SECONDS, FIRST_PAUSE_SECONDS
    missed = False
    while True:
        try:
            return work()
        except OSError as error:
            if error.errno == errno.ENOENT and folder.exists() and not missed:
                # Nothing there, or a folder that has come back just now.
                missed = True
                continue
            if not is_gone(error, folder) or time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def wait_for(folder: Path) -> None:
    """Wait for a folder that may have gone for a while.

    Raises:
        StorageGoneError: if it has not come back after `PATIENCE_SECONDS`.
    """
    try:
        patiently(folder.stat, folder)
    except OSError as error:
        raise storage_error(error, folder, folder, "read") from error


def storage_error(
    error: OSError, path: Path, folder: Path, verb: Literal["read", "write"] = "write"
) -> StorageError:
    """The error to raise where a file cannot be written or read.

    Args:
        error: of the system.
        path: what was to be written or read.
        folder: that should be there.
        verb: which of both.
    """
    reason = error.strerror or str(error)
    if error.errno in FULL:
        return DiskFullError(
            f"disk full: cannot write {path} ({reason}); free space there or raise the quota, then "
            f"give the same command again: what is recorded is kept"
        )
    if is_gone(error, folder):
        return StorageGoneError(
            f"storage gone: cannot {verb} {path} ({reason}) for {PATIENCE_SECONDS:g} seconds; "
            f"bring {folder} back, then give the same command again: what is recorded is kept"
        )
    return StorageError(f"cannot {verb} {path}: {reason}; free space or choose another storage")
