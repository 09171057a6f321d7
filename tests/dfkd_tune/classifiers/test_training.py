"""Training on labelled images: deterministic, able to learn, and gentle in its shifts."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from dfkd_tune.classifiers import (
    NetworkConfig,
    TrainingRecipe,
    build_classifier,
    to_input,
    train_classifier,
)
from dfkd_tune.classifiers._training import _augment, scheduled_rate
from dfkd_tune.errors import CheckpointError, DivergedError
from dfkd_tune.inputs import InputSpecification

CPU = torch.device("cpu")


def toy(count: int = 96) -> tuple[Tensor, Tensor]:
    """Bright rows: the class is the quarter of the image that is lit."""
    numbers = np.random.default_rng(0)
    labels = np.arange(count) % 4
    images = numbers.normal(40, 20, (count, 1, 8, 8))
    for index, label in enumerate(labels):
        images[index, 0, 2 * label : 2 * label + 2] += 150
    return torch.tensor(images.clip(0, 255).astype(np.uint8)), torch.tensor(labels)


INPUTS = InputSpecification(channels=1, height=8, width=8, mean=(0.2,), std=(0.3,), num_classes=4)


def neutral(height: int, width: int, channels: int = 1) -> InputSpecification:
    """An input whose normalisation divides by 255 alone."""
    return InputSpecification(
        channels=channels,
        height=height,
        width=width,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        num_classes=2,
    )


@pytest.fixture
def network() -> Callable[[], nn.Module]:
    config = NetworkConfig(architecture="convnet", width=0.1)
    return lambda: build_classifier(config, INPUTS, 0)


def trained(network: nn.Module, **settings: Any) -> tuple[nn.Module, list[tuple[int, float]]]:
    recipe = TrainingRecipe.model_validate(
        {"epochs": 3, "batch_size": 16, "learning_rate": 0.05, **settings}
    )
    told: list[tuple[int, float]] = []
    train_classifier(
        network,
        *toy(),
        recipe,
        INPUTS,
        device=CPU,
        report=lambda p: told.append((p.epoch, p.loss)),
    )
    return network, told


def test_training_learns_a_separable_problem(network: Callable[[], nn.Module]) -> None:
    student, told = trained(network(), epochs=12)
    images, labels = toy(40)
    with torch.no_grad():
        accuracy = (student(to_input(images, INPUTS)).argmax(1) == labels).float().mean()
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
    train_classifier(network(), images, labels, recipe, INPUTS, device=CPU)
    assert torch.equal(images, kept)
    assert torch.equal(torch.get_rng_state(), random)


def test_fewer_images_than_a_batch_are_one_batch(network: Callable[[], nn.Module]) -> None:
    told: list[float] = []
    recipe = TrainingRecipe(epochs=2, batch_size=500)
    train_classifier(
        network(), *toy(12), recipe, INPUTS, device=CPU, report=lambda p: told.append(p.loss)
    )
    assert len(told) == 2


@pytest.mark.parametrize("pad", [1, 2])
def test_shifts_are_whole_images_moved_by_at_most_the_padding(pad: int) -> None:
    images = np.random.default_rng(1).integers(1, 256, (200, 2, 5, 6)).astype(np.uint8)
    source = torch.Generator().manual_seed(0)
    recipe = TrainingRecipe(crop_padding=pad)
    found = _augment(torch.tensor(images), recipe, neutral(5, 6, 2), source).numpy() * 255
    assert found.shape == images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    shifts = []
    for index in range(len(images)):
        matches = [
            (top, left)
            for top in range(2 * pad + 1)
            for left in range(2 * pad + 1)
            if np.allclose(found[index], padded[index, :, top : top + 5, left : left + 6])
        ]
        assert matches, f"image {index} is no shift of itself"
        shifts.append(matches[0])
    assert set(shifts) == {(t, s) for t in range(2 * pad + 1) for s in range(2 * pad + 1)}


def test_crops_of_larger_images_are_windows_of_them() -> None:
    images = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8).repeat(100, 1, 1, 1)
    source = torch.Generator().manual_seed(0)
    found = _augment(images, TrainingRecipe(), neutral(6, 5), source) * 255
    corners = {(int(value) // 8, int(value) % 8) for value in found[:, 0, 0, 0].round()}
    assert corners == {(row, column) for row in range(3) for column in range(4)}
    assert torch.allclose(found[:, 0, 5, 4] - found[:, 0, 0, 0], torch.tensor(44.0), atol=1e-3)


def test_resized_crops_keep_a_constant_image_and_range() -> None:
    source = torch.Generator().manual_seed(0)
    recipe = TrainingRecipe(resized_crop=0.2)
    grey = torch.full((8, 1, 12, 12), 51, dtype=torch.uint8)
    found = _augment(grey, recipe, neutral(6, 6), source)
    assert found.shape == (8, 1, 6, 6)
    assert torch.allclose(found, torch.tensor(0.2), atol=1e-6)
    ramp = torch.arange(12, dtype=torch.uint8).mul(20).expand(300, 1, 12, 12)
    seen = _augment(ramp, recipe, neutral(6, 6), source)
    slopes = (seen[:, 0, :, -1] - seen[:, 0, :, 0]).mean(1) * 255 / 20
    # A window of the whole width spans 10 of the 11 steps between the middles of its columns.
    assert slopes.max() <= 10.01
    assert slopes.min() >= 10 * np.sqrt(0.2 * 3 / 4) - 0.3
    assert slopes.std() > 1


def test_flips_mirror_about_half_of_the_images_left_to_right() -> None:
    images = np.random.default_rng(2).integers(0, 256, (400, 1, 3, 4)).astype(np.uint8)
    source = torch.Generator().manual_seed(0)
    recipe = TrainingRecipe(flip=True)
    found = _augment(torch.tensor(images), recipe, neutral(3, 4), source).numpy() * 255
    mirrored = images[:, :, :, ::-1]
    flipped = [np.allclose(a, b) for a, b in zip(found, mirrored, strict=True)]
    kept = [np.allclose(a, b) for a, b in zip(found, images, strict=True)]
    assert all(f != k for f, k in zip(flipped, kept, strict=True))
    assert 150 < sum(flipped) < 250  # five standard deviations


def test_without_padding_and_flip_images_are_normalised_and_nothing_is_drawn() -> None:
    images = toy()[0]
    source = torch.Generator().manual_seed(0)
    before = source.get_state()
    found = _augment(images, TrainingRecipe(), INPUTS, source)
    assert torch.allclose(found, (images.float() / 255 - 0.2) / 0.3)
    assert torch.equal(source.get_state(), before)


@pytest.mark.parametrize("dropout", [False, True])
def test_training_that_goes_on_from_a_state_ends_in_the_same_weights(
    network: Callable[[], nn.Module], dropout: bool
) -> None:
    def made() -> nn.Module:
        return nn.Sequential(nn.Dropout(0.2), network()) if dropout else network()

    recipe = TrainingRecipe(epochs=5, batch_size=16, crop_padding=1, flip=True)
    states: dict[int, Any] = {}
    whole = made()
    train_classifier(
        whole,
        *toy(),
        recipe,
        INPUTS,
        device=CPU,
        report=lambda p: states.update({p.epoch: p.state()}),
    )
    resumed, told = made(), []
    train_classifier(
        resumed,
        *toy(),
        recipe,
        INPUTS,
        device=CPU,
        report=lambda p: told.append(p.epoch),
        restore=states[3],
    )
    assert told == [4, 5]
    left, right = whole.state_dict(), resumed.state_dict()
    assert all(torch.equal(value, right[name]) for name, value in left.items())


def test_a_state_of_another_network_is_an_error(network: Callable[[], nn.Module]) -> None:
    states: list[Any] = []
    recipe = TrainingRecipe(epochs=2, batch_size=16)
    train_classifier(
        network(), *toy(), recipe, INPUTS, device=CPU, report=lambda p: states.append(p.state())
    )
    other = build_classifier(NetworkConfig(architecture="convnet", width=0.2), INPUTS, 0)
    with pytest.raises(CheckpointError, match="does not fit the recipe"):
        train_classifier(other, *toy(), recipe, INPUTS, device=CPU, restore=states[0])


def test_a_training_that_diverges_says_so(network: Callable[[], nn.Module]) -> None:
    recipe = TrainingRecipe(epochs=3, batch_size=16, learning_rate=1e30)
    with pytest.raises(DivergedError, match="the classifier's loss"):
        train_classifier(network(), *toy(), recipe, INPUTS, device=CPU)


@pytest.mark.parametrize("total", [10, 137, 1000])
def test_the_one_cycle_schedule_is_pytorchs(total: int) -> None:
    recipe = TrainingRecipe(learning_rate=0.3)
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=0.3, total_steps=total, cycle_momentum=False
    )
    for step in range(total):
        expected = optimiser.param_groups[0]["lr"]
        assert scheduled_rate(recipe, step, total) == pytest.approx(expected, rel=1e-9)
        optimiser.step()
        if step < total - 1:
            schedule.step()


def test_the_other_schedules() -> None:
    cosine = TrainingRecipe(learning_rate=0.2, schedule="cosine")
    assert [scheduled_rate(cosine, s, 4) for s in (0, 2)] == pytest.approx([0.2, 0.1])
    step = TrainingRecipe(learning_rate=0.2, schedule="step")
    rates = [scheduled_rate(step, s, 9) for s in (0, 2, 3, 5, 6, 8)]
    assert rates == pytest.approx([0.2, 0.2, 0.02, 0.02, 0.002, 0.002])


def test_bfloat16_and_channels_last_learn_too(network: Callable[[], nn.Module]) -> None:
    student, told = trained(network(), epochs=12, precision="bfloat16", channels_last=True)
    assert told[-1][1] < 0.5 * told[0][1]
    assert next(student.parameters()).dtype == torch.float32


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"batch_size": 1}, {"learning_rate": 0}, {"crop": 1}], ids=str
)
def test_wrong_recipes_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TrainingRecipe.model_validate(wrong)
