"""Teacher and student networks, each with a width multiplier."""

from collections.abc import Callable

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from dfkd_tune.errors import did_you_mean
from dfkd_tune.inputs import InputSpecification


class NetworkConfig(BaseModel):
    """Which classifier: an architecture and how wide."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str = Field(description="name, as `dfkd-tune list students` shows")
    width: float = Field(default=1.0, gt=0, le=16, description="multiplier of every layer's width")

    @field_validator("architecture")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in CLASSIFIERS:
            raise ValueError(f"there is no network '{value}'; {did_you_mean(value, CLASSIFIERS)}")
        return value

    def __str__(self) -> str:
        """For people: `resnet8 x 0.5`."""
        return f"{self.architecture} x {self.width:g}"


def _scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))


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
        out = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class SmallResNet(nn.Module):
    """Residual network for small images: three stages of 16, 32 and 64 channels times `width`.

    Args:
        depth: number of weighted layers, 6n + 2.
        width: multiplier of the channels.
        inputs: shape and classes.

    Source: He et al., "Deep Residual Learning" (CVPR 2016), section 4.2, with projections as
    shortcuts.
    """

    def __init__(self, depth: int, width: float, inputs: InputSpecification) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        channels = [_scaled(c, width) for c in (16, 32, 64)]
        self.conv = nn.Conv2d(inputs.channels, channels[0], 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(channels[0])
        self.stage1 = self._stage(channels[0], channels[0], blocks, 1)
        self.stage2 = self._stage(channels[0], channels[1], blocks, 2)
        self.stage3 = self._stage(channels[1], channels[2], blocks, 2)
        self.classifier = nn.Linear(channels[2], inputs.num_classes)
        _initialise(self)

    @staticmethod
    def _stage(in_channels: int, out_channels: int, blocks: int, stride: int) -> nn.Sequential:
        layers = [_ResidualBlock(in_channels, out_channels, stride)]
        layers += [_ResidualBlock(out_channels, out_channels, 1) for _ in range(blocks - 1)]
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Classify images `(N, C, H, W)`; returns logits `(N, K)`."""
        x = functional.relu(self.bn(self.conv(x)))
        x = self.stage3(self.stage2(self.stage1(x)))
        return torch.as_tensor(self.classifier(x.mean(dim=(2, 3))))


class ConvNet(nn.Module):
    """Three 3x3 convolutions with BatchNorm, each followed by 2x2 max pooling but the last.

    Args:
        width: multiplier of the channels 32, 64, 128.
        inputs: shape and classes.
    """

    def __init__(self, width: float, inputs: InputSpecification) -> None:
        super().__init__()
        channels = [inputs.channels, *(_scaled(c, width) for c in (32, 64, 128))]
        self.stage1, self.stage2, self.stage3 = (
            nn.Sequential(
                nn.Conv2d(channels[i], channels[i + 1], 3, 1, 1, bias=False),
                nn.BatchNorm2d(channels[i + 1]),
                nn.ReLU(),
            )
            for i in range(3)
        )
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.classifier = nn.Linear(channels[3], inputs.num_classes)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Classify images `(N, C, H, W)`; returns logits `(N, K)`."""
        x = self.stage3(self.pool(self.stage2(self.pool(self.stage1(x)))))
        return torch.as_tensor(self.classifier(x.mean(dim=(2, 3))))


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _resnet(depth: int) -> Callable[[float, InputSpecification], nn.Module]:
    return lambda width, inputs: SmallResNet(depth, width, inputs)


CLASSIFIERS: dict[str, Callable[[float, InputSpecification], nn.Module]] = {
    "convnet": ConvNet,
    "resnet8": _resnet(8),
    "resnet14": _resnet(14),
    "resnet20": _resnet(20),
}


def build_classifier(config: NetworkConfig, inputs: InputSpecification, seed: int) -> nn.Module:
    """Build a classifier with seeded weights, leaving the global random state as it was.

    Args:
        config: architecture and width.
        inputs: shape and classes.
        seed: of the initial weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CLASSIFIERS[config.architecture](config.width, inputs)
