"""Spatial attention against a computation in NumPy, in double precision."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dfkd_tune.distillation.generators import SpatialAttentionConfig
from dfkd_tune.distillation.generators._spatial_attention import SpatialAttention
from dfkd_tune.errors import UsageError

CHANNELS, HEIGHT, WIDTH = 6, 6, 4
AXES = ("spatial", "channel", "both", "sigmoid")
# Axes over which each kind's attention sums to 1, and the number of places in the sum.
SUMS = {
    "spatial": ((2, 3), HEIGHT * WIDTH),
    "channel": ((1,), CHANNELS),
    "both": ((1, 2, 3), CHANNELS * HEIGHT * WIDTH),
}


def make(channels: int = CHANNELS, **settings: Any) -> SpatialAttention:
    """A module in double precision whose every weight and statistic is random."""
    torch.manual_seed(3)
    config = SpatialAttentionConfig.model_validate({"reduction": 2, **settings})
    module = SpatialAttention(channels, config).double()
    for parameter in module.parameters():
        nn.init.normal_(parameter, 0, 0.7)
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.5)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    return module


def features(count: int = 3) -> Tensor:
    numbers = np.random.default_rng(4)
    return torch.tensor(numbers.normal(0, 1, (count, CHANNELS, HEIGHT, WIDTH)))


def convolved(x: np.ndarray, layer: nn.Module) -> np.ndarray:
    """Sums of weighted neighbours, the layer's own business: only this is torch's."""
    assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    pad = int(layer.padding[0])
    given = torch.tensor(x)
    if isinstance(layer, nn.ConvTranspose2d):
        made = functional.conv_transpose2d(given, layer.weight, layer.bias, padding=pad)
    else:
        made = functional.conv2d(given, layer.weight, layer.bias, padding=pad)
    return np.asarray(made.detach().numpy())


def normalised(x: np.ndarray, layer: nn.Module, training: bool) -> np.ndarray:
    """ReLU of BatchNorm."""
    assert isinstance(layer, nn.BatchNorm2d)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3))
    if not training:
        mean, variance = layer.running_mean.numpy(), layer.running_var.numpy()
    scale = layer.weight.detach().numpy() / np.sqrt(variance + layer.eps)
    shift = layer.bias.detach().numpy() - mean * scale
    return np.asarray(np.maximum(x * scale[:, None, None] + shift[:, None, None], 0))


def pooled(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest of every 2 x 2 window, and where in the window it is: 0 to 3, by rows."""
    n, c, h, w = x.shape
    windows = x.reshape(n, c, h // 2, 2, w // 2, 2).transpose(0, 1, 2, 4, 3, 5)
    flat = windows.reshape(n, c, h // 2, w // 2, 4)
    return flat.max(-1), flat.argmax(-1)


def unpooled(x: np.ndarray, places: np.ndarray) -> np.ndarray:
    out = np.zeros((*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3]))
    for n, c, row, column in np.ndindex(*x.shape):
        down, right = divmod(int(places[n, c, row, column]), 2)
        out[n, c, 2 * row + down, 2 * column + right] = x[n, c, row, column]
    return out


def expected_attention(module: SpatialAttention, x: np.ndarray, training: bool) -> np.ndarray:
    encoded = convolved(convolved(x, module.reduce), module.encode[0])
    encoded = normalised(encoded, module.encode[1], training)
    small, places = pooled(encoded)
    for conv, norm in ((0, 1), (3, 4)):
        small = normalised(convolved(small, module.middle[conv]), module.middle[norm], training)
    decoded = convolved(unpooled(small, places), module.decode[0])
    scores = convolved(normalised(decoded, module.decode[1], training), module.decode[3])
    axis = module.config.axis
    if axis == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-scores)))
    over, count = SUMS[axis]
    powers = np.exp(scores - scores.max(over, keepdims=True))
    share = count if module.config.rescale == "unit_mean" else 1
    return np.asarray(share * powers / powers.sum(over, keepdims=True))


@pytest.mark.parametrize(
    ("axis", "rescale", "training"), list(product(AXES, ("none", "unit_mean"), (True, False)))
)
def test_attention_equals_numpy(axis: str, rescale: str, training: bool) -> None:
    module = make(axis=axis, rescale=rescale, mix_weight=0.3).train(training)
    x = features()
    expected = expected_attention(module, x.numpy(), training)
    with torch.no_grad():
        assert module.attention(x).numpy() == pytest.approx(expected, rel=1e-9)
        mixed = x.numpy() + 0.3 * expected * x.numpy()
        assert module(x).numpy() == pytest.approx(mixed, rel=1e-9)


