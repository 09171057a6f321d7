"""What the process runs on."""

import resource
import sys

import torch


def peak_memory_mib(device: torch.device) -> float:
    """Peak memory of this process so far in MiB: of the GPU on a GPU, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts KiB, macOS bytes.
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
