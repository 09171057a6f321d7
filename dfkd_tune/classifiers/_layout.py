"""How weights and images lie in memory: as convolutions are faster."""

from typing import TypeVar

import torch
from torch import nn

from dfkd_tune.classifiers._precision import UsedPrecision

Network = TypeVar("Network", bound=nn.Module)

WIDE = 512


def fast_layout(
    network: nn.Module, precision: UsedPrecision, device: torch.device
) -> torch.memory_format:
    """The layout in which a network's passes are faster.

    Channels last, but for wide networks in float32 on a CPU: measured in docs/performance.md. By a
    rule, not by a measurement beside the training: sums within a convolution are rounded in
    another order, and the same command is to give the same digits.

    Args:
        network: any.
        precision: in which it computes.
        device: on which it computes.
    """
    first = precision == "float32" and device.type == "cpu" and _is_wide(network)
    return torch.contiguous_format if first else torch.channels_last


def lay_out(network: Network, precision: UsedPrecision = "float32") -> Network:
    """Lay a network's weights out as its passes are faster where they lie, in place.

    Args:
        network: any; its values stay as they are.
        precision: in which it computes.
    """
    device = next((weight.device for weight in network.parameters()), torch.device("cpu"))
    network.to(memory_format=fast_layout(network, precision, device))
    return network


def _is_wide(network: nn.Module) -> bool:
    """Whether it has a convolution of many channels, and none by groups of them."""
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    return any(layer.out_channels >= WIDE for layer in convolutions) and all(
        layer.groups == 1 for layer in convolutions
    )
