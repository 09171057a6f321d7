"""Convolutions by tiles: those of PyTorch, as exactly."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dfkd_tune.classifiers._winograd import WinogradConvolution, is_winograd_faster


def convolution(inputs: int, outputs: int, *, bias: bool = True) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias).requires_grad_(False)


def error(made: Tensor, x: Tensor, layer: nn.Conv2d) -> float:
    """The largest, in units of the outputs' spread."""
    bias = None if layer.bias is None else layer.bias.double()
    exact = functional.conv2d(x.double(), layer.weight.double(), bias, padding=1)
    return float((made.double() - exact).abs().max() / exact.std())


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("inputs", "outputs", "size"),
    [(256, 260, (8, 8)), (260, 256, (4, 6)), (256, 512, (4, 4)), (300, 512, (2, 6))],
)
def test_maps_are_those_of_a_convolution(
    inputs: int, outputs: int, size: tuple[int, int], bias: bool
) -> None:
    layer = convolution(inputs, outputs, bias=bias)
    made = WinogradConvolution(layer)
    x = torch.randn(40, inputs, *size).relu()
    found = made(x)
    assert found.shape == (40, outputs, *size)
    assert error(found, x, layer) < 3e-5
    # By tiles indeed: not the very bits of a convolution.
    assert not torch.equal(found, layer(x))
    last = made(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(last, found, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("count", "size"), [(40, (7, 7)), (40, (6, 6)), (1, (4, 4))])
def test_maps_that_no_tiles_fill_are_convolved_as_ever(count: int, size: tuple[int, int]) -> None:
    layer = convolution(256, 256)
    x = torch.randn(count, 256, *size)
    assert torch.equal(WinogradConvolution(layer)(x), layer(x))


def test_it_has_the_weights_of_the_convolution_and_no_others() -> None:
    layer = convolution(256, 256)
    made = WinogradConvolution(layer)
    assert made.weight is layer.weight
    torch.testing.assert_close(made.state_dict(), layer.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("layer", "faster"),
    [
        (nn.Conv2d(256, 256, 3, padding=1), True),
        (nn.Conv2d(128, 256, 3, padding=1), False),
        (nn.Conv2d(256, 128, 3, padding=1), False),
        (nn.Conv2d(256, 256, 3), False),
        (nn.Conv2d(256, 256, 3, padding="same"), False),
        (nn.Conv2d(256, 256, 3, 2, padding=1), False),
        (nn.Conv2d(256, 256, 1), False),
        (nn.Conv2d(256, 256, 5, padding=2), False),
        (nn.Conv2d(256, 256, 3, padding=1, groups=2), False),
        (nn.Conv2d(256, 256, 3, padding=1, padding_mode="reflect"), False),
        (nn.ConvTranspose2d(256, 256, 3, padding=1), False),
        (nn.Linear(128, 128), False),
    ],
)
def test_which_layers_are_computed_so(layer: nn.Module, faster: bool) -> None:
    assert is_winograd_faster(layer) is faster
