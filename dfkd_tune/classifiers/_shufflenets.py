"""ShuffleNets for small images."""

import torch
from torch import Tensor, nn

from dfkd_tune.classifiers._layers import conv_bn, initialise, mean_over_positions, scaled
from dfkd_tune.inputs import InputSpecification


def _shuffled(x: Tensor) -> Tensor:
    """Interleave the two halves of the channels of `(N, C, H, W)`."""
    count, channels, height, width = x.shape
    halves = x.view(count, 2, channels // 2, height, width)
    return halves.transpose(1, 2).reshape(count, channels, height, width)


class _Unit(nn.Module):
    """A unit that works on half of the channels, and passes the other half on."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = _branch(channels // 2, channels // 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        passed, worked = x.chunk(2, dim=1)
        return _shuffled(torch.cat([passed, self.branch(worked)], dim=1))


class _DownUnit(nn.Module):
    """A unit that halves the size, by two branches that both see all channels."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.shortcut = nn.Sequential(
            conv_bn(in_channels, in_channels, 3, 2, groups=in_channels),
            conv_bn(in_channels, half, 1, activation=nn.ReLU(inplace=True)),
        )
        self.branch = _branch(in_channels, half, 2)

    def forward(self, x: Tensor) -> Tensor:
        return _shuffled(torch.cat([self.shortcut(x), self.branch(x)], dim=1))


def _branch(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        conv_bn(in_channels, channels, 1, activation=nn.ReLU(inplace=True)),
        conv_bn(channels, channels, 3, stride, groups=channels),
        conv_bn(channels, channels, 1, activation=nn.ReLU(inplace=True)),
    )


class ShuffleNetV2(nn.Module):
    """ShuffleNetV2 1x for images of about 32 pixels: the stem keeps their size.

    Args:
        width: multiplier of all channels, rounded to even numbers where units split them. The
            paper's own sizes 0.5x, 1.5x and 2x are other numbers.
        inputs: shape and classes.

    Source: Ma et al., "ShuffleNet V2" (ECCV 2018), table 5, 1x. A stem of stride 1 without max
    pooling, so that 32 pixels end as 4, is this project's choice, a common one.
    """

    def __init__(self, width: float, inputs: InputSpecification) -> None:
        super().__init__()
        stem, last = scaled(24, width), scaled(1024, width)
        first, second, third = (2 * scaled(c // 2, width) for c in (116, 232, 464))
        self.stem = conv_bn(inputs.channels, stem, 3, activation=nn.ReLU(inplace=True))
        self.stage1 = self._stage(stem, first, 4)
        self.stage2 = self._stage(first, second, 8)
        self.stage3 = self._stage(second, third, 4)
        self.head = conv_bn(third, last, 1, activation=nn.ReLU(inplace=True))
        self.classifier = nn.Linear(last, inputs.num_classes)
        initialise(self)

    @staticmethod
    def _stage(in_channels: int, out_channels: int, units: int) -> nn.Sequential:
        return nn.Sequential(
            _DownUnit(in_channels, out_channels), *(_Unit(out_channels) for _ in range(units - 1))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Classify images `(N, C, H, W)`; returns logits `(N, K)`."""
        x = self.stage3(self.stage2(self.stage1(self.stem(x))))
        logits: Tensor = self.classifier(mean_over_positions(self.head(x)))
        return logits
