"""Statistics of a batch at the input of a BatchNorm layer."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from dfkd_tune.errors import TeacherError


@dataclass(frozen=True, kw_only=True)
class BatchStatistics:
    """Statistics of a batch at the input of one BatchNorm layer, and the layer's own.

    Args:
        mean: `(C,)`, of the batch, over images and positions.
        variance: `(C,)`, of the batch, biased.
        running_mean: `(C,)`, of the layer.
        running_variance: `(C,)`, of the layer.
    """

    mean: Tensor
    variance: Tensor
    running_mean: Tensor
    running_variance: Tensor


def batch_statistics(x: Tensor, layer: nn.BatchNorm2d) -> BatchStatistics:
    """Statistics in float32.

    Args:
        x: `(N, C, H, W)`, the layer's input.
        layer: keeps running statistics.

    Raises:
        TeacherError: if the layer keeps none.
    """
    if layer.running_mean is None or layer.running_var is None:
        raise TeacherError("a BatchNorm layer of the teacher keeps no running statistics")
    mean, variance = mean_and_variance(x.float())
    return BatchStatistics(
        mean=mean,
        variance=variance,
        running_mean=layer.running_mean,
        running_variance=layer.running_var,
    )


def mean_and_variance(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance `(C,)` over images and positions of `(N, C, H, W)`."""
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    if last and x.device.type == "cpu":
        mean, variance = _ChannelsLast.apply(x)
        return mean, variance
    variance, mean = torch.var_mean(x, dim=(0, 2, 3), unbiased=False)
    return mean, variance


class _ChannelsLast(torch.autograd.Function):
    """Of maps that lie channels last, by products of matrices.

    PyTorch's own sums over such maps, and the gradients of these, take several times as long on a
    CPU. Each image is summed by itself, so that no sum is long.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        rows = x.permute(0, 2, 3, 1).flatten(1, 2)
        share = rows.new_full((1, rows.shape[1]), 1 / rows.shape[1])
        mean = (share @ rows).mean((0, 1))
        # Around the mean: a difference of squares would lose the digits of a small variance.
        variance = (share @ (rows - mean).square_()).mean((0, 1))
        ctx.save_for_backward(x, mean)
        return mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_mean: Tensor, of_variance: Tensor) -> Tensor:
        x, mean = ctx.saved_tensors
        count = x.numel() / x.shape[1]

        def over_maps(channels: Tensor) -> Tensor:
            return channels.view(1, -1, 1, 1)

        apart = x - over_maps(mean)
        return torch.addcmul(over_maps(of_mean / count), apart, over_maps(2 * of_variance / count))