@pytest.mark.parametrize("axis", SUMS)
def test_a_softmax_sums_to_one_over_its_axis_alone(axis: str) -> None:
    with torch.no_grad():
        found = make(axis=axis).attention(features()).numpy()
    for name, (over, _) in SUMS.items():
        sums = found.sum(over)
        is_one = sums == pytest.approx(np.ones_like(sums), rel=1e-9)
        assert is_one == (name == axis)
    assert found.min() > 0


@pytest.mark.parametrize("axis", SUMS)
def test_unit_mean_brings_the_mean_to_one(axis: str) -> None:
    with torch.no_grad():
        found = make(axis=axis, rescale="unit_mean").attention(features()).numpy()
    means = found.mean(SUMS[axis][0])
    assert means == pytest.approx(np.ones_like(means), rel=1e-9)


def test_a_sigmoid_has_no_sum_and_is_not_rescaled() -> None:
    plain, rescaled = (make(axis="sigmoid", rescale=r) for r in ("none", "unit_mean"))
    with torch.no_grad():
        found = plain.attention(features())
        assert torch.equal(found, rescaled.attention(features()))
    assert 0 < found.min() < found.max() < 1


@pytest.mark.parametrize("weight", [0.05, 0.5, 3.0])
def test_the_mix_weight_scales_what_is_added(weight: float) -> None:
    module, x = make(mix_weight=weight), features()
    with torch.no_grad():
        added = (module(x) - x).numpy()
        expected = weight * module.attention(x).numpy() * x.numpy()
    assert added == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_a_mix_weight_of_zero_changes_nothing() -> None:
    with torch.no_grad():
        assert torch.equal(make(mix_weight=0)(features()), features())


def test_what_is_unpooled_lies_where_the_pooling_found_its_maxima() -> None:
    module = make()
    seen: dict[str, Tensor] = {}
    module.encode.register_forward_hook(lambda _m, _a, out: seen.__setitem__("encoded", out))
    module.middle.register_forward_hook(lambda _m, _a, out: seen.__setitem__("middle", out))
    module.decode.register_forward_pre_hook(lambda _m, args: seen.__setitem__("unpooled", args[0]))
    with torch.no_grad():
        module(features())
    encoded, middle, given = (seen[x].numpy() for x in ("encoded", "middle", "unpooled"))
    places = np.argwhere(given != 0)
    assert 0 < len(places) <= middle.size
    for n, c, row, column in places:
        top, left = row // 2 * 2, column // 2 * 2
        window = encoded[n, c, top : top + 2, left : left + 2]
        assert encoded[n, c, row, column] == window.max()
        assert given[n, c, row, column] == middle[n, c, row // 2, column // 2]
    # One place of every window, none lost.
    sums = given.reshape(3, 6, HEIGHT // 2, 2, WIDTH // 2, 2).sum((3, 5))
    assert sums == pytest.approx(middle, rel=1e-12)


@pytest.mark.parametrize("axis", AXES)
def test_gradient_equals_finite_differences(axis: str) -> None:
    module = make(axis=axis, rescale="unit_mean", mix_weight=0.5).eval()
    x = features(1)[:, :, :4].clone().requires_grad_(True)
    assert torch.autograd.gradcheck(module, (x,))


@pytest.mark.parametrize(("channels", "reduction"), [(64, 2), (64, 8), (256, 16), (17, 4)])
def test_parameters_by_hand(channels: int, reduction: int) -> None:
    c = channels // reduction
    expected = channels * c + c  # reduce
    expected += c * 2 * c * 9 + 2 * c + 2 * 2 * c  # encode
    expected += 2 * c * 4 * c * 9 + 4 * c + 2 * 4 * c  # middle, convolution
    expected += 4 * c * 2 * c * 9 + 2 * c + 2 * 2 * c  # middle, transposed
    expected += 2 * c * c * 9 + c + 2 * c + c * channels + channels  # decode
    module = make(channels, reduction=reduction)
    assert sum(p.numel() for p in module.parameters()) == expected


def test_a_reduction_that_leaves_no_channel_is_refused_in_one_line() -> None:
    with pytest.raises(UsageError) as caught:
        make(7, reduction=8)
    assert "generator.attention.reduction is 8" in str(caught.value)
    assert "7 channels" in str(caught.value)
    assert "\n" not in str(caught.value)
    make(8, reduction=8)
