"""Loss terms on the pixels themselves, against NumPy in double precision."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dfkd_tune.classifiers import ForwardPass
from dfkd_tune.distillation.terms import GENERATOR_TERMS, Step, neighbour_differences

IMAGES = np.random.default_rng(8).normal(0, 1, (3, 2, 5, 4))


def compute(name: str, images: Any) -> Tensor:
    given = images if isinstance(images, Tensor) else torch.tensor(images)
    step = Step(
        images=given,
        labels=torch.zeros(len(given), dtype=torch.int64),
        teacher=ForwardPass(logits=torch.zeros(len(given), 2)),
        student=None,
    )
    term = GENERATOR_TERMS[name]
    return torch.as_tensor(term.build(term.settings(weight=1), None)(step))


def test_total_variation_is_the_mean_difference_of_neighbours_along_both_sides() -> None:
    n, c, h, w = IMAGES.shape
    down = [
        abs(IMAGES[i, j, y + 1, x] - IMAGES[i, j, y, x])
        for i, j, y, x in np.ndindex(n, c, h - 1, w)
    ]
    right = [
        abs(IMAGES[i, j, y, x + 1] - IMAGES[i, j, y, x])
        for i, j, y, x in np.ndindex(n, c, h, w - 1)
    ]
    expected = np.mean(down) + np.mean(right)
    assert compute("total_variation", IMAGES).item() == pytest.approx(expected, rel=1e-12)
    assert neighbour_differences(torch.tensor(IMAGES)).item() == pytest.approx(expected, rel=1e-12)


def test_total_variation_of_stripes_is_their_contrast() -> None:
    stripes = np.tile(np.array([0.0, 0.7]), 4)[None, None, None, :].repeat(6, axis=2)
    assert compute("total_variation", stripes).item() == pytest.approx(0.7, rel=1e-12)
    turned = stripes.transpose(0, 1, 3, 2).copy()
    assert compute("total_variation", turned).item() == pytest.approx(0.7, rel=1e-12)
    assert compute("total_variation", np.full((2, 3, 4, 4), 5.0)).item() == 0


def test_total_variation_ignores_a_shift_of_all_pixels_and_follows_their_scale() -> None:
    before = compute("total_variation", IMAGES).item()
    assert compute("total_variation", IMAGES + 3).item() == pytest.approx(before, rel=1e-12)
    assert compute("total_variation", IMAGES * -3).item() == pytest.approx(3 * before, rel=1e-12)


def test_pixel_norm_is_the_mean_square() -> None:
    expected = float((IMAGES**2).sum() / IMAGES.size)
    assert compute("pixel_norm", IMAGES).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["total_variation", "pixel_norm"])
def test_gradient_equals_finite_differences(name: str) -> None:
    images = torch.tensor(IMAGES[:1], requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: compute(name, x), (images,))


@pytest.mark.parametrize("name", ["total_variation", "pixel_norm"])
def test_gradient_of_a_blank_image_is_finite(name: str) -> None:
    images = torch.zeros(2, 3, 4, 4, requires_grad=True)
    torch.autograd.backward(compute(name, images))
    assert images.grad is not None
    assert torch.equal(images.grad, torch.zeros_like(images))
