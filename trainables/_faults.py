"""What ended a trial, in words that say what to do."""

import traceback

import torch

from dfkd_tune.errors import OutOfGpuMemoryError, OutOfMemoryError
from dfkd_tune.records import ErrorRecord, StatusRecord

TRAINING = "training"
"""Reason of a trial that is at work: found at a start, it says that its process died."""

_NO_MEMORY = ("can't allocate memory", "not enough memory")
"""In what torch says where the machine refuses memory."""


def as_memory_error(error: Exception, device: torch.device) -> Exception:
    """The error to raise in place of one that says that there was no memory; else the same.

    Args:
        error: that ended a trial.
        device: on which it computed.
    """
    first = first_line(str(error)) or type(error).__name__
    if isinstance(error, torch.OutOfMemoryError):
        return OutOfGpuMemoryError(
            f"out of GPU memory{_reserved(device)}; give each trial a larger share "
            f"(resources.gpus_per_trial), or smaller batches or networks. In torch's words: {first}"
        )
    refused = isinstance(error, RuntimeError) and any(words in first for words in _NO_MEMORY)
    if isinstance(error, MemoryError) or refused:
        return OutOfMemoryError(
            f"out of memory; run fewer trials at once (resources.max_concurrent), or smaller "
            f"batches or networks. In the system's words: {first}"
        )
    return error


def _reserved(device: torch.device) -> str:
    """How much of the GPU's memory the process had; empty where it computed on none."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return ""
    total = torch.cuda.get_device_properties(device).total_memory
    allocated = torch.cuda.max_memory_allocated(device)
    reserved = torch.cuda.max_memory_reserved(device)
    return (
        f": of {total / 2**30:.1f} GiB this trial had reserved {reserved / 2**30:.1f}, and used "
        f"{allocated / 2**30:.1f}"
    )


def first_line(text: str) -> str:
    """The first line of a text; empty where there is none."""
    return next(iter(text.splitlines()), "")


def error_record(error: BaseException) -> ErrorRecord:
    """An exception as it is recorded, with the traceback of what began it."""
    trace = "".join(traceback.format_exception(error))
    return ErrorRecord(type=type(error).__name__, message=str(error), traceback=trace)


def worker_died(peak_memory_mib: float | None) -> ErrorRecord:
    """What is known of a process that is no more.

    Args:
        peak_memory_mib: of its last epoch; None where none ended.
    """
    peak = "" if peak_memory_mib is None else f" (it had used {peak_memory_mib:.0f} MiB)"
    return ErrorRecord(
        type="WorkerDied",
        message=f"the trial's process ended without a word{peak}: it was killed, its node was "
        f"lost, or the system had no memory left. If the last, run fewer trials at once "
        f"(resources.max_concurrent)",
    )


def hung(stacks: str) -> ErrorRecord:
    """What is known of a process that its watchdog ended."""
    return ErrorRecord(
        type="TrialHung",
        message="an epoch did not end in time, and the watchdog ended the trial's process",
        traceback=stacks,
    )


def what_ended(status: StatusRecord, peak_memory_mib: float | None) -> ErrorRecord | None:
    """What ended a trial before it goes on; None where it just had to wait, or was interrupted.

    Args:
        status: as found.
        peak_memory_mib: of its last epoch; None where none ended.
    """
    if status.error is not None:
        return status.error
    if status.state == "running" and status.reason == TRAINING:
        return worker_died(peak_memory_mib)
    return None
