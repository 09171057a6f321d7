"""A generator trained step by step, and its moving average (MAD)."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dfkd_tune.distillation import DistillationConfig
from dfkd_tune.distillation.synthesis import StreamSynthesis

Make = Callable[..., DistillationConfig]
Assemble = Callable[..., Any]


def pull(images: Tensor, _step: int) -> Tensor:
    wanted = torch.linspace(-2, 2, images[0].numel()).view(images[0].shape)
    return (images - wanted).square().sum()


@pytest.fixture
def stream(make_config: Make, assemble: Assemble) -> Callable[..., Any]:
    """A stream trained for a loss of the test's own."""

    def build(**sections: Any) -> Any:
        parts = assemble(make_config(**sections), pull)
        assert isinstance(parts.synthesis, StreamSynthesis)
        return parts

    return build


def numbers(network: nn.Module) -> dict[str, Tensor]:
    """Parameters in double precision."""
    return {name: p.detach().double().clone() for name, p in network.named_parameters()}


def close(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return all(torch.allclose(first[name], second[name], rtol=0, atol=1e-6) for name in first)


def test_a_step_is_of_fresh_noise_and_labels(stream: Callable[..., Any]) -> None:
    parts = stream(schedule={"generator_steps": 3})
    images = parts.iterate()
    assert torch.equal(images, parts.term.images[-1])
    assert not images.requires_grad
    noises = [noise for noise, _ in parts.noises]
    assert len(noises) == 3
    assert not torch.equal(noises[0], noises[1])
    assert all(torch.equal(parts.term.steps[i].labels, parts.noises[i][1]) for i in range(3))
    assert (parts.synthesis.steps, parts.meter.images) == (3, 18)


def test_the_terms_hear_of_every_step(stream: Callable[..., Any]) -> None:
    parts = stream(schedule={"generator_steps": 3})
    parts.iterate()
    pairs = zip(parts.term.told, parts.term.steps, strict=True)
    assert all(told is step for told, step in pairs)


@pytest.mark.parametrize("momentum", [0.9, 0.25])
def test_the_average_follows_the_weights_by_its_momentum(
    stream: Callable[..., Any], momentum: float
) -> None:
    parts = stream(generator_average={"momentum": momentum})
    expected = numbers(parts.generator)
    average = parts.synthesis.average
    assert close(numbers(average), expected)
    for _ in range(4):
        parts.iterate()
        now = numbers(parts.generator)
        expected = {n: momentum * expected[n] + (1 - momentum) * now[n] for n in now}
        assert close(numbers(average), expected)
        assert not close(numbers(average), now)
        buffers = dict(parts.generator.named_buffers())
        assert all(torch.equal(value, buffers[n]) for n, value in average.named_buffers())
    assert not any(p.requires_grad or p.grad is not None for p in average.parameters())


def test_there_is_no_average_without_a_momentum(stream: Callable[..., Any]) -> None:
    parts = stream()
    assert parts.synthesis.average is None
    assert parts.synthesis.state_dict()["average"] is None


def test_fresh_images_are_of_the_generator_or_of_its_average(stream: Callable[..., Any]) -> None:
    parts = stream(
        generator_average={"momentum": 0.9},
        schedule={"generator_mode_when_sampling": "eval"},
        generator_optimiser={"learning_rate": 0.1},
    )
    parts.iterate()
    for averaged, network in ((False, parts.generator), (True, parts.synthesis.average)):
        batch = parts.synthesis.fresh(5, averaged=averaged)
        noise, labels = parts.noises[-1]
        assert torch.equal(batch.labels, labels)
        assert not batch.images.requires_grad
        assert not network.training
        with torch.no_grad():
            assert torch.equal(batch.images, network(noise, labels))


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_sampling_is_in_the_mode_that_was_asked_for(stream: Callable[..., Any], mode: str) -> None:
    parts = stream(schedule={"generator_mode_when_sampling": mode})
    before = numbers(parts.generator)
    parts.synthesis.fresh(5)
    assert parts.generator.training is (mode == "train")
    assert close(before, numbers(parts.generator))
    parts.iterate()
    assert parts.generator.training


def test_the_average_changes_nothing_in_the_generators_training(
    stream: Callable[..., Any],
) -> None:
    plain, averaged = stream(), stream(generator_average={"momentum": 0.9})
    for parts in (plain, averaged):
        for _ in range(3):
            parts.iterate()
    found, expected = averaged.generator.state_dict(), plain.generator.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert torch.equal(plain.source.get_state(), averaged.source.get_state())


def test_gradients_of_the_generator_can_be_limited(stream: Callable[..., Any]) -> None:
    """Limited to far less than the epsilon of Adam, they move nothing to speak of."""
    moved = []
    for limit in (0.0, 1e-13):
        parts = stream(generator_optimiser={"learning_rate": 0.01, "gradient_clip": limit})
        before = numbers(parts.generator)
        parts.iterate()
        after = numbers(parts.generator)
        moved.append(max(float((before[n] - after[n]).abs().max()) for n in before))
    assert moved[0] == pytest.approx(0.01, rel=1e-3)
    assert moved[1] < 1e-5
