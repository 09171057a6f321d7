"""Synthetic images to look at."""

from typing import Any

import numpy as np
import pytest
import torch

from dfkd_tune.distillation import (
    Generator,
    GeneratorConfig,
    ImageBank,
    build_generator,
    image_grid,
    sample_per_class,
    to_pixels,
)
from dfkd_tune.distillation._samples import newest_per_class
from dfkd_tune.inputs import InputSpecification

INPUTS = InputSpecification(
    channels=2, height=4, width=8, mean=(0.25, 0.5), std=(0.5, 0.125), num_classes=3
)


def make(**settings: Any) -> Generator:
    sizes = {"width": 2, "latent_size": 5, "output_head": "sigmoid_normalise", **settings}
    return build_generator(GeneratorConfig.model_validate(sizes), INPUTS, 4)


def test_to_pixels_undoes_the_normalisation_and_clips() -> None:
    pixels = np.random.default_rng(0).uniform(0, 1, (5, 2, 4, 8))
    mean, std = (np.array(x)[:, None, None] for x in (INPUTS.mean, INPUTS.std))
    images = torch.tensor((pixels - mean) / std, dtype=torch.float32, requires_grad=True)
    found = to_pixels(images, INPUTS)
    assert not found.requires_grad
    assert found.numpy() == pytest.approx(pixels, abs=1e-6)
    assert bool((to_pixels(torch.full((1, 2, 4, 8), 99.0), INPUTS) == 1).all())
    assert bool((to_pixels(torch.full((1, 2, 4, 8), -99.0), INPUTS) == 0).all())


def test_samples_are_pixels_in_rows_of_classes() -> None:
    pixels = sample_per_class(make(), 4, seed=0)
    assert pixels.shape == (4, 3, 2, 4, 8)
    assert 0 <= pixels.min() < pixels.max() <= 1


def test_a_row_has_one_noise_for_all_classes_and_rows_differ() -> None:
    pixels = sample_per_class(make(conditioning="none"), 3, seed=0)
    assert torch.allclose(pixels[:, 0], pixels[:, 1], atol=1e-6)
    assert torch.allclose(pixels[:, 0], pixels[:, 2], atol=1e-6)
    assert not torch.allclose(pixels[0], pixels[1], atol=1e-3)


def test_column_k_shows_class_k() -> None:
    generator = make(conditioning="one_hot_concat").eval()
    pixels = sample_per_class(generator, 2, seed=7)
    noise = torch.randn(2, 1, 5, generator=torch.Generator().manual_seed(7))[:, 0]
    mean, std = (np.array(x)[:, None, None] for x in (INPUTS.mean, INPUTS.std))
    for label in range(3):
        with torch.no_grad():
            images = generator(noise, torch.full((2,), label)).double().numpy()
        assert pixels[:, label].numpy() == pytest.approx(images * std + mean, abs=1e-6)


def test_samples_repeat_for_a_seed_and_differ_for_another() -> None:
    generator = make()
    first = sample_per_class(generator, 2, seed=1)
    assert torch.equal(first, sample_per_class(generator, 2, seed=1))
    assert not torch.equal(first, sample_per_class(generator, 2, seed=2))


@pytest.mark.parametrize("training", [True, False])
def test_sampling_leaves_generator_and_random_state_as_they_were(training: bool) -> None:
    generator = make(output_head="tanh_bn").train(training)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    random = torch.get_rng_state()
    sample_per_class(generator, 2, seed=0)
    assert generator.training is training
    assert all(m.training is training for m in generator.modules())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[n]) for n, value in generator.state_dict().items())


def test_grid_lays_images_out_in_colour_with_white_gaps() -> None:
    pixels = torch.zeros(2, 3, 3, 2, 4)
    for row in range(2):
        for column in range(3):
            pixels[row, column] = torch.tensor([row, column / 2, 0.2]).view(3, 1, 1)
    picture = np.asarray(image_grid(pixels, gap=2))
    assert picture.shape == (2 * 4 + 2, 3 * 6 + 2, 3)
    expected = np.full_like(picture, 255)
    for row in range(2):
        for column in range(3):
            top, left = 2 + 4 * row, 2 + 6 * column
            expected[top : top + 2, left : left + 4] = (255 * row, [0, 128, 255][column], 51)
    assert np.array_equal(picture, expected)


@pytest.mark.parametrize("channels", [1, 2])
def test_grid_shows_the_first_of_other_channels_in_grey(channels: int) -> None:
    pixels = torch.rand(1, 1, channels, 3, 2, generator=torch.Generator().manual_seed(0))
    picture = np.asarray(image_grid(pixels))
    assert picture.shape == (5, 4, 3)
    expected = np.rint(pixels[0, 0, 0].double().numpy() * 255)
    for colour in range(3):
        assert np.array_equal(picture[1:4, 1:3, colour], expected)


def test_grid_without_gap_is_the_images_alone() -> None:
    assert image_grid(torch.zeros(2, 5, 1, 4, 3), gap=0).size == (15, 8)


def test_the_newest_kept_images_of_each_class_with_grey_where_there_are_fewer() -> None:
    bank = ImageBank(10, INPUTS, torch.device("cpu"))
    pixels = torch.tensor([0.125, 0.25, 0.75, 1.0]).view(-1, 1, 1, 1).expand(-1, *INPUTS.shape)
    mean, std = (torch.tensor(x).view(-1, 1, 1) for x in (INPUTS.mean, INPUTS.std))
    bank.add((pixels - mean) / std, torch.tensor([0, 2, 0, 0]))
    found = newest_per_class(bank, 2, INPUTS)
    assert found.shape == (2, 3, *INPUTS.shape)
    expected = torch.tensor([[1.0, 0.5, 0.25], [0.75, 0.5, 0.5]])
    assert torch.allclose(found, expected.view(2, 3, 1, 1, 1).expand_as(found), atol=1e-3)


def test_of_an_empty_bank_there_is_grey_to_see() -> None:
    bank = ImageBank(10, INPUTS, torch.device("cpu"))
    assert bool((newest_per_class(bank, 2, INPUTS) == 0.5).all())
