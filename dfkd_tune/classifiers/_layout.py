"""How weights and images lie in memory: as convolutions are faster."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

Network = TypeVar("Network", bound=nn.Module)

WIDE = 512
"""Output channels from which a convolution on a CPU is faster channels first.

In bfloat16 its passes take the same time either way; its fused optimiser is faster so.
"""


def lay_out(network: Network) -> Network:
    """Lay a network's weights out as its passes are faster where they lie, in place.

    Channels last, but for wide convolutions on a CPU: measured in docs/performance.md. By a rule,
    not by a measurement beside the training: sums within a convolution are rounded in another
    order, and the same command is to give the same digits.

    Args:
        network: any; its values stay as they are.
    """
    network.to(memory_format=torch.channels_last)
    device = next((weight.device for weight in network.parameters()), torch.device("cpu"))
    wide = _wide_convolutions(network)
    if wide and device.type == "cpu":
        # Those of one pixel take images as they come.
        for layer in (*wide, *_of_one_pixel(network)):
            layer.to(memory_format=torch.contiguous_format)
    return network


def arrange_for_wide(network: nn.Module) -> list[RemovableHandle]:
    """Have convolutions whose weights lie channels first take images so; give the hooks.

    A convolution would else lay its weights out as its images lie, in every pass.

    Args:
        network: as `lay_out` has left it, or any other, which stays as fast as it is.
    """
    return [layer.register_forward_pre_hook(_as_weights) for layer in _wide_convolutions(network)]


@contextmanager
def arranged_for_wide(network: nn.Module) -> Iterator[None]:
    """`arrange_for_wide` for as long as a block lasts."""
    handles = arrange_for_wide(network)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _as_weights(layer: nn.Module, args: tuple[Any, ...]) -> tuple[Tensor, ...] | None:
    assert isinstance(layer, nn.Conv2d)
    return (args[0].contiguous(),) if layer.weight.is_contiguous() else None


def _wide_convolutions(network: nn.Module) -> list[nn.Conv2d]:
    """Those of many channels and more than one pixel, none by groups of channels."""
    return [
        layer
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d)
        and layer.out_channels >= WIDE
        and layer.groups == 1
        and layer.kernel_size != (1, 1)
    ]


def _of_one_pixel(network: nn.Module) -> list[nn.Conv2d]:
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    return [layer for layer in layers if layer.kernel_size == (1, 1)]
