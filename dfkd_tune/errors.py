"""The error tree: everything a person can cause or must be told, as one clear line.

A message says what is wrong, where, and what to do. The command line prints the message alone and
exits with `exit_code`; `--debug` adds the traceback.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class DfkdTuneError(Exception):
    """Root of all errors that this project raises on purpose."""

    exit_code = 1


class UsageError(DfkdTuneError):
    """The request itself is wrong: an experiment file, a flag, a name."""

    exit_code = 2


class ExperimentError(UsageError):
    """An experiment file is invalid; the message lists every problem at once."""


class UnknownNameError(UsageError):
    """A name that no registry knows."""


class SpaceError(UsageError):
    """Ranges or values do not suit a search space.

    Args:
        problems: one line each, beginning with the key.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))

    def __reduce__(self) -> tuple[type["SpaceError"], tuple[tuple[str, ...]]]:
        return type(self), (self.problems,)


class TeacherError(DfkdTuneError):
    """A teacher's weights cannot be used."""


class DataError(DfkdTuneError):
    """Real images cannot be read, or are not what a benchmark needs."""


class StorageError(DfkdTuneError):
    """A folder cannot be written or read."""


class CannotRecordError(StorageError):
    """What is to be recorded cannot be for now; a sweep ends, and goes on when that is mended."""


class DiskFullError(CannotRecordError):
    """There is no space left for a file."""


class StorageGoneError(CannotRecordError):
    """A storage has gone, and has not come back for minutes."""


class RunFolderError(DfkdTuneError):
    """A run folder is missing, foreign, busy, or of another experiment."""


class ResourceError(DfkdTuneError):
    """More is asked for than the machine or cluster has."""


class OutOfGpuMemoryError(ResourceError):
    """A trial needs more memory of the GPU than there is, or than others leave to it."""


class OutOfMemoryError(ResourceError):
    """A trial needs more memory of the machine than there is."""


class CheckpointError(DfkdTuneError):
    """A checkpoint cannot be read."""


class DivergedError(DfkdTuneError):
    """A loss or a weight became non-finite while training.

    Args:
        what: name of the first non-finite quantity, such as `generator/preset_label`.
        epoch: the epoch (counted from 1) in which it was found.
    """

    def __init__(self, what: str, epoch: int) -> None:
        self.what = what
        self.epoch = epoch
        super().__init__(f"{what} became non-finite in epoch {epoch}")

    def __reduce__(self) -> tuple[type["DivergedError"], tuple[str, int]]:
        return type(self), (self.what, self.epoch)


class CollapsedError(DfkdTuneError):
    """The synthesis makes the same few images again and again.

    Args:
        signs: what was seen, such as `classes` or `features`.
        epoch: the epoch (counted from 1) in which it was found.
    """

    def __init__(self, signs: tuple[str, ...], epoch: int) -> None:
        self.signs = signs
        self.epoch = epoch
        super().__init__(f"the synthesis collapsed in epoch {epoch}: {', '.join(signs)}")

    def __reduce__(self) -> tuple[type["CollapsedError"], tuple[tuple[str, ...], int]]:
        return type(self), (self.signs, self.epoch)


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Say what was probably meant, or list what there is.

    Args:
        given: the unknown name.
        known: all valid names.

    Returns:
        Text to append to a message, such as `did you mean 'cgdd'? Known: cgdd, dafl`.
    """
    names = sorted(known)
    close = get_close_matches(given, names, n=1, cutoff=0.6)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}Known: {', '.join(names) if names else 'none'}"


def unknown_name(kind: str, given: str, known: Iterable[str]) -> UnknownNameError:
    """Make the error for a name that a registry does not hold.

    Args:
        kind: what was looked up, such as `benchmark`.
        given: the unknown name.
        known: all valid names.
    """
    return UnknownNameError(f"there is no {kind} '{given}'; {did_you_mean(given, known)}")
