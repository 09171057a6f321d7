"""Evaluation mode for a while, and how weights lie in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Have a network in evaluation mode, and give every module its own mode back."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def channels_last(network: Network) -> Network:
    """Lay a network's weights out channels last, in place: convolutions are faster that way.

    Images of any layout may be given to it. The values stay as they are; sums within a convolution
    are rounded in another order.
    """
    network.to(memory_format=torch.channels_last)
    return network
