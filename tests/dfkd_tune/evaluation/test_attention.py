"""Attention maps against an own computation, and their correlations against NumPy."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dfkd_tune.evaluation import AttentionMaps, attention_maps, map_correlations
from dfkd_tune.inputs import InputSpecification


def inputs(side: int) -> InputSpecification:
    return InputSpecification(
        channels=3, height=side, width=side, mean=(0.5,) * 3, std=(0.5,) * 3, num_classes=5
    )


class Halving(nn.Module):
    """Convolutions that halve the map each, then a mean over positions."""

    def __init__(self, halvings: int) -> None:
        super().__init__()
        torch.manual_seed(1)
        widths = [3, 6, 8, 10][: halvings + 1]
        self.convolutions = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1), nn.ReLU())
            for a, b in pairwise(widths)
        )
        self.norm = nn.BatchNorm2d(widths[-1])
        self.head = nn.Linear(widths[-1], 5)

    def forward(self, x: Tensor) -> Tensor:
        for convolution in self.convolutions:
            x = convolution(x)
        return self.head(self.norm(x).mean((2, 3)))


def images(count: int, side: int) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize(("side", "halvings", "expected"), [(16, 2, 1), (16, 3, 1), (8, 3, 0)])
def test_maps_equal_an_own_computation(side: int, halvings: int, expected: int) -> None:
    """Of the maps of 16, 8, 4, 2 positions the last with four counts; of 4, 2, 1 the one of 4."""
    network = Halving(halvings).train()
    x = images(3, side)
    found = attention_maps(network, x, inputs(side))
    assert found is not None
    feature = x
    for place in range(expected + 1):
        feature = network.convolutions[place](feature)
    if expected == halvings - 1:
        network.eval()
        feature = network.norm(feature)
        network.train()
    wanted = (feature.detach().numpy().astype(np.float64) ** 2).sum(1)
    assert found.size == wanted.shape[1:] == (4, 4)
    assert np.allclose(found.maps.numpy(), wanted, rtol=1e-5)
    assert network.training, "its mode is given back"
    assert not any(module._forward_hooks for module in network.modules()), "no hook is left"


def test_without_a_map_of_four_the_largest_counts() -> None:
    found = attention_maps(Halving(2), images(1, 4), inputs(4))
    assert found is not None
    assert found.size == (2, 2)


def test_named_stages_are_used() -> None:
    network = Halving(3)
    found = attention_maps(network, images(1, 32), inputs(32), ("convolutions.0", "convolutions.1"))
    assert found is not None
    assert (found.stage, found.size) == ("convolutions.1", (8, 8))


def test_a_network_without_feature_maps_has_none() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5))
    assert attention_maps(network, images(2, 8), inputs(8)) is None


def test_enlarged_maps_lie_where_they_were() -> None:
    maps = torch.zeros(1, 4, 4)
    maps[0, 1, 2] = 1
    large = AttentionMaps(stage="x", maps=maps).enlarged(16, 8)
    assert large.shape == (1, 16, 8)
    expected = functional.interpolate(maps[None], (16, 8), mode="bilinear", align_corners=False)
    assert torch.equal(large, expected[0])
    row, column = divmod(int(large.argmax()), 8)
    assert (row // 4, column // 2) == (1, 2)


def test_correlations_equal_numpy() -> None:
    a, b = np.random.default_rng(5).random((2, 4, 6, 7))
    found = map_correlations(torch.tensor(a), torch.tensor(b))
    for place, value in enumerate(found):
        wanted = np.corrcoef(a[place].ravel(), b[place].ravel())[0, 1]
        assert value == pytest.approx(wanted, abs=1e-12)
    assert map_correlations(torch.tensor(a), 3 * torch.tensor(a) + 2) == [pytest.approx(1)] * 4
    assert map_correlations(torch.tensor(a), -torch.tensor(a)) == [pytest.approx(-1)] * 4


def test_a_flat_map_has_no_correlation() -> None:
    flat = torch.full((2, 9, 9), 0.1)
    other = torch.rand(2, 9, 9, generator=torch.Generator().manual_seed(0))
    assert map_correlations(flat, other) == [None, None]
    assert map_correlations(other, torch.zeros(2, 9, 9)) == [None, None]
