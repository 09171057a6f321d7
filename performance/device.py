"""What a device has to be asked for: its time, its memory, how fast it multiplies."""

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

import torch

REPEATS = 5


def wait_for(device: torch.device) -> None:
    """Wait until a device has done all that it was given; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory_mib(device: torch.device) -> float:
    """Most memory in MiB that this process has held: of the GPU on a GPU, else of the machine."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def median_seconds(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of a piece of work until the device has done it; the first time warms up."""
    work()
    seconds = []
    for _ in range(REPEATS):
        wait_for(device)
        began = time.perf_counter()
        work()
        wait_for(device)
        seconds.append(time.perf_counter() - began)
    return median(seconds)


def matrix_rate(dtype: torch.dtype, device: torch.device, threads: int) -> float:
    """Floating point operations per second of a large matrix product: the best of ten.

    Args:
        dtype: of the matrices. Of float32 on a GPU it is the rate at which PyTorch computes
            convolutions by default, in TF32.
        device: that multiplies.
        threads: of PyTorch, on a CPU.
    """
    torch.set_num_threads(threads)
    size = 2048 if device.type == "cpu" else 8192
    a = torch.randn(size, size, device=device).to(dtype)
    best = float("inf")
    with _tf32(matrices=torch.backends.cudnn.allow_tf32):
        a @ a
        for _ in range(10):
            wait_for(device)
            began = time.perf_counter()
            a @ a
            wait_for(device)
            best = min(best, time.perf_counter() - began)
    return 2.0 * size**3 / best


@contextmanager
def _tf32(*, matrices: bool) -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = matrices
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


@contextmanager
def full_float32() -> Iterator[None]:
    """Have convolutions on a GPU computed in float32, not in TF32: to compare results."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
