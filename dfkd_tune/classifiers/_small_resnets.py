"""Residual networks of three stages, for small images."""

from torch import Tensor, nn
from torch.nn import functional

from dfkd_tune.classifiers._layers import initialise, mean_over_positions, scaled
from dfkd_tune.inputs import InputSpecification


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016, post-activation)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return functional.relu(out, inplace=True)


class SmallResNet(nn.Module):
    """Residual network for small images: a stem and three stages, their channels times `width`.

    Args:
        depth: number of weighted layers, 6n + 2.
        width: multiplier of the channels.
        inputs: shape and classes.
        channels: of the stem and the three stages; 32, 64, 128, 256 make the variants "x4".

    Source: He et al., "Deep Residual Learning" (CVPR 2016), section 4.2, with projections as
    shortcuts; the variants "x4" as in Tian et al., "Contrastive Representation Distillation"
    (ICLR 2020), appendix.
    """

    def __init__(
        self,
        depth: int,
        width: float,
        inputs: InputSpecification,
        channels: tuple[int, int, int, int] = (16, 16, 32, 64),
    ) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        stem, first, second, third = (scaled(c, width) for c in channels)
        self.conv = nn.Conv2d(inputs.channels, stem, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(stem)
        self.stage1 = self._stage(stem, first, blocks, 1)
        self.stage2 = self._stage(first, second, blocks, 2)
        self.stage3 = self._stage(second, third, blocks, 2)
        self.classifier = nn.Linear(third, inputs.num_classes)
        initialise(self)

    @staticmethod
    def _stage(in_channels: int, out_channels: int, blocks: int, stride: int) -> nn.Sequential:
        layers = [_ResidualBlock(in_channels, out_channels, stride)]
        layers += [_ResidualBlock(out_channels, out_channels, 1) for _ in range(blocks - 1)]
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Classify images `(N, C, H, W)`; returns logits `(N, K)`."""
        x = functional.relu(self.bn(self.conv(x)), inplace=True)
        x = self.stage3(self.stage2(self.stage1(x)))
        logits: Tensor = self.classifier(mean_over_positions(x))
        return logits
