"""The spatial attention module of the attention generator (DFKD-FGVC eq. 4 to 6, table 6)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfkd_tune.distillation.generators._config import SpatialAttentionConfig
from dfkd_tune.errors import UsageError


class SpatialAttention(nn.Module):
    """F + lambda A(F) F, A from a small encoder and decoder that reuses its pooling's indices.

    Args:
        channels: C of the feature map.
        config: mix weight, reduction, axis and rescaling.

    Raises:
        UsageError: if the reduction leaves no channel.
    """

    def __init__(self, channels: int, config: SpatialAttentionConfig) -> None:
        super().__init__()
        self.config = config
        reduced = channels // config.reduction
        if reduced < 1:
            raise UsageError(
                f"generator.attention.reduction is {config.reduction}, and a block has only "
                f"{channels} channels; lower it or raise generator.width"
            )
        self.reduce = nn.Conv2d(channels, reduced, 1)
        self.encode = nn.Sequential(
            nn.Conv2d(reduced, 2 * reduced, 3, padding=1), nn.BatchNorm2d(2 * reduced), nn.ReLU()
        )
        self.middle = nn.Sequential(
            nn.Conv2d(2 * reduced, 4 * reduced, 3, padding=1),
            nn.BatchNorm2d(4 * reduced),
            nn.ReLU(),
            nn.ConvTranspose2d(4 * reduced, 2 * reduced, 3, padding=1),
            nn.BatchNorm2d(2 * reduced),
            nn.ReLU(),
        )
        self.decode = nn.Sequential(
            nn.ConvTranspose2d(2 * reduced, reduced, 3, padding=1),
            nn.BatchNorm2d(reduced),
            nn.ReLU(),
            nn.Conv2d(reduced, channels, 1),
        )

    def attention(self, x: Tensor) -> Tensor:
        """The attention `(N, C, H, W)` of a feature map, after its softmax and rescaling."""
        encoded = self.encode(self.reduce(x))
        pooled, indices = functional.max_pool2d(encoded, 2, return_indices=True)
        middle = self.middle(pooled)
        unpooled = functional.max_unpool2d(
            middle, indices, [2, 2], output_size=list(encoded.shape[2:])
        )
        scores = torch.as_tensor(self.decode(unpooled))
        axis = self.config.axis
        if axis == "sigmoid":
            attention, count = scores.sigmoid(), 1
        elif axis == "channel":
            attention, count = scores.softmax(1), scores.shape[1]
        else:
            first = 2 if axis == "spatial" else 1
            flat = scores.flatten(first)
            attention, count = flat.softmax(first).view_as(scores), flat.shape[first]
        if self.config.rescale == "unit_mean":
            # A sigmoid has no fixed sum to bring to 1.
            attention = attention * count
        return attention

    def forward(self, x: Tensor) -> Tensor:
        """Features `(N, C, H, W)` with attention mixed in."""
        return x + self.config.mix_weight * self.attention(x) * x
