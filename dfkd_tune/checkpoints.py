"""Checkpoints: complete states on disk, the newest two of them, never half a one."""

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from dfkd_tune import __version__
from dfkd_tune.errors import CheckpointError, StorageError
from dfkd_tune.records import make_folder, now, patiently, storage_error, write_json

SCHEMA_VERSION = 1

State = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What was found to go on from.

    Args:
        state: as it was saved; None where there is no readable checkpoint.
        epoch: of the state; 0 where there is none.
        passed_over: a line for each unreadable checkpoint.
    """

    state: State | None
    epoch: int
    passed_over: tuple[str, ...]


class CheckpointStore:
    """The checkpoints of one training, in a folder of its own.

    Args:
        folder: made at the first save.
        identity: hash of all that decides whose states these are.
        keep: newest checkpoints kept; two, so that one may be unreadable.
    """

    def __init__(self, folder: Path, identity: str, keep: int = 2) -> None:
        self.folder = folder
        self.hash = identity
        self.keep = keep

    def paths(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return sorted(self.folder.glob("epoch_*"))

    def save(self, epoch: int, state: State) -> Path:
        """Write a state; it is there whole or not at all.

        Raises:
            DiskFullError: if there is no space; older checkpoints stay.
            StorageGoneError: if the storage has gone for minutes.
            StorageError: if the folder cannot be written.
        """
        return self._write(epoch, lambda file: torch.save(state, file))

    def take_over(self, source: "CheckpointStore", epoch: int) -> Path:
        """Make a checkpoint of another training one of this: its state, under this identity.

        Raises:
            CheckpointError: if there is none of this epoch, or it cannot be read.
            DiskFullError, StorageGoneError, StorageError: as `save`.
        """
        path = source.folder / f"epoch_{epoch:06d}"
        try:
            source._verified(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{path} is unreadable ({_reason(error)})") from error

        def copy(file: IO[bytes]) -> None:
            with (path / "state.pt").open("rb") as state:
                shutil.copyfileobj(state, file)

        return self._write(epoch, copy)

    def readable(self, epoch: int) -> bool:
        """Whether there is a checkpoint of this epoch whose content is what was written."""
        try:
            return self._verified(self.folder / f"epoch_{epoch:06d}") == epoch
        except (OSError, ValueError, KeyError, TypeError, CheckpointError):
            return False

    def _write(self, epoch: int, put: Callable[[IO[bytes]], object]) -> Path:
        target = self.folder / f"epoch_{epoch:06d}"
        partial = self.folder / f".{target.name}.partial"

        def write() -> None:
            shutil.rmtree(partial, ignore_errors=True)
            make_folder(partial)
            with (partial / "state.pt").open("wb") as file:
                try:
                    put(file)
                except RuntimeError as error:
                    # Within torch's words is the system's own, where the file was refused.
                    if isinstance(error.__context__, OSError):
                        raise error.__context__ from error
                    raise
                file.flush()
                os.fsync(file.fileno())
            with (partial / "state.pt").open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            write_json(
                partial / "meta.json",
                {
                    "schema_version": SCHEMA_VERSION,
                    "epoch": epoch,
                    "configuration_hash": self.hash,
                    "state_sha256": digest,
                    "versions": {"dfkd-tune": __version__, "torch": torch.__version__},
                    "time": now(),
                },
            )
            shutil.rmtree(target, ignore_errors=True)
            partial.rename(target)

        try:
            patiently(write, self.folder.parent)
        except BaseException as error:
            # Half a checkpoint would take the space that a record may need.
            shutil.rmtree(partial, ignore_errors=True)
            if isinstance(error, OSError):
                raise storage_error(error, target, self.folder.parent) from error
            if isinstance(error, RuntimeError):
                raise StorageError(
                    f"cannot write {target}: {str(error).splitlines()[0]}; "
                    f"free space or choose another storage"
                ) from error
            raise
        for old in self.paths()[: -self.keep]:
            shutil.rmtree(old, ignore_errors=True)
        return target

    def load_newest(self) -> Restored:
        """Read the newest readable checkpoint, falling back to older ones.

        Raises:
            CheckpointError: if a checkpoint belongs to another configuration.
        """
        passed_over: list[str] = []
        for path in reversed(self.paths()):
            try:
                state, epoch = self._load(path)
            except (
                OSError,
                ValueError,
                KeyError,
                TypeError,
                EOFError,
                RuntimeError,
                pickle.UnpicklingError,
            ) as error:
                passed_over.append(f"checkpoint {path.name} is unreadable ({_reason(error)})")
                continue
            return Restored(state=state, epoch=epoch, passed_over=tuple(passed_over))
        return Restored(state=None, epoch=0, passed_over=tuple(passed_over))

    def _verified(self, path: Path) -> int:
        """The epoch of a checkpoint whose content is what was written."""
        meta = json.loads((path / "meta.json").read_bytes())
        if meta["configuration_hash"] != self.hash:
            raise CheckpointError(
                f"{path} was written for another configuration; remove the folder "
                f"{self.folder} to start it again"
            )
        with (path / "state.pt").open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != meta["state_sha256"]:
                raise ValueError("its content has changed since it was written")
        return int(meta["epoch"])

    def _load(self, path: Path) -> tuple[State, int]:
        epoch = self._verified(path)
        state: State = torch.load(path / "state.pt", map_location="cpu", weights_only=True)
        return state, epoch


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
