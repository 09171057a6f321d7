"""Taking a run folder: making it, owning it, going on in it."""

import fcntl
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from dfkd_tune.errors import RunFolderError, StorageError
from dfkd_tune.records import (
    RunFolder,
    RunRecord,
    RunState,
    SessionRecord,
    append_record,
    now,
    read_record,
    write_json,
    write_record,
)
from dfkd_tune.sweeps._machine import environment

Resume = Literal["auto", "never", "must"]


def check_writable(storage: Path) -> None:
    """Make the storage folder and write to it.

    Raises:
        StorageError: if that fails.
    """
    probe = storage / f".probe-{uuid.uuid4().hex}"
    try:
        storage.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise StorageError(
            f"cannot write to the storage {storage}: {error.strerror or error}; "
            f"choose another with --storage"
        ) from error


def check_resume(path: Path, identity: str, kind: str, resume: Resume) -> bool:
    """Whether a run is there to go on with.

    Args:
        path: the run folder.
        identity: hash of the experiment that is asked for.
        kind: sweep, comparison or distill.
        resume: auto: go on where there is one; never: refuse; must: demand one.

    Raises:
        RunFolderError: if what is there does not suit what is asked for.
    """
    folder = RunFolder(path)
    if not folder.run_file.exists():
        # A command that was killed at its very start leaves a lock, perhaps half a record.
        left = [] if not path.exists() else [p.name for p in path.iterdir()]
        if any(name != folder.lock_file.name and not name.endswith(".partial") for name in left):
            raise RunFolderError(
                f"{path} is not empty and no run folder; choose another --name or --storage"
            )
        if resume == "must":
            raise RunFolderError(f"there is no run in {path} to resume; leave out --resume must")
        return False
    record = RunFolder.open(path).run()
    if resume == "never":
        raise RunFolderError(
            f"{path} holds a run already and --resume never was given; choose another --name"
        )
    if record.experiment_hash != identity or record.kind != kind:
        raise RunFolderError(
            f"{path} holds a run of another experiment; choose another --name, or give the "
            f"experiment as it was to go on (see {folder.experiment_file})"
        )
    return True


@contextmanager
def owned(path: Path) -> Iterator[None]:
    """Hold a run folder for this process alone.

    Raises:
        RunFolderError: if another command works in it.
        StorageError: if it cannot be written.
    """
    lock_file = RunFolder(path).lock_file
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = lock_file.open("a")
    except OSError as error:
        raise StorageError(f"cannot write {lock_file}: {error.strerror or error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunFolderError(
                f"another command is working in {path}; wait for it, or see `dfkd-tune status`"
            ) from error
        yield


def begin(
    path: Path,
    experiment: Mapping[str, Any],
    kind: Literal["sweep", "comparison", "distill"],
    command: str,
    *,
    identity: str,
    name: str,
) -> tuple[RunFolder, str]:
    """Start or go on with a run: its record, its experiment, and this start's own record.

    Returns:
        The folder, and this session's id, which all processes of this start carry.
    """
    folder = RunFolder(path, patient=True)
    resumed = folder.run_file.exists()
    session = uuid.uuid4().hex[:12]
    created = read_record(folder.run_file, RunRecord).created if resumed else now()
    write_record(
        folder.run_file,
        RunRecord(
            kind=kind,
            name=name,
            state="running",
            experiment_hash=identity,
            created=created,
            updated=now(),
            session=session,
        ),
    )
    write_json(folder.experiment_file, dict(experiment))
    append_record(
        folder.sessions_file,
        SessionRecord(
            session=session,
            started=now(),
            command=command,
            resumed=resumed,
            environment=environment(),
        ),
    )
    return folder, session


def set_run_state(folder: RunFolder, state: RunState, message: str) -> None:
    """Record how far a run is."""
    update = {"state": state, "message": message, "updated": now()}
    write_record(folder.run_file, folder.run().model_copy(update=update), anew=False)
