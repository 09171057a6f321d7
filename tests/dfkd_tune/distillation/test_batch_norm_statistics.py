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
    return np.maximum(scaled * wide(bn.weight) + wide(bn.bias), 0)


def layer_distances(network: TwoLayers, images: np.ndarray, squared: bool) -> list[float]:
    first = convolve(images, network.conv1)
    second = convolve(normalise(first, network.bn1), network.conv2)
    result = []
    for x, bn in ((first, network.bn1), (second, network.bn2)):
        mean = x.mean((0, 2, 3))
        variance = ((x - mean[None, :, None, None]) ** 2).mean((0, 2, 3))
        parts = [
            ((mean - values(bn.running_mean)) ** 2).sum(),
            ((variance - values(bn.running_var)) ** 2).sum(),
        ]
        result.append(float(sum(parts if squared else np.sqrt(parts))))
    return result


@pytest.fixture
def network() -> TwoLayers:
    torch.manual_seed(0)
    made = TwoLayers()
    for parameter in made.parameters():
        nn.init.normal_(parameter, 0, 0.5)
    for bn in (made.bn1, made.bn2):
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
        return term.compute(term.settings(weight=1, **settings), step)

    return compute


@pytest.mark.parametrize("factor", [1.0, 3.5, 0.25])
@pytest.mark.parametrize("distance", ["l2", "l2_squared"])
def test_statistics_loss_equals_numpy(
    network: TwoLayers, images: Tensor, loss: Callable[..., Tensor], distance: str, factor: float
) -> None:
    first, second = layer_distances(network, images.double().numpy(), distance == "l2_squared")
    value = loss(network, images, distance=distance, first_layer_factor=factor)
    assert value.item() == pytest.approx(factor * first + second, rel=1e-5)


def test_variance_is_the_biased_one(
    network: TwoLayers, images: Tensor, loss: Callable[..., Tensor]
) -> None:
    """With one small image the biased and the unbiased variance lie far apart."""
    small = images[:1]
    first = convolve(small.double().numpy(), network.conv1)
    second = convolve(normalise(first, network.bn1), network.conv2)
    assert second[0, 0].size == 4  # a variance over 4 values: 3/4 of the unbiased one
    expected = sum(layer_distances(network, small.double().numpy(), squared=True))
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
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-4)
    assert images.grad is not None
    assert bool(torch.isfinite(images.grad).all())


def test_gradient_of_exactly_equal_statistics_is_finite() -> None:
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
    term.compute(term.settings(weight=1), step).backward()
    assert mean.grad is not None
    assert bool(torch.isfinite(mean.grad).all())


@pytest.mark.parametrize("distance", ["l2", "l2_squared"])
def test_gradient_of_the_images_equals_finite_differences_of_numpy(
    network: TwoLayers, images: Tensor, loss: Callable[..., Tensor], distance: str
) -> None:
    images.requires_grad_(True)
    loss(network, images, distance=distance).backward()
    assert images.grad is not None
    data = images.detach().double().numpy()
    for place in [(0, 0, 0, 0), (1, 1, 3, 2), (2, 0, 5, 4)]:
        ends = []
        for sign in (1, -1):
            moved = data.copy()
            moved[place] += sign * 1e-5
            ends.append(sum(layer_distances(network, moved, distance == "l2_squared")))
        slope = (ends[0] - ends[1]) / 2e-5
        assert images.grad[place].item() == pytest.approx(slope, rel=2e-3, abs=1e-5)
