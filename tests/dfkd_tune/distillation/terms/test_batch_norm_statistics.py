"""The BatchNorm term against a network computed by hand in NumPy."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dfkd_tune.classifiers import BatchStatistics, ForwardPass, TappedNetwork
from dfkd_tune.distillation import GENERATOR_TERMS, Step
from dfkd_tune.inputs import InputSpecification

INPUTS = InputSpecification(
    channels=2, height=6, width=5, mean=(0.0, 0.0), std=(1.0, 1.0), num_classes=3
)


class TwoLayers(nn.Module):
    """Convolution, BatchNorm, ReLU, strided convolution, BatchNorm, mean, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 3, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(3)
        self.conv2 = nn.Conv2d(3, 4, 3, stride=2)
        self.bn2 = nn.BatchNorm2d(4)
        self.classifier = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        logits: Tensor = self.classifier(x.mean(dim=(2, 3)))
        return logits


def values(tensor: Tensor | None) -> np.ndarray:
    assert tensor is not None
    return tensor.detach().double().numpy()


def convolve(x: np.ndarray, conv: nn.Conv2d) -> np.ndarray:
    """Convolution by explicit loops over positions."""
    assert conv.bias is not None
    weight, bias = values(conv.weight), values(conv.bias)
    pad, stride = int(conv.padding[0]), conv.stride[0]
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    height, width = ((side - 3) // stride + 1 for side in x.shape[2:])
    out = np.empty((len(x), len(weight), height, width))
    for row in range(height):
        for column in range(width):
            top, left = row * stride, column * stride
            patch = x[:, :, top : top + 3, left : left + 3]
            out[:, :, row, column] = np.einsum("nchw,ochw->no", patch, weight) + bias
    return out


def normalise(x: np.ndarray, bn: nn.BatchNorm2d) -> np.ndarray:
    def wide(tensor: Tensor | None) -> np.ndarray:
        return values(tensor)[None, :, None, None]

    scaled = (x - wide(bn.running_mean)) / np.sqrt(wide(bn.running_var) + bn.eps)
    return np.asarray(np.maximum(scaled * wide(bn.weight) + wide(bn.bias), 0))


def distance(kind: str, x: np.ndarray, bn: nn.BatchNorm2d) -> float:
    """The distance at one layer, of the statistics of what it is given."""
    mean = x.mean((0, 2, 3))
    variance = ((x - mean[None, :, None, None]) ** 2).mean((0, 2, 3))
    squares = [(mean - values(bn.running_mean)) ** 2, (variance - values(bn.running_var)) ** 2]
    if kind == "normalised":
        own = values(bn.running_var) + 1e-5
        return float(np.sqrt((squares[0] / own).mean()) + np.sqrt((squares[1] / own**2).mean()))
    parts = [part.sum() for part in squares]
    return float(sum(parts if kind == "l2_squared" else np.sqrt(parts)))


def layer_distances(network: TwoLayers, images: np.ndarray, kind: str) -> list[float]:
    first = convolve(images, network.conv1)
    second = convolve(normalise(first, network.bn1), network.conv2)
    return [distance(kind, first, network.bn1), distance(kind, second, network.bn2)]


@pytest.fixture
def network() -> TwoLayers:
    torch.manual_seed(0)
    made = TwoLayers()
    for parameter in made.parameters():
        nn.init.normal_(parameter, 0, 0.5)
    for bn in (made.bn1, made.bn2):
        assert bn.running_mean is not None
        assert bn.running_var is not None
        nn.init.normal_(bn.running_mean)
        nn.init.uniform_(bn.running_var, 0.5, 2)
    return made.eval().requires_grad_(False)


@pytest.fixture
def images() -> Tensor:
    return torch.tensor(np.random.default_rng(1).normal(0, 1, (3, 2, 6, 5)), dtype=torch.float32)


@pytest.fixture
def loss() -> Callable[..., Tensor]:
    """The term on a network and images, read by taps as the loop does."""

    def compute(network: nn.Module, images: Tensor, **settings: object) -> Tensor:
        taps = TappedNetwork(network, INPUTS)
        step = Step(
            images=images,
            labels=torch.zeros(len(images), dtype=torch.int64),
            teacher=taps(images, statistics=True),
            student=None,
        )
        taps.remove()
        term = GENERATOR_TERMS["bn_statistics"]
        return torch.as_tensor(term.build(term.settings(weight=1, **settings), None)(step))

    return compute


@pytest.mark.parametrize("factor", [1.0, 3.5, 0.25])
@pytest.mark.parametrize("kind", ["l2", "l2_squared", "normalised"])
def test_statistics_loss_equals_numpy(
    network: TwoLayers, images: Tensor, loss: Callable[..., Tensor], kind: str, factor: float
) -> None:
    first, second = layer_distances(network, images.double().numpy(), kind)
    expected = factor * first + second
    if kind == "normalised":
        expected /= 2
    value = loss(network, images, distance=kind, first_layer_factor=factor)
    assert value.item() == pytest.approx(expected, rel=1e-5)


def test_variance_is_the_biased_one(
    network: TwoLayers, images: Tensor, loss: Callable[..., Tensor]
) -> None:
    """With one small image the biased and the unbiased variance lie far apart."""
    small = images[:1]
    first = convolve(small.double().numpy(), network.conv1)
    second = convolve(normalise(first, network.bn1), network.conv2)
    assert second[0, 0].size == 4  # a variance over 4 values: 3/4 of the unbiased one
    expected = sum(layer_distances(network, small.double().numpy(), "l2_squared"))
    assert loss(network, small, distance="l2_squared").item() == pytest.approx(expected, rel=1e-5)


def test_loss_does_not_depend_on_the_order_of_the_batch(
    network: TwoLayers, images: Tensor, loss: Callable[..., Tensor]
) -> None:
    before = loss(network, images).item()
    assert loss(network, images[[2, 0, 1]]).item() == pytest.approx(before, rel=1e-5)


def test_loss_is_zero_with_finite_gradient_where_statistics_agree(
    network: TwoLayers, images: Tensor, loss: Callable[..., Tensor]
) -> None:
    data = images.double().numpy()
    for bn in (network.bn1, network.bn2):
        first = convolve(data, network.conv1)
        x = first if bn is network.bn1 else convolve(normalise(first, network.bn1), network.conv2)
        bn.running_mean = torch.tensor(x.mean((0, 2, 3)), dtype=torch.float32)
        bn.running_var = torch.tensor(x.var((0, 2, 3)), dtype=torch.float32)
    images.requires_grad_(True)
    value = loss(network, images)
    torch.autograd.backward(value)
    assert value.item() == pytest.approx(0, abs=1e-4)
    assert images.grad is not None
    assert bool(torch.isfinite(images.grad).all())


@pytest.mark.parametrize("kind", ["l2", "l2_squared", "normalised"])
def test_gradient_of_exactly_equal_statistics_is_finite(kind: str) -> None:
    mean = torch.zeros(3, requires_grad=True)
    layer = BatchStatistics(
        mean=mean,
        variance=mean + 1,
        running_mean=torch.zeros(3),
        running_variance=torch.ones(3),
    )
    step = Step(
        images=torch.zeros(2, 1, 1, 1),
        labels=torch.zeros(2, dtype=torch.int64),
        teacher=ForwardPass(logits=torch.zeros(2, 2), statistics=(layer,)),
        student=None,
    )
    term = GENERATOR_TERMS["bn_statistics"]
    settings = term.settings.model_validate({"weight": 1, "distance": kind})
    torch.autograd.backward(term.build(settings, None)(step))
    assert mean.grad is not None
    assert bool(torch.isfinite(mean.grad).all())


@pytest.mark.parametrize("kind", ["l2", "l2_squared", "normalised"])
def test_gradient_of_the_images_equals_finite_differences_of_numpy(
    network: TwoLayers, images: Tensor, loss: Callable[..., Tensor], kind: str
) -> None:
    images.requires_grad_(True)
    torch.autograd.backward(loss(network, images, distance=kind))
    assert images.grad is not None
    data = images.detach().double().numpy()
    for place in [(0, 0, 0, 0), (1, 1, 3, 2), (2, 0, 5, 4)]:
        ends = []
        for sign in (1, -1):
            moved = data.copy()
            moved[place] += sign * 1e-5
            ends.append(sum(layer_distances(network, moved, kind)))
        slope = (ends[0] - ends[1]) / 2e-5 / (2 if kind == "normalised" else 1)
        assert images.grad[place].item() == pytest.approx(slope, rel=2e-3, abs=1e-5)
