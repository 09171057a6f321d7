"""The blank image that networks are tried on."""

import torch
from torch import Tensor, nn

from dfkd_tune.inputs import InputSpecification


def device_of(network: nn.Module) -> torch.device:
    """Where a network's first parameter is; the CPU where it has none."""
    return next((p.device for p in network.parameters()), torch.device("cpu"))


def blank_image(network: nn.Module, inputs: InputSpecification) -> Tensor:
    """Zeros in the shape of a batch of one, `(1, C, H, W)`, on the network's device."""
    return torch.zeros(1, *inputs.shape, device=device_of(network))
