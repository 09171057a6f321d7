"""Wide residual networks."""

from torch import Tensor, nn
from torch.nn import functional

from dfkd_tune.classifiers._layers import initialise, mean_over_positions, scaled
from dfkd_tune.inputs import InputSpecification


class _PreActivationBlock(nn.Module):
    """BatchNorm and ReLU before each of two 3x3 convolutions, and a shortcut.

    A shortcut that projects starts behind the first activation.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.shortcut: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        activated = functional.relu(self.bn1(x), inplace=True)
        kept = x if self.shortcut is None else self.shortcut(activated)
        hidden = functional.relu(self.bn2(self.conv1(activated)), inplace=True)
        out: Tensor = self.conv2(hidden)
        out += kept
        return out


class WideResNet(nn.Module):
    """Residual network with pre-activation: three stages of 16k, 32k and 64k channels.

    The feature map of its last stage is taken behind the final BatchNorm and ReLU (module `relu`),
    those of the others are the sums that their blocks give.

    Args:
        depth: number of weighted layers, 6n + 4.
        widening: the k of the paper, which leaves the stem as it is.
        width: multiplier of all channels, the stem's included.
        inputs: shape and classes.

    Source: Zagoruyko and Komodakis, "Wide Residual Networks" (BMVC 2016), table 1, blocks B(3,3)
    without dropout.
    """

    def __init__(self, depth: int, widening: int, width: float, inputs: InputSpecification) -> None:
        super().__init__()
        blocks = (depth - 4) // 6
        stem = scaled(16, width)
        first, second, third = (scaled(c * widening, width) for c in (16, 32, 64))
        self.conv = nn.Conv2d(inputs.channels, stem, 3, 1, 1, bias=False)
        self.stage1 = self._stage(stem, first, blocks, 1)
        self.stage2 = self._stage(first, second, blocks, 2)
        self.stage3 = self._stage(second, third, blocks, 2)
        self.bn = nn.BatchNorm2d(third)
        self.relu = nn.ReLU(inplace=True)
        self.classifier = nn.Linear(third, inputs.num_classes)
        initialise(self)

    @staticmethod
    def _stage(in_channels: int, out_channels: int, blocks: int, stride: int) -> nn.Sequential:
        layers = [_PreActivationBlock(in_channels, out_channels, stride)]
        layers += [_PreActivationBlock(out_channels, out_channels, 1) for _ in range(blocks - 1)]
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Classify images `(N, C, H, W)`; returns logits `(N, K)`."""
        x = self.stage3(self.stage2(self.stage1(self.conv(x))))
        logits: Tensor = self.classifier(mean_over_positions(self.relu(self.bn(x))))
        return logits
