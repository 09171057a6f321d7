"""What the networks share: channels times a width, the usual initial weights, pooling."""

from torch import Tensor, nn


def scaled(channels: int, width: float) -> int:
    """Multiply a number of channels by a width, rounded, at least 1."""
    return max(1, round(channels * width))


def initialise(network: nn.Module) -> None:
    """Draw the weights of all convolutions anew; other layers keep PyTorch's initial weights.

    Args:
        network: changed in place; draws from the global random state. On the device `meta`
            nothing is drawn: there are no values, and PyTorch would take seconds for none.

    Source: He et al., "Delving Deep into Rectifiers" (ICCV 2015), by fan-out.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and not module.weight.is_meta:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def conv_bn(
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int = 1,
    *,
    groups: int = 1,
    activation: nn.Module | None = None,
) -> nn.Sequential:
    """A convolution that keeps the size at stride 1, BatchNorm, and an activation if given."""
    layers: list[nn.Module] = [
        nn.Conv2d(
            in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False
        ),
        nn.BatchNorm2d(out_channels),
    ]
    if activation is not None:
        layers.append(activation)
    return nn.Sequential(*layers)


def mean_over_positions(maps: Tensor) -> Tensor:
    """Average feature maps `(N, C, H, W)` over their positions; returns `(N, C)`."""
    return maps.mean(dim=(2, 3))
