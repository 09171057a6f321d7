"""The memory that makes earlier images again (PRE-DFKD)."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from dfkd_tune.distillation import GenerativeReplayConfig
from dfkd_tune.distillation.synthesis._replay import ReplayMemory
from dfkd_tune.inputs import InputSpecification


def memory(inputs: InputSpecification, seed: int = 0, **settings: Any) -> ReplayMemory:
    sizes = {"share": 0.5, "latent_size": 4, "width": 4, **settings}
    return ReplayMemory(GenerativeReplayConfig.model_validate(sizes), inputs, seed)


def images_like(inputs: InputSpecification, count: int = 16) -> Tensor:
    """Bright and dark images, with a little noise."""
    source = torch.Generator().manual_seed(3)
    noise = 0.1 * torch.randn(count, *inputs.shape, generator=source)
    signs = torch.where(torch.arange(count) % 2 == 0, 1.0, -1.0)
    return signs.view(-1, 1, 1, 1) + noise


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_its_loss_on_a_fixed_batch_falls(inputs: InputSpecification) -> None:
    made, images, numbers = memory(inputs), images_like(inputs), source()
    optimiser = torch.optim.Adam(made.parameters(), lr=5e-3)
    losses = []
    for _ in range(80):
        loss = made.loss(images, numbers)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.35 * losses[0]
    # It makes both kinds again, and not their mean.
    means = made.sample(64, numbers).mean(dim=(1, 2, 3))
    assert means.min() < -0.5
    assert means.max() > 0.5


@pytest.mark.parametrize("weight", [0.0, 1e-3, 2.0])
def test_its_loss_is_of_pixels_and_of_the_latent_vectors_divergence(
    inputs: InputSpecification, weight: float
) -> None:
    made, images = memory(inputs, divergence_weight=weight), images_like(inputs)
    last = made.encoder[-1]
    assert isinstance(last, torch.nn.Linear)
    last.bias.data[4:] = torch.tensor([-2.0, -1, 0, 1])  # of deviations that differ
    found = made.loss(images, source(7))
    with torch.no_grad():
        encoded = made.encoder(images)
        mean, deviation = encoded[:, :4], (encoded[:, 4:] / 2).exp()
        latent = mean + deviation * torch.randn(16, 4, generator=source(7))
        pixels = made.decoder(latent, torch.zeros(16, dtype=torch.int64)).numpy()
        normal = Normal(torch.zeros(4), torch.ones(4))
        divergence = kl_divergence(Normal(mean, deviation), normal).numpy().sum(1).mean()
    expected = np.mean((pixels - images.numpy()) ** 2) + weight * divergence
    assert found.item() == pytest.approx(expected, rel=1e-4)


def test_gradients_are_finite_and_reach_every_weight(inputs: InputSpecification) -> None:
    made = memory(inputs)
    made.loss(images_like(inputs), source()).backward()  # type: ignore[no-untyped-call]
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert bool(parameter.grad.any()), name


def test_a_sample_is_of_images_without_a_graph(inputs: InputSpecification) -> None:
    made = memory(inputs)
    images = made.sample(9, source())
    assert images.shape == (9, *inputs.shape)
    assert not images.requires_grad
    assert torch.equal(made.sample(9, source(1)), made.sample(9, source(1)))
    assert not torch.equal(made.sample(9, source(1)), made.sample(9, source(2)))


def test_it_is_built_and_used_without_the_global_random_state(inputs: InputSpecification) -> None:
    before = torch.get_rng_state()
    first, again, other = (memory(inputs, seed) for seed in (1, 1, 2))
    first.loss(images_like(inputs), source())
    copy.deepcopy(first).sample(3, source())
    assert torch.equal(torch.get_rng_state(), before)
    weights = [dict(made.named_parameters()) for made in (first, again, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not torch.equal(weights[0]["encoder.0.weight"], weights[2]["encoder.0.weight"])
