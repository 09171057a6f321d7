import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dfkd_tune.distillation.generators import UpsampledConvolution


def upsampled_then_convolved(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return functional.conv2d(functional.interpolate(x, scale_factor=2), weight, bias, padding=1)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 8)])
def test_gives_what_upsampling_and_a_convolution_give(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer = UpsampledConvolution(5, 7).double()
    x = torch.randn(2, 5, *size, dtype=torch.float64)
    expected = upsampled_then_convolved(x, layer.weight, layer.bias)
    assert layer(x).shape == (2, 7, 2 * size[0], 2 * size[1])
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)


def test_gradients_are_those_of_upsampling_and_a_convolution() -> None:
    torch.manual_seed(0)
    layer = UpsampledConvolution(3, 4).double()
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    assert layer.bias is not None
    wanted = (x, layer.weight, layer.bias)
    of_output = torch.randn(2, 4, 8, 8, dtype=torch.float64)
    expected = torch.autograd.grad(
        upsampled_then_convolved(x, layer.weight, layer.bias), wanted, of_output
    )
    torch.testing.assert_close(torch.autograd.grad(layer(x), wanted, of_output), expected)


def test_maps_lie_in_memory_as_they_came() -> None:
    x = torch.randn(2, 3, 4, 4)
    layer = UpsampledConvolution(3, 4)
    assert layer(x).is_contiguous()
    last = x.contiguous(memory_format=torch.channels_last)
    assert layer(last).is_contiguous(memory_format=torch.channels_last)


def test_has_the_weights_of_a_convolution() -> None:
    torch.manual_seed(0)
    layer = UpsampledConvolution(3, 4)
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(3, 4, 3, padding=1)
    torch.testing.assert_close(layer.state_dict(), convolution.state_dict(), rtol=0, atol=0)


def test_computes_in_bfloat16_where_asked() -> None:
    torch.manual_seed(0)
    layer, x = UpsampledConvolution(3, 4), torch.randn(2, 3, 4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = layer(x)
    assert made.dtype == torch.bfloat16
    torch.testing.assert_close(made.float(), layer(x), rtol=0.05, atol=0.05)
