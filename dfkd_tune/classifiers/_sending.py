"""Numbers on their way from the CPU to where networks compute."""

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Send a tensor to a device; a GPU is not waited for, whatever it has still to do.

    Args:
        tensor: on the CPU.
        device: where it is needed.
    """
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
