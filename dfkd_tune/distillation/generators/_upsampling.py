"""Upsampling by two and a convolution in one."""

import torch
from torch import Tensor, nn
from torch.nn import functional

# How a kernel's three rows add up to the four of a transposed convolution: both copies of a row
# meet the same values of the map beneath, so their weights are one.
_ROWS = ((0.0, 0.0, 1.0), (0.0, 1.0, 1.0), (1.0, 1.0, 0.0), (1.0, 0.0, 0.0))


class UpsampledConvolution(nn.Conv2d):
    """Doubles a map's sides by nearest neighbour, then convolves 3x3 with padding 1.

    The upsampled map is never made: a transposed 4x4 convolution by steps of two gives the same
    with 4 of 9 multiplications. Weights, and results but for rounding, are those of upsampling and
    a convolution.

    Args:
        in_channels: of the map.
        out_channels: of what comes.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)
        # A buffer: made in every pass it would be sent to a GPU in every pass.
        self.register_buffer("rows", torch.tensor(_ROWS), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C, H, W)` to `(N, K, 2H, 2W)`."""
        rows = self.get_buffer("rows")
        kernel = torch.einsum("iu,jv,kcuv->ckij", rows, rows, self.weight)
        return functional.conv_transpose2d(x, kernel, self.bias, stride=2, padding=1)
