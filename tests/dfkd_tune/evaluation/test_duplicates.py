"""Nearest other vectors against NumPy, pair by pair, and with duplicates that were planted."""

import numpy as np
import pytest
import torch
from torch import nn

from dfkd_tune.evaluation import nearest_others, penultimate_features
from dfkd_tune.inputs import InputSpecification

INPUTS = InputSpecification(channels=1, height=8, width=8, mean=(0.5,), std=(0.5,), num_classes=4)


def test_distances_equal_numpy() -> None:
    x = np.random.default_rng(2).normal(size=(30, 7))
    distances, nearest = nearest_others(torch.tensor(x))
    for i in range(30):
        to_others = [
            2.0 if i == j else 1 - x[i] @ x[j] / np.sqrt((x[i] @ x[i]) * (x[j] @ x[j]))
            for j in range(30)
        ]
        assert distances[i].item() == pytest.approx(min(to_others), abs=1e-12)
        assert nearest[i].item() == int(np.argmin(to_others))


def test_planted_duplicates_are_found() -> None:
    x = torch.randn(20, 50, generator=torch.Generator().manual_seed(6))
    x[13] = 2.5 * x[4]
    distances, nearest = nearest_others(x)
    assert {int(i) for i in torch.where(distances < 0.01)[0]} == {4, 13}
    assert (int(nearest[4]), int(nearest[13])) == (13, 4)
    assert distances.min() >= 0


def test_a_vector_of_zeros_is_near_to_none() -> None:
    distances, _ = nearest_others(torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.1]]))
    assert distances[0] == 1


def test_features_are_what_enters_the_last_layer() -> None:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    head = nn.Linear(6, 4)
    x = torch.randn(2000, 1, 8, 8)
    vectors, logits = penultimate_features(nn.Sequential(body, head), x, INPUTS)
    assert torch.allclose(vectors, body(x), atol=1e-6)
    assert torch.allclose(logits, head(body(x)), atol=1e-6)
