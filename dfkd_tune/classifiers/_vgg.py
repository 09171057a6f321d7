"""VGG networks."""

from torch import Tensor, nn

from dfkd_tune.classifiers._layers import conv_bn, initialise, mean_over_positions, scaled
from dfkd_tune.inputs import InputSpecification

_PIXELS_OF_FOURTH_POOLING = 64


class VGG11(nn.Module):
    """Eight 3x3 convolutions with BatchNorm in five stages, and one linear layer.

    Stages end in 2x2 max pooling, but for the last, whose positions are averaged, and for the
    fourth where images have less than 64 pixels: there the last two stages share one size.

    Args:
        width: multiplier of the channels 64, 128, 256, 512, 512.
        inputs: shape and classes.

    Source: Simonyan and Zisserman, "Very Deep Convolutional Networks" (ICLR 2015), configuration A;
    for small images as in Tian et al., "Contrastive Representation Distillation" (ICLR 2020).
    """

    def __init__(self, width: float, inputs: InputSpecification) -> None:
        super().__init__()
        channels = [scaled(c, width) for c in (64, 128, 256, 512, 512)]
        self.stage1 = self._stage(inputs.channels, channels[0], 1)
        self.stage2 = self._stage(channels[0], channels[1], 1)
        self.stage3 = self._stage(channels[1], channels[2], 2)
        self.stage4 = self._stage(channels[2], channels[3], 2)
        self.stage5 = self._stage(channels[3], channels[4], 2)
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.large = min(inputs.height, inputs.width) >= _PIXELS_OF_FOURTH_POOLING
        self.classifier = nn.Linear(channels[4], inputs.num_classes)
        initialise(self)

    @staticmethod
    def _stage(in_channels: int, out_channels: int, convolutions: int) -> nn.Sequential:
        layers = [conv_bn(in_channels, out_channels, 3, activation=nn.ReLU(inplace=True))]
        layers += [
            conv_bn(out_channels, out_channels, 3, activation=nn.ReLU(inplace=True))
            for _ in range(convolutions - 1)
        ]
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Classify images `(N, C, H, W)`; returns logits `(N, K)`."""
        x = self.pool(self.stage1(x))
        x = self.pool(self.stage2(x))
        x = self.pool(self.stage3(x))
        x = self.stage4(x)
        x = self.stage5(self.pool(x) if self.large else x)
        logits: Tensor = self.classifier(mean_over_positions(x))
        return logits
