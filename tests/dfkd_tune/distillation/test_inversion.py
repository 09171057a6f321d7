"""Images inverted from a teacher: what it sees in them, and that nothing else is touched."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dfkd_tune.benchmarks import get_benchmark
from dfkd_tune.classifiers import (
    NetworkConfig,
    TrainingRecipe,
    build_classifier,
    train_classifier,
)
from dfkd_tune.distillation import InversionConfig, invert
from dfkd_tune.inputs import InputSpecification

CPU = torch.device("cpu")
SMALL = InversionConfig(images=20, steps=5)


@pytest.fixture(scope="module")
def digits() -> InputSpecification:
    return get_benchmark("digits").inputs


@pytest.fixture(scope="module")
def trained(digits: InputSpecification) -> nn.Module:
    """A teacher that knows the digits."""
    torch.set_num_threads(1)
    data = get_benchmark("digits").load("train")
    network = build_classifier(NetworkConfig(architecture="convnet", width=0.25), digits, 0)
    recipe = TrainingRecipe(epochs=5, batch_size=64)
    train_classifier(network, data.images, data.labels, recipe, digits, device=CPU)
    return network.eval().requires_grad_(False)


def right(teacher: nn.Module, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return float((teacher(images).argmax(1) == labels).double().mean())


def loss(teacher: nn.Module, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return float(nn.functional.cross_entropy(teacher(images), labels))


def test_the_teacher_sees_what_was_asked(trained: nn.Module, digits: InputSpecification) -> None:
    made = {
        steps: invert(trained, digits, InversionConfig(images=50, steps=steps), device=CPU)
        for steps in (1, 100)
    }
    noise, _ = made[1]
    images, labels = made[100]
    assert labels.tolist() == [index % 10 for index in range(50)]
    assert right(trained, noise, labels) < 0.5, "the noise it begins with says nothing"
    assert right(trained, images, labels) > 0.9
    assert loss(trained, images, labels) < loss(trained, noise, labels) / 4


def test_images_stay_in_the_range_of_real_pixels(
    trained: nn.Module, digits: InputSpecification
) -> None:
    images, _ = invert(trained, digits, InversionConfig(images=20, steps=30), device=CPU)
    assert images.shape == (20, *digits.shape)
    assert not images.requires_grad
    mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (digits.mean, digits.std))
    pixels = images * std + mean
    assert pixels.min() >= -1e-6
    assert pixels.max() <= 1 + 1e-6


def test_each_channel_has_its_own_range(teacher: nn.Module, inputs: InputSpecification) -> None:
    images, labels = invert(teacher, inputs, InversionConfig(images=7, steps=3), device=CPU)
    assert images.shape == (7, 2, 8, 4)
    assert labels.tolist() == [0, 1, 2, 3, 0, 1, 2]
    for channel in range(2):
        pixels = images[:, channel] * inputs.std[channel] + inputs.mean[channel]
        assert pixels.min() == pytest.approx(0, abs=1e-6)
        assert pixels.max() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("jitter", [0, 2])
def test_a_seed_decides_everything(
    teacher: nn.Module, inputs: InputSpecification, jitter: int
) -> None:
    config = SMALL.model_copy(update={"jitter": jitter})
    torch.manual_seed(1)
    first, _ = invert(teacher, inputs, config, device=CPU)
    torch.manual_seed(2)
    second, _ = invert(teacher, inputs, config, device=CPU)
    other, _ = invert(teacher, inputs, config.model_copy(update={"seed": 1}), device=CPU)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_the_random_numbers_of_others_are_untouched(
    teacher: nn.Module, inputs: InputSpecification
) -> None:
    before = torch.random.get_rng_state()
    invert(teacher, inputs, SMALL.model_copy(update={"jitter": 1}), device=CPU)
    assert torch.equal(torch.random.get_rng_state(), before)


def _hooks(network: nn.Module) -> list[int]:
    return [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules()]


def _fail(done: int, _steps: int) -> None:
    if done == 2:
        raise KeyboardInterrupt


@pytest.mark.parametrize("interrupted", [False, True])
def test_the_teacher_is_given_back_unchanged(
    teacher: nn.Module, inputs: InputSpecification, interrupted: bool
) -> None:
    teacher.requires_grad_(False)
    state = copy.deepcopy(teacher.state_dict())
    modes = [module.training for module in teacher.modules()]
    hooks = _hooks(teacher)
    if interrupted:
        with pytest.raises(KeyboardInterrupt):
            invert(teacher, inputs, SMALL, device=CPU, progress=_fail)
    else:
        invert(teacher, inputs, SMALL, device=CPU)
    after = teacher.state_dict()
    assert after.keys() == state.keys()
    assert all(torch.equal(after[key], state[key]) for key in state)
    assert [module.training for module in teacher.modules()] == modes
    assert _hooks(teacher) == hooks
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())


def test_a_teacher_without_batch_norm(inputs: InputSpecification) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 4)
    ).eval()
    config = InversionConfig(images=20, steps=40)
    images, labels = invert(network, inputs, config, device=CPU)
    assert torch.isfinite(images).all()
    assert right(network, images, labels) > 0.9
    without = config.model_copy(update={"bn_statistics": 0.0})
    same, _ = invert(network, inputs, without, device=CPU)
    assert torch.equal(images, same)


def test_the_weight_of_batch_norm_statistics_matters(
    teacher: nn.Module, inputs: InputSpecification
) -> None:
    heavy = SMALL.model_copy(update={"bn_statistics": 10.0})
    light = SMALL.model_copy(update={"bn_statistics": 0.0})
    a, b = (invert(teacher, inputs, config, device=CPU)[0] for config in (heavy, light))
    assert not torch.equal(a, b)


def test_progress_is_told_after_every_step(teacher: nn.Module, inputs: InputSpecification) -> None:
    told: list[tuple[int, int]] = []
    tell: Callable[[int, int], Any] = lambda done, steps: told.append((done, steps))  # noqa: E731
    invert(teacher, inputs, SMALL, device=CPU, progress=tell)
    assert told == [(step, 5) for step in range(1, 6)]
