"""Statistics of batches, against sums in double precision, whatever the layout of the maps."""

import pytest
import torch
from torch import Tensor, nn

from dfkd_tune.classifiers._statistics import batch_statistics, mean_and_variance
from dfkd_tune.errors import TeacherError

FIRST, LAST = torch.contiguous_format, torch.channels_last
SHAPES = ((5, 3, 7, 6), (64, 16, 32, 32), (3, 512, 1, 1), (1, 1, 9, 4), (2, 8, 112, 112))


def maps(shape: tuple[int, ...], mean: float, deviation: float) -> Tensor:
    source = torch.Generator().manual_seed(4)
    return mean + deviation * torch.randn(shape, generator=source)


def in_double(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance, summed another way."""
    channels = x.double().transpose(0, 1).flatten(1)
    mean = channels.mean(1)
    return mean, ((channels - mean[:, None]) ** 2).mean(1)


@pytest.mark.parametrize("layout", [FIRST, LAST])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("mean", "deviation"), [(0.3, 1.0), (1000.0, 0.5)])
def test_statistics_equal_those_in_double(
    shape: tuple[int, ...], layout: torch.memory_format, mean: float, deviation: float
) -> None:
    """A large mean takes no digits from a small variance."""
    x = maps(shape, mean, deviation).contiguous(memory_format=layout)
    found, expected = mean_and_variance(x), in_double(x)
    torch.testing.assert_close(found[0].double(), expected[0], rtol=2e-6, atol=2e-6)
    torch.testing.assert_close(found[1].double(), expected[1], rtol=2e-5, atol=1e-9)


@pytest.mark.parametrize("layout", [FIRST, LAST])
@pytest.mark.parametrize("mean", [0.3, 1000.0])
def test_gradients_equal_those_in_double(layout: torch.memory_format, mean: float) -> None:
    x = maps((6, 8, 5, 4), mean, 0.7).contiguous(memory_format=layout).requires_grad_(True)
    exact = x.detach().double().requires_grad_(True)
    weights = torch.arange(1.0, 9.0)
    for given, (of_mean, of_variance) in ((x, mean_and_variance(x)), (exact, in_double(exact))):
        loss = (weights * of_mean).square().mean() + (of_variance / weights).sum()
        (given.grad,) = torch.autograd.grad(loss, given)
    assert x.grad is not None
    assert exact.grad is not None
    torch.testing.assert_close(x.grad.double(), exact.grad, rtol=1e-4, atol=1e-6)
    assert x.grad.is_contiguous(memory_format=layout)


def test_gradients_of_one_of_the_two_are_enough() -> None:
    x = maps((6, 8, 5, 4), 0.3, 1.0).contiguous(memory_format=LAST).requires_grad_(True)
    (of_mean,) = torch.autograd.grad(mean_and_variance(x)[0].sum(), x)
    torch.testing.assert_close(of_mean, torch.full_like(x, 1 / 120))
    (of_variance,) = torch.autograd.grad(mean_and_variance(x)[1].sum(), x)
    mean, _ = in_double(x.detach())
    expected = 2 / 120 * (x.detach().double() - mean.view(1, -1, 1, 1))
    torch.testing.assert_close(of_variance.double(), expected, rtol=1e-4, atol=1e-7)


def test_maps_in_half_precision_are_summed_in_single() -> None:
    layer = nn.BatchNorm2d(16)
    x = maps((64, 16, 8, 8), 3.0, 1.0).bfloat16().contiguous(memory_format=LAST)
    found = batch_statistics(x, layer)
    assert found.mean.dtype == found.variance.dtype == torch.float32
    mean, variance = in_double(x)
    torch.testing.assert_close(found.mean.double(), mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.variance.double(), variance, rtol=1e-5, atol=1e-6)
    assert found.running_mean is layer.running_mean
    assert found.running_variance is layer.running_var


def test_a_layer_without_running_statistics_is_refused() -> None:
    layer = nn.BatchNorm2d(3, track_running_stats=False)
    with pytest.raises(TeacherError, match="keeps no running statistics"):
        batch_statistics(torch.zeros(2, 3, 4, 4), layer)
