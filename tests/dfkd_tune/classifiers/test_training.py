"""Training on labelled images: deterministic, able to learn, and gentle in its shifts."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from dfkd_tune.classifiers import NetworkConfig, TrainingRecipe, build_classifier, train_classifier
from dfkd_tune.classifiers._training import _augment
from dfkd_tune.inputs import InputSpecification

CPU = torch.device("cpu")


def toy(count: int = 96) -> tuple[Tensor, Tensor]:
    """Bright rows: the class is the quarter of the image that is lit."""
    numbers = np.random.default_rng(0)
    labels = np.arange(count) % 4
    images = numbers.normal(0, 0.2, (count, 1, 8, 8))
    for index, label in enumerate(labels):
        images[index, 0, 2 * label : 2 * label + 2] += 1.5
    return torch.tensor(images, dtype=torch.float32), torch.tensor(labels)


@pytest.fixture
def network() -> Callable[[], nn.Module]:
    inputs = InputSpecification(channels=1, height=8, width=8, mean=(0,), std=(1,), num_classes=4)
    config = NetworkConfig(architecture="convnet", width=0.1)
    return lambda: build_classifier(config, inputs, 0)


def trained(network: nn.Module, **settings: Any) -> tuple[nn.Module, list[tuple[int, float]]]:
    recipe = TrainingRecipe.model_validate(
        {"epochs": 3, "batch_size": 16, "learning_rate": 0.05, **settings}
    )
    told: list[tuple[int, float]] = []
    train_classifier(
        network, *toy(), recipe, device=CPU, progress=lambda e, loss: told.append((e, loss))
    )
    return network, told


def test_training_learns_a_separable_problem(network: Callable[[], nn.Module]) -> None:
    student, told = trained(network(), epochs=12)
    images, labels = toy(40)
    with torch.no_grad():
        accuracy = (student(images).argmax(1) == labels).float().mean()
    assert accuracy >= 0.95
    assert [epoch for epoch, _ in told] == list(range(1, 13))
    assert told[-1][1] < 0.5 * told[0][1]
    assert not student.training


def test_training_is_deterministic_whatever_the_global_random_state(
    network: Callable[[], nn.Module],
) -> None:
    settings = {"crop_padding": 1, "flip": True}
    torch.manual_seed(1)
    first, told = trained(network(), **settings)
    torch.manual_seed(2)
    second, again = trained(network(), **settings)
    assert told == again
    left, right = first.state_dict(), second.state_dict()
    assert all(torch.equal(value, right[name]) for name, value in left.items())


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"crop_padding": 1}, {"flip": True}, {"momentum": 0.0}], ids=str
)
def test_every_part_of_the_recipe_has_an_effect(
    network: Callable[[], nn.Module], change: dict[str, Any]
) -> None:
    assert trained(network())[1] != trained(network(), **change)[1]


def test_training_leaves_the_images_alone_and_the_global_random_state_too(
    network: Callable[[], nn.Module],
) -> None:
    images, labels = toy()
    kept, random = images.clone(), torch.get_rng_state()
    recipe = TrainingRecipe(epochs=1, batch_size=16, crop_padding=2, flip=True)
    train_classifier(network(), images, labels, recipe, device=CPU)
    assert torch.equal(images, kept)
    assert torch.equal(torch.get_rng_state(), random)


def test_fewer_images_than_a_batch_are_one_batch(network: Callable[[], nn.Module]) -> None:
    told: list[float] = []
    recipe = TrainingRecipe(epochs=2, batch_size=500)
    train_classifier(
        network(), *toy(12), recipe, device=CPU, progress=lambda _e, loss: told.append(loss)
    )
    assert len(told) == 2


@pytest.mark.parametrize("pad", [1, 2])
def test_shifts_are_whole_images_moved_by_at_most_the_padding(pad: int) -> None:
    numbers = np.random.default_rng(1)
    images = numbers.uniform(0.5, 1, (200, 2, 5, 6)).astype(np.float32)
    images[0, 0, 0, 0] = 0.25  # the darkest: what the border is filled with
    recipe = TrainingRecipe(crop_padding=pad)
    source = torch.Generator().manual_seed(0)
    found = _augment(torch.tensor(images), recipe, source).numpy()
    assert found.shape == images.shape
    padded = np.pad(
        images, ((0, 0), (0, 0), (pad, pad), (pad, pad)), constant_values=np.float32(0.25)
    )
    shifts = []
    for index in range(len(images)):
        matches = [
            (top, left)
            for top in range(2 * pad + 1)
            for left in range(2 * pad + 1)
            if np.array_equal(found[index], padded[index, :, top : top + 5, left : left + 6])
        ]
        assert matches, f"image {index} is no shift of itself"
        shifts.append(matches[0])
    assert set(shifts) == {(t, s) for t in range(2 * pad + 1) for s in range(2 * pad + 1)}


def test_flips_mirror_about_half_of_the_images_left_to_right() -> None:
    images = np.random.default_rng(2).uniform(0, 1, (400, 1, 3, 4)).astype(np.float32)
    source = torch.Generator().manual_seed(0)
    found = _augment(torch.tensor(images), TrainingRecipe(flip=True), source).numpy()
    mirrored = images[:, :, :, ::-1]
    flipped = [np.array_equal(a, b) for a, b in zip(found, mirrored, strict=True)]
    kept = [np.array_equal(a, b) for a, b in zip(found, images, strict=True)]
    assert all(f != k for f, k in zip(flipped, kept, strict=True))
    assert 150 < sum(flipped) < 250  # five standard deviations


def test_without_padding_and_flip_nothing_changes_and_nothing_is_drawn() -> None:
    images = toy()[0]
    source = torch.Generator().manual_seed(0)
    before = source.get_state()
    assert torch.equal(_augment(images, TrainingRecipe(), source), images)
    assert torch.equal(source.get_state(), before)


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"batch_size": 1}, {"learning_rate": 0}, {"crop": 1}], ids=str
)
def test_wrong_recipes_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TrainingRecipe.model_validate(wrong)
