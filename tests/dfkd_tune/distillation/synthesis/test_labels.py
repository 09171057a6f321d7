"""Which classes are asked for, and how distributions around them look (ZSKD)."""

from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dfkd_tune.distillation.synthesis._labels import Labels, class_similarity

CLASSES = 4
WEIGHTS = np.array([[3.0, 0, 0], [2, 1, 0], [0, -1, 1], [-1, 0.5, -2]])


def head() -> nn.Linear:
    layer = nn.Linear(3, CLASSES)
    layer.weight.data.copy_(torch.tensor(WEIGHTS))
    return layer


def similarity() -> NDArray[np.float64]:
    """ZSKD, eq. 2 and section 3.2, written out."""
    found = np.zeros((CLASSES, CLASSES))
    for i, a in enumerate(WEIGHTS):
        for j, b in enumerate(WEIGHTS):
            found[i, j] = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
        found[i] = (found[i] - found[i].min()) / (found[i].max() - found[i].min())
    return found


def make(
    sampling: Literal["uniform", "balanced", "dirichlet"], seed: int = 0, classes: int = CLASSES
) -> Labels:
    return Labels(sampling, classes, head(), torch.Generator().manual_seed(seed))


def targets_of(labels: Labels, count: int) -> tuple[Tensor, Tensor]:
    drawn, targets = labels.draw(count)
    assert targets is not None
    return drawn, targets


def test_similarity_is_the_cosine_of_the_last_weights_scaled_row_by_row() -> None:
    found = class_similarity(head())
    assert not found.requires_grad
    assert found.numpy() == pytest.approx(similarity(), abs=1e-6)
    assert found.diagonal().tolist() == pytest.approx([1] * CLASSES)
    assert found.amin(1).tolist() == [0] * CLASSES


def test_similarity_of_equal_classes_is_finite() -> None:
    layer = nn.Linear(3, 2)
    nn.init.ones_(layer.weight)
    assert bool(torch.isfinite(class_similarity(layer)).all())


def test_targets_are_distributions_over_the_classes() -> None:
    labels, targets = targets_of(make("dirichlet"), 500)
    assert labels.shape == (500,)
    assert targets.shape == (500, CLASSES)
    assert targets.dtype == torch.float32
    assert bool((targets >= 0).all())
    assert targets.sum(1).numpy() == pytest.approx(np.ones(500), abs=1e-5)


def test_targets_have_mean_and_spread_of_their_labels_concentration() -> None:
    """Half of them with each scale, 1 and 0.1: the mean is one, the spread that of the mixture."""
    labels, targets = targets_of(make("dirichlet"), 40_000)
    for label in range(CLASSES):
        of = targets[labels == label].double().numpy()
        row = similarity()[label]
        mean = row / row.sum()
        spread = mean * (1 - mean)
        variance = (spread / (row.sum() + 1) + spread / (0.1 * row.sum() + 1)) / 2
        assert of.mean(0) == pytest.approx(mean, abs=0.015)
        assert of.var(0) == pytest.approx(variance, abs=0.01)
        # The label is the class that is wanted most.
        assert of.mean(0).argmax() == label


@pytest.mark.parametrize("sampling", ["balanced", "dirichlet"])
@pytest.mark.parametrize(("count", "spread"), [(8, 0), (10, 1), (3, 1)])
def test_every_class_is_asked_for_equally_often(
    sampling: Literal["balanced", "dirichlet"], count: int, spread: int
) -> None:
    labels = make(sampling)
    for _ in range(10):
        counts = torch.bincount(labels.draw(count)[0], minlength=CLASSES)
        assert counts.sum() == count
        assert counts.max() - counts.min() == spread


def test_uniform_labels_are_independent() -> None:
    drawn, targets = make("uniform").draw(20_000)
    assert targets is None
    assert torch.bincount(drawn).div(20_000).tolist() == pytest.approx([0.25] * 4, abs=0.02)
    pairs = torch.bincount(4 * drawn[:-1] + drawn[1:], minlength=16).div(19_999)
    assert pairs.tolist() == pytest.approx([1 / 16] * 16, abs=0.01)


def test_balanced_labels_come_without_distributions() -> None:
    assert make("balanced").draw(8)[1] is None


@pytest.mark.parametrize("sampling", ["uniform", "balanced", "dirichlet"])
def test_draws_are_of_the_source_alone_and_leave_the_global_random_state_as_it_was(
    sampling: Literal["uniform", "balanced", "dirichlet"],
) -> None:
    labels = make(sampling, seed=1)
    before = torch.get_rng_state()
    first = labels.draw(50)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    torch.rand(7)
    again, other = make(sampling, seed=1).draw(50), make(sampling, seed=2).draw(50)
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])
    if first[1] is not None:
        assert again[1] is not None
        assert other[1] is not None
        assert torch.equal(first[1], again[1])
        assert not torch.equal(first[1], other[1])


def test_one_source_draws_other_targets_the_second_time() -> None:
    labels = make("dirichlet")
    first, second = targets_of(labels, 20)[1], targets_of(labels, 20)[1]
    assert not torch.equal(first.sort(0).values, second.sort(0).values)


def test_distributions_need_a_linear_last_layer() -> None:
    source = torch.Generator()
    with pytest.raises(TypeError, match="must be linear"):
        Labels("dirichlet", 4, nn.Conv2d(3, 4, 1), source)
    Labels("balanced", 4, nn.Conv2d(3, 4, 1), source)
