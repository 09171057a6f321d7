"""What the process runs on."""

import platform
import resource
import sys
from pathlib import Path

import psutil
import torch

_LINUX_STATUS = Path("/proc/self/status")


def processor_name(device: torch.device) -> str:
    """The name of the GPU or CPU that computes."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def reset_peak_memory(device: torch.device) -> None:
    """Count the peak from now on, where the system can: a process may serve several trials."""
    if device.type == "cuda":
        # Before anything was computed there would be nothing to reset.
        torch.cuda.init()  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def limit_gpu_memory(part: float) -> None:
    """Let this process reserve no more than a part of its GPU's memory, if it has one.

    Trials that share a GPU then run out of memory each by itself, not its neighbours.

    Args:
        part: of the whole memory, in (0, 1]; to be set before the first allocation.
    """
    if 0 < part < 1 and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(part)


def memory_mib(device: torch.device) -> float:
    """All memory in MiB: of the GPU on a GPU, else of the machine."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory / 2**20
    return psutil.virtual_memory().total / 2**20


def peak_reserved_mib(device: torch.device) -> float:
    """Peak in MiB of what torch has reserved of a GPU, used or not; on the CPU, of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 2**20
    return peak_memory_mib(device)


def context_mib(device: torch.device) -> float:
    """Memory in MiB that a process has of a GPU beside what torch has reserved; 0 on the CPU.

    That of other processes on the GPU counts as well: there should be none.
    """
    if device.type != "cuda":
        return 0.0
    free, total = torch.cuda.mem_get_info(device)
    return max(0.0, (total - free - torch.cuda.memory_reserved(device)) / 2**20)


def peak_memory_mib(device: torch.device) -> float:
    """Peak memory in MiB since `reset_peak_memory`: of the GPU on a GPU, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        for line in _LINUX_STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts KiB, macOS bytes.
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
