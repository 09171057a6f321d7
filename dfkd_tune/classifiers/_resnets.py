"""Residual networks of four stages, for small images and for those of ImageNet."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from dfkd_tune.classifiers._layers import conv_bn, initialise, mean_over_positions, scaled
from dfkd_tune.inputs import InputSpecification


class _BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = _projection(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        out += x if self.downsample is None else self.downsample(x)
        return functional.relu(out, inplace=True)


class _Bottleneck(nn.Module):
    """Convolutions of 1x1, 3x3 and 1x1 and a shortcut; the 3x3 one down-samples."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = _projection(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        out = functional.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        out += x if self.downsample is None else self.downsample(x)
        return functional.relu(out, inplace=True)


def _projection(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and in_channels == out_channels:
        return None
    return conv_bn(in_channels, out_channels, 1, stride)


_LAYOUTS: dict[int, tuple[type[_BasicBlock] | type[_Bottleneck], tuple[int, ...]]] = {
    18: (_BasicBlock, (2, 2, 2, 2)),
    34: (_BasicBlock, (3, 4, 6, 3)),
    50: (_Bottleneck, (3, 4, 6, 3)),
}


class ResNet(nn.Module):
    """Residual network of four stages of 64, 128, 256 and 512 channels times `width`.

    Names and shapes of its weights at width 1 are those of torchvision's resnets; with the stem
    `small` all but the stem's are.

    Args:
        depth: 18, 34 or 50; 50 is made of bottlenecks.
        stem: `imagenet`: a 7x7 convolution of stride 2 and max pooling; `small`, for images of
            about 32 pixels: a 3x3 convolution of stride 1, without pooling.
        width: multiplier of the channels.
        inputs: shape and classes.

    Source: He et al., "Deep Residual Learning" (CVPR 2016), table 1; the bottleneck's stride is in
    its 3x3 convolution, as in torchvision.
    """

    def __init__(
        self,
        depth: int,
        stem: Literal["imagenet", "small"],
        width: float,
        inputs: InputSpecification,
    ) -> None:
        super().__init__()
        block, counts = _LAYOUTS[depth]
        channels = scaled(64, width)
        if stem == "imagenet":
            self.conv1 = nn.Conv2d(inputs.channels, channels, 7, 2, 3, bias=False)
        else:
            self.conv1 = nn.Conv2d(inputs.channels, channels, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if stem == "imagenet" else nn.Identity()
        stages = []
        for index, count in enumerate(counts):
            wide = scaled(64 * 2**index, width)
            blocks = []
            for position in range(count):
                blocks.append(block(channels, wide, 2 if index > 0 and position == 0 else 1))
                channels = wide * block.expansion
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.fc = nn.Linear(channels, inputs.num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Classify images `(N, C, H, W)`; returns logits `(N, K)`."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(mean_over_positions(x))
        return logits
