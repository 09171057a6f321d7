"""MobileNets for small images."""

from torch import Tensor, nn

from dfkd_tune.classifiers._layers import conv_bn, initialise, mean_over_positions, scaled
from dfkd_tune.inputs import InputSpecification


class _InvertedResidual(nn.Module):
    """Expansion by a 1x1 convolution, depthwise 3x3 convolution, linear 1x1 projection."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = in_channels * expansion
        layers = []
        if expansion > 1:
            layers.append(conv_bn(in_channels, wide, 1, activation=nn.ReLU6(inplace=True)))
        layers.append(
            conv_bn(wide, wide, 3, stride, groups=wide, activation=nn.ReLU6(inplace=True))
        )
        layers.append(conv_bn(wide, out_channels, 1))
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return x + out if self.residual else out


# Expansion, channels, blocks, stride: the paper's table 2, but stride 1 in the second row.
_ROWS = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class MobileNetV2(nn.Module):
    """MobileNetV2 for images of about 32 pixels: its first two down-samplings are left out.

    Args:
        width: multiplier of all channels, plainly rounded; the stem's 32 and the last 1280 too.
        inputs: shape and classes.

    Source: Sandler et al., "MobileNetV2" (CVPR 2018), table 2; without dropout. Stride 1 in the
    stem and the second row, so that 32 pixels end as 4, is this project's choice, a common one.
    """

    def __init__(self, width: float, inputs: InputSpecification) -> None:
        super().__init__()
        channels = scaled(32, width)
        last = scaled(1280, width)
        self.stem = conv_bn(inputs.channels, channels, 3, activation=nn.ReLU6(inplace=True))
        rows = []
        for expansion, unscaled, count, stride in _ROWS:
            out_channels = scaled(unscaled, width)
            blocks = []
            for position in range(count):
                blocks.append(
                    _InvertedResidual(
                        channels, out_channels, stride if position == 0 else 1, expansion
                    )
                )
                channels = out_channels
            rows.append(nn.Sequential(*blocks))
        self.rows = nn.Sequential(*rows)
        self.head = conv_bn(channels, last, 1, activation=nn.ReLU6(inplace=True))
        self.classifier = nn.Linear(last, inputs.num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Classify images `(N, C, H, W)`; returns logits `(N, K)`."""
        x = self.head(self.rows(self.stem(x)))
        logits: Tensor = self.classifier(mean_over_positions(x))
        return logits
