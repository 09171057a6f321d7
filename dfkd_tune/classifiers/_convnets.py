"""Plain convolutional networks."""

from typing import cast

from torch import Tensor, nn

from dfkd_tune.classifiers._layers import initialise, mean_over_positions, scaled
from dfkd_tune.inputs import InputSpecification


class ConvNet(nn.Module):
    """Three 3x3 convolutions with BatchNorm, each followed by 2x2 max pooling but the last.

    Args:
        width: multiplier of the channels 32, 64, 128.
        inputs: shape and classes.
    """

    def __init__(self, width: float, inputs: InputSpecification) -> None:
        super().__init__()
        channels = [inputs.channels, *(scaled(c, width) for c in (32, 64, 128))]
        self.stage1, self.stage2, self.stage3 = (
            nn.Sequential(
                nn.Conv2d(channels[i], channels[i + 1], 3, 1, 1, bias=False),
                nn.BatchNorm2d(channels[i + 1]),
                nn.ReLU(inplace=True),
            )
            for i in range(3)
        )
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.classifier = nn.Linear(channels[3], inputs.num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Classify images `(N, C, H, W)`; returns logits `(N, K)`."""
        x = self.stage3(self.pool(self.stage2(self.pool(self.stage1(x)))))
        logits: Tensor = self.classifier(mean_over_positions(x))
        return logits


class LeNet5(nn.Module):
    """LeNet-5 with ReLU and max pooling, and without BatchNorm.

    Images below 32 pixels are padded with zeros to 32, as LeCun et al. pad the 28 of MNIST; of
    larger ones, the second pooling makes the 5 x 5 positions that the third convolution needs.

    Args:
        width: multiplier of the channels 6, 16, 120 and the 84 units.
        inputs: shape and classes.

    Source: LeCun et al., "Gradient-Based Learning Applied to Document Recognition" (1998); with
    the activations of the teacher of Chen et al., "Data-Free Learning of Student Networks" (ICCV
    2019), whose student is width 0.5.
    """

    def __init__(self, width: float, inputs: InputSpecification) -> None:
        super().__init__()
        first, second, third, units = (scaled(c, width) for c in (6, 16, 120, 84))
        padding = tuple(max(0, (33 - side) // 2) for side in (inputs.height, inputs.width))
        self.stage1 = nn.Sequential(
            nn.Conv2d(inputs.channels, first, 5, padding=cast("tuple[int, int]", padding)),
            nn.ReLU(inplace=True),
        )
        self.pool1 = nn.MaxPool2d(2)
        self.stage2 = nn.Sequential(nn.Conv2d(first, second, 5), nn.ReLU(inplace=True))
        self.pool2 = nn.AdaptiveMaxPool2d(5)
        self.stage3 = nn.Sequential(nn.Conv2d(second, third, 5), nn.ReLU(inplace=True))
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(third, units), nn.ReLU(inplace=True))
        self.classifier = nn.Linear(units, inputs.num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Classify images `(N, C, H, W)`; returns logits `(N, K)`."""
        x = self.pool2(self.stage2(self.pool1(self.stage1(x))))
        logits: Tensor = self.classifier(self.hidden(self.stage3(x)))
        return logits
