"""In which precision networks compute."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]
UsedPrecision = Literal["float32", "bfloat16"]


def fast_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 in hardware."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def used_precision(precision: Precision, device: torch.device) -> UsedPrecision:
    """What `auto` comes to on a device."""
    if precision != "auto":
        return precision
    return "bfloat16" if fast_bfloat16(device) else "float32"


def computing_in(precision: UsedPrecision, device: torch.device) -> AbstractContextManager[object]:
    """Have convolutions and matrix products on a device computed in a precision.

    Weights stay in float32. What is sensitive is for the caller to keep outside, in float32.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
