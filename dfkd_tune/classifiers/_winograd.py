"""Wide 3x3 convolutions without gradient in float32 on a CPU, with fewer multiplications.

PyTorch has no such algorithm for these on a CPU; on a GPU its libraries choose one themselves.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016), section 4.
"""

from functools import cache
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional

CHANNELS = 256
"""From which it pays: with fewer the transforms cost what the products save."""

_POINTS = {2: (0.0, 1.0, -1.0), 4: (0.0, 1.0, -1.0, 0.5, -2.0)}
"""Where the polynomials of a tile are evaluated, beside infinity; rounding errors are small so."""

_WIDEST = 512
"""Channels from which a smaller tile is faster: its transformed weights take less to read."""

_FEWEST_TILES = 32
"""Of a batch, for the same reason."""


@cache
def _matrices(tile: int) -> tuple[Tensor, Tensor, Tensor]:
    """Transforms of outputs `(tile, seen)`, kernels `(seen, 3)` and images `(seen, seen)`."""
    points = torch.tensor(_POINTS[tile], dtype=torch.float64)

    def powers(count: int) -> Tensor:
        at_infinity = torch.zeros(1, count, dtype=torch.float64)
        at_infinity[0, -1] = 1
        return torch.cat([points[:, None] ** torch.arange(count), at_infinity])

    return powers(tile).T, powers(3), torch.linalg.inv(powers(tile + 2)).T


def is_winograd_faster(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether a layer is such a convolution."""
    return (
        type(layer) is nn.Conv2d
        and layer.kernel_size == (3, 3)
        and layer.stride == layer.padding == layer.dilation == (1, 1)
        and layer.padding_mode == "zeros"
        and layer.groups == 1
        and min(layer.in_channels, layer.out_channels) >= CHANNELS
    )


class WinogradConvolution(nn.Conv2d):
    """A convolution of frozen weights, by tiles; maps that no tiles fill are convolved as ever.

    Args:
        layer: for which `is_winograd_faster` holds; its weights are shared.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__(layer.in_channels, layer.out_channels, 3, padding=1, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        self.tile = (2, 2) if layer.out_channels >= _WIDEST else (4, 2)
        down, across = (_matrices(tile) for tile in self.tile)
        outputs, kernels, images = (
            torch.kron(one, other) for one, other in zip(down, across, strict=True)
        )
        rows = self.weight.detach().double().permute(2, 3, 1, 0).reshape(9, -1)
        transformed = (kernels @ rows).view(-1, layer.in_channels, layer.out_channels)
        self.outputs: Tensor
        self.images: Tensor
        self.kernels: Tensor
        self.register_buffer("outputs", outputs.float(), persistent=False)
        self.register_buffer("images", images.float(), persistent=False)
        self.register_buffer("kernels", transformed.float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `(N, C, H, W)` to `(N, K, H, W)`."""
        count, channels, height, width = x.shape
        high, wide = self.tile
        down, across = height // high, width // wide
        if height % high or width % wide or count * down * across < _FEWEST_TILES:
            return super().forward(x)
        padded = functional.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)).contiguous()
        by_image, by_row, by_column, by_channel = padded.stride()
        seen = padded.as_strided(
            (high + 2, wide + 2, count, down, across, channels),
            (by_row, by_column, by_image, high * by_row, wide * by_column, by_channel),
        )
        tiles = torch.mm(self.images, seen.reshape(len(self.images), -1))
        products = torch.bmm(tiles.view(len(tiles), -1, channels), self.kernels)
        made = torch.mm(self.outputs, products.flatten(1))
        maps = made.view(high, wide, count, down, across, -1).permute(2, 3, 0, 4, 1, 5)
        maps = maps.reshape(count, height, width, -1)
        if self.bias is not None:
            maps = maps.add_(self.bias)
        return maps.permute(0, 3, 1, 2)
