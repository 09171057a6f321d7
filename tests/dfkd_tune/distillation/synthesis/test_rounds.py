"""Rounds: one batch is optimised for many steps, and goes into the image bank."""

import copy
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dfkd_tune.distillation import DistillationConfig, Generator
from dfkd_tune.distillation.synthesis import RoundSynthesis
from dfkd_tune.inputs import InputSpecification

Make = Callable[..., DistillationConfig]
Assemble = Callable[..., Any]

STEPS = 4


@pytest.fixture
def rounds(make_config: Make, assemble: Assemble) -> Callable[..., Any]:
    """A synthesis in rounds of four steps, trained for a loss of the test's own."""

    def build(loss: Callable[[Tensor, int], Tensor], **sections: Any) -> Any:
        given = {
            "image_bank": {"size": 100, "replay_share": 1.0},
            "generator": {"conditioning": "none"},
            **sections,
            "schedule": {"generator_steps": STEPS, **sections.get("schedule", {})},
            "synthesis": {"kind": "rounds", **sections.get("synthesis", {})},
        }
        parts = assemble(make_config(**given), loss)
        assert isinstance(parts.synthesis, RoundSynthesis)
        return parts

    return build


def flat(images: Tensor, _step: int) -> Tensor:
    """A loss without gradient, which leaves everything as it is."""
    return images.sum() * 0


def given_values(values: Sequence[float]) -> Callable[[Tensor, int], Tensor]:
    """Losses of these values whose gradient still moves the images in every step."""

    def loss(images: Tensor, step: int) -> Tensor:
        moving = (images * torch.linspace(-1, 1, images[0].numel()).view(images[0].shape)).sum()
        return values[step % len(values)] + (moving - moving.detach())

    return loss


def parameters(network: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in network.parameters()]


def equal(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


OPTIMISED = [{"optimise": "pixels"}, {}, {"meta": "reptile"}]


# ---------------------------------------------------------------- what is kept


@pytest.mark.parametrize("synthesis", OPTIMISED, ids=str)
@pytest.mark.parametrize(
    ("values", "best"),
    [((3, 1, 2, 5), 1), ((1, 2, 3, 4), 0), ((4, 3, 2, 1), 3), ((2, 1, 1, 2), 1)],
)
def test_the_images_of_the_step_of_least_loss_are_kept(
    rounds: Callable[..., Any], synthesis: dict[str, Any], values: Sequence[float], best: int
) -> None:
    parts = rounds(given_values(values), synthesis=synthesis)
    kept = parts.iterate()
    seen = parts.term.images
    assert len(seen) == STEPS
    assert all(not torch.equal(a, b) for a, b in pairwise(seen))
    assert torch.equal(kept, seen[best])
    assert not kept.requires_grad


@pytest.mark.parametrize("synthesis", OPTIMISED, ids=str)
def test_the_images_of_the_last_step_are_kept_where_that_is_asked_for(
    rounds: Callable[..., Any], synthesis: dict[str, Any]
) -> None:
    parts = rounds(given_values((3, 1, 2, 5)), synthesis={"keep": "last", **synthesis})
    assert torch.equal(parts.iterate(), parts.term.images[-1])


@pytest.mark.parametrize("synthesis", OPTIMISED, ids=str)
def test_each_round_keeps_its_own_best(
    rounds: Callable[..., Any], synthesis: dict[str, Any]
) -> None:
    parts = rounds(given_values((1, 2, 3, 4, 9, 8, 5, 6)), synthesis=synthesis)
    first, second = parts.iterate(), parts.iterate()
    assert torch.equal(first, parts.term.images[0])
    assert torch.equal(second, parts.term.images[STEPS + 2])


@pytest.mark.parametrize("synthesis", OPTIMISED, ids=str)
def test_the_bank_grows_by_the_batch_of_a_round(
    rounds: Callable[..., Any], synthesis: dict[str, Any]
) -> None:
    parts = rounds(flat, synthesis={"batch_size": 7, **synthesis}, schedule={"batch_size": 5})
    for count in (7, 14, 21):
        kept = parts.iterate()
        assert kept.shape == (7, 2, 8, 4)
        assert parts.bank.filled == count
        state = parts.bank.state_dict()
        assert torch.equal(state["images"][-7:], kept.half())
        assert torch.equal(state["labels"][-7:], parts.term.steps[-1].labels)
    assert parts.meter.images == 3 * STEPS * 7
    assert parts.synthesis.steps == 3 * STEPS


def test_a_round_has_as_many_images_as_a_student_batch_by_default(
    rounds: Callable[..., Any],
) -> None:
    parts = rounds(flat, schedule={"batch_size": 5})
    assert len(parts.iterate()) == 5


def test_the_terms_hear_of_each_round_once(rounds: Callable[..., Any]) -> None:
    parts = rounds(flat)
    parts.iterate()
    parts.iterate()
    first, second = parts.term.told
    assert any(first is step for step in parts.term.steps[:STEPS])
    assert any(second is step for step in parts.term.steps[STEPS:])


def test_labels_stay_those_of_the_round_and_distributions_reach_the_terms(
    rounds: Callable[..., Any],
) -> None:
    parts = rounds(flat, schedule={"label_sampling": "dirichlet", "batch_size": 20})
    parts.iterate()
    parts.iterate()
    steps = parts.term.steps
    for first, other in ((0, 3), (4, 7)):
        assert torch.equal(steps[first].labels, steps[other].labels)
        assert torch.equal(steps[first].targets, steps[other].targets)
        assert steps[first].targets.shape == (20, 4)
    assert not torch.equal(steps[0].targets, steps[4].targets)


# ---------------------------------------------------------------- pixels


def test_pixels_begin_and_stay_in_the_range_of_real_pixels_and_may_reach_its_ends(
    rounds: Callable[..., Any], inputs: InputSpecification
) -> None:
    mean, std = (np.array(x)[:, None, None] for x in (inputs.mean, inputs.std))
    lowest, highest = (0 - mean) / std, (1 - mean) / std
    parts = rounds(
        lambda images, _step: -images.square().sum(),
        synthesis={"optimise": "pixels", "batch_size": 20},
        generator_optimiser={"learning_rate": 3.0},
    )
    kept = parts.iterate().double().numpy()
    for images in (*(seen.double().numpy() for seen in parts.term.images), kept):
        assert (images >= lowest - 1e-6).all()
        assert (images <= highest + 1e-6).all()
    # The loss pushes each pixel outwards, as far as it may go.
    at_ends = np.isclose(kept, lowest, atol=1e-6) | np.isclose(kept, highest, atol=1e-6)
    assert at_ends.mean() > 0.9
    assert np.isclose(kept, lowest, atol=1e-6).any()
    assert np.isclose(kept, highest, atol=1e-6).any()


def test_pixels_take_steps_of_adam(rounds: Callable[..., Any]) -> None:
    """Its first step is the rate, against the gradient's sign, wherever there is room."""
    weight = torch.linspace(-1, 1, 64).view(2, 8, 4)
    parts = rounds(
        lambda images, _step: (images * weight).sum(),
        synthesis={"optimise": "pixels"},
        generator_optimiser={"learning_rate": 0.01},
    )
    parts.iterate()
    first, second = parts.term.images[:2]
    inside = (first.abs() < 0.5) & (weight.abs() > 1e-3)
    moved = torch.where(inside, second - first, 0)
    assert torch.allclose(moved, torch.where(inside, -0.01 * weight.sign(), 0), atol=1e-6)
    assert int(inside.sum()) > 50


def test_every_round_begins_with_new_pixels(rounds: Callable[..., Any]) -> None:
    parts = rounds(flat, synthesis={"optimise": "pixels"})
    assert not torch.equal(parts.iterate(), parts.iterate())
    assert parts.generator is None


# ---------------------------------------------------------------- shifts and mirrors


def shifts_that_explain(kept: Tensor, seen: Tensor, reach: int) -> list[tuple[int, int, bool]]:
    """Shifts and mirrors of the whole batch that make of one what was seen."""
    images, wanted = kept.numpy(), seen.numpy()
    return [
        (down, right, mirrored)
        for down in range(-reach, reach + 1)
        for right in range(-reach, reach + 1)
        for mirrored in (False, True)
        if np.array_equal(np.roll(images, (down, right), (2, 3))[..., :: -1 if mirrored else 1],
                          wanted)
    ]  # fmt: skip


@pytest.mark.parametrize("synthesis", OPTIMISED[:2], ids=str)
@pytest.mark.parametrize(("jitter", "flip"), [(0, False), (1, False), (0, True), (1, True)])
def test_shifts_and_mirrors_are_of_what_is_seen_and_not_of_what_is_kept(
    rounds: Callable[..., Any], synthesis: dict[str, Any], jitter: int, flip: bool
) -> None:
    """Without a gradient pixels stay as they are, so each view must be one of the kept images."""
    parts = rounds(
        lambda images, step: images.sum() * 0 - step,
        synthesis={"jitter": jitter, "flip": flip, **synthesis},
        schedule={"generator_steps": 40},
        generator={"output_head": "tanh"},
    )
    kept = parts.iterate()
    views = [shifts_that_explain(kept, seen, jitter) for seen in parts.term.images]
    assert all(len(found) == 1 for found in views)
    assert {down for ((down, _, _),) in views} == set(range(-jitter, jitter + 1))
    assert {right for ((_, right, _),) in views} == set(range(-jitter, jitter + 1))
    assert {mirrored for ((_, _, mirrored),) in views} == ({False, True} if flip else {False})


def test_gradients_go_through_the_view_to_the_pixels(rounds: Callable[..., Any]) -> None:
    """A loss on the left column alone, mirrored or not, moves the outer columns alone."""
    parts = rounds(
        lambda images, _step: images[..., 0].sum(),
        synthesis={"optimise": "pixels", "flip": True, "keep": "last"},
        schedule={"generator_steps": 20},
        generator_optimiser={"learning_rate": 0.1},
    )
    kept = parts.iterate()
    first = parts.term.images[0]
    change = torch.minimum((kept - first).abs(), (kept - first.flip(3)).abs()).amax(dim=(0, 1, 2))
    assert bool((change[[0, 3]] > 0).all())
    assert bool((change[[1, 2]] == 0).all())


# ---------------------------------------------------------------- generators and noise


@pytest.mark.parametrize(("every", "restarts"), [(0, ()), (1, (1, 2, 3, 4)), (2, (2, 4))])
def test_the_generator_begins_anew_after_so_many_rounds(
    rounds: Callable[..., Any], every: int, restarts: Sequence[int]
) -> None:
    parts = rounds(flat, synthesis={"restart_every": every})
    found, before = [], parameters(parts.generator)
    for number in range(5):
        parts.iterate()
        after = parameters(parts.generator)
        if not equal(before, after):
            found.append(number)
            # All weights are new, but for those that begin at 1 or 0.
            pairs = zip(before, after, strict=True)
            assert all(not torch.equal(a, b) for a, b in pairs if a.std() > 0)
        before = after
    assert found == list(restarts)


def test_restarts_are_of_the_runs_seed(rounds: Callable[..., Any]) -> None:
    ends = []
    for seed in (1, 1, 2):
        parts = rounds(flat, synthesis={"restart_every": 1}, seed=seed)
        parts.iterate()
        parts.iterate()
        ends.append(parameters(parts.generator))
    assert equal(ends[0], ends[1])
    assert not equal(ends[0], ends[2])


def test_noise_is_fixed_within_a_round_where_its_learning_rate_is_zero(
    rounds: Callable[..., Any],
) -> None:
    parts = rounds(given_values((1, 2, 3, 4)))
    parts.iterate()
    parts.iterate()
    noises = [noise for noise, _ in parts.noises]
    assert len(noises) == 2 * STEPS
    assert all(torch.equal(noise, noises[0]) for noise in noises[:STEPS])
    assert all(torch.equal(noise, noises[STEPS]) for noise in noises[STEPS:])
    assert not torch.equal(noises[0], noises[STEPS])


def test_noise_takes_steps_of_adam_at_a_learning_rate_of_its_own(
    rounds: Callable[..., Any],
) -> None:
    parts = rounds(
        given_values((1, 2, 3, 4)),
        synthesis={"latent_learning_rate": 0.03},
        generator_optimiser={"learning_rate": 1e-4},
    )
    parts.iterate()
    first, second, third = (noise for noise, _ in parts.noises[:3])
    # The first step of Adam is the rate, wherever the gradient is more than its epsilon.
    assert (second - first).abs().numpy() == pytest.approx(np.full((6, 5), 0.03), rel=1e-3)
    assert not torch.equal(second, third)


def test_a_noisy_layer_is_drawn_anew_in_every_round_and_trained_within_it(
    rounds: Callable[..., Any],
) -> None:
    generator = {"conditioning": "noisy_layer", "noisy_layers": 2}
    ends = []
    for loss in (flat, given_values((1, 2, 3, 4))):
        parts = rounds(loss, generator=generator)
        layers = parts.generator.latent.noisy.layers
        embeddings = parts.generator.latent.noisy.embeddings.clone()
        seen = [parameters(layers)]
        for _ in range(2):
            parts.iterate()
            seen.append(parameters(layers))
        assert not equal(seen[0], seen[1])
        assert not equal(seen[1], seen[2])
        assert torch.equal(parts.generator.latent.noisy.embeddings, embeddings)
        ends.append(seen[1])
    assert not equal(ends[0], ends[1])


@pytest.mark.parametrize("meta", ["none", "reptile", "fomaml"])
def test_a_round_reads_the_students_weights_but_does_not_change_them(
    rounds: Callable[..., Any], meta: str
) -> None:
    parts = rounds(given_values((1, 2)), synthesis={"meta": meta})
    before = parameters(parts.student)
    parts.iterate()
    assert equal(before, parameters(parts.student))


def test_the_rate_falls_within_a_round(rounds: Callable[..., Any]) -> None:
    settings = {"learning_rate": 0.02, "schedule": "cosine"}
    parts = rounds(flat, generator_optimiser=settings)
    for _ in range(2):
        parts.iterate()
        assert parts.synthesis.learning_rate == pytest.approx(
            0.01 * (1 + math.cos(math.pi * 3 / 4)), rel=1e-9
        )


# ---------------------------------------------------------------- what a round teaches

RATE, BETAS, EPSILON = 0.01, (0.5, 0.999), 1e-8


def pull(images: Tensor, _step: int) -> Tensor:
    """A loss with a gradient that changes from step to step."""
    wanted = torch.linspace(-2, 2, images[0].numel()).view(images[0].shape)
    return (images - wanted).square().sum()


def trajectory(
    generator: Generator, noise: Tensor, labels: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Adam by hand: where the weights end after a round, and the sum of their gradients."""
    weights = [p for p in generator.parameters() if p.requires_grad]
    first, second, total = ([torch.zeros_like(w) for w in weights] for _ in range(3))
    for step in range(1, STEPS + 1):
        gradients = torch.autograd.grad(pull(generator(noise, labels), 0), weights)
        with torch.no_grad():
            for index, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
                total[index] += gradient
                first[index] = BETAS[0] * first[index] + (1 - BETAS[0]) * gradient
                second[index] = BETAS[1] * second[index] + (1 - BETAS[1]) * gradient**2
                mean = first[index] / (1 - BETAS[0] ** step)
                scale = (second[index] / (1 - BETAS[1] ** step)).sqrt()
                weight.sub_(RATE * mean / (scale + EPSILON))
    return [w.detach() for w in weights], total


@pytest.mark.parametrize("meta", ["reptile", "fomaml"])
def test_the_first_round_moves_the_generator_by_a_first_step_of_adam(
    rounds: Callable[..., Any], meta: str
) -> None:
    """Reptile: towards where the round came to; FOMAML: down the sum of its gradients.

    The first step of Adam is its rate times the gradient's sign; the rate is that of a round's
    step times their number (Fast-DFKD).
    """
    parts = rounds(
        pull, synthesis={"meta": meta}, generator_optimiser={"learning_rate": RATE}, seed=5
    )
    copied = copy.deepcopy(parts.generator).train()
    copied._forward_pre_hooks.clear()
    start = parameters(parts.generator)
    parts.iterate()
    noise, labels = parts.noises[0]
    ended, total = trajectory(copied, noise, labels)
    slow = parameters(parts.generator)
    checked = 0
    for before, after, fast, summed in zip(start, slow, ended, total, strict=True):
        gradient = before - fast if meta == "reptile" else summed
        # Elsewhere, as in a bias before BatchNorm, it is rounding alone.
        clear = (gradient.abs() > 1e-3) & (summed.abs() > 1e-3)
        expected = before - RATE * STEPS * gradient.sign()
        assert torch.allclose(after[clear], expected[clear], atol=1e-5)
        checked += int(clear.sum())
    assert checked > 0.8 * sum(p.numel() for p in start)


@pytest.mark.parametrize("meta", ["reptile", "fomaml"])
def test_a_round_begins_where_the_rounds_before_have_brought_the_generator(
    rounds: Callable[..., Any], meta: str
) -> None:
    """And leaves it the statistics that it met."""
    parts = rounds(pull, synthesis={"meta": meta})
    parts.iterate()
    copied = copy.deepcopy(parts.generator).train()
    copied._forward_pre_hooks.clear()
    buffers = {name: value.clone() for name, value in parts.generator.named_buffers()}
    parts.iterate()
    with torch.no_grad():
        assert torch.equal(copied(*parts.noises[STEPS]), parts.term.images[STEPS])
    tracked = dict(parts.generator.named_buffers())["norm_in.num_batches_tracked"]
    assert int(tracked) == 2 * STEPS
    assert int(buffers["norm_in.num_batches_tracked"]) == STEPS


def test_without_meta_learning_the_generator_ends_where_the_round_did(
    rounds: Callable[..., Any],
) -> None:
    parts = rounds(pull, generator_optimiser={"learning_rate": RATE})
    copied = copy.deepcopy(parts.generator).train()
    copied._forward_pre_hooks.clear()
    parts.iterate()
    ended, total = trajectory(copied, *parts.noises[0])
    for after, expected, summed in zip(parameters(parts.generator), ended, total, strict=True):
        clear = summed.abs() > 1e-3
        assert torch.allclose(after[clear], expected[clear], atol=1e-5)


def test_each_round_has_an_adam_of_its_own(rounds: Callable[..., Any]) -> None:
    """The first step of every round is its rate times the gradient's sign."""
    weight = torch.linspace(-1, 1, 64).view(2, 8, 4)
    parts = rounds(
        lambda images, step: (images * weight).sum() * (1 if step < STEPS else -1),
        generator={"conditioning": "none", "output_head": "tanh"},
        generator_optimiser={"learning_rate": 1e-3},
        synthesis={"keep": "last"},
        schedule={"generator_steps": STEPS},
    )
    parts.iterate()
    before = parts.generator.to_image.weight.detach().clone()
    seen: list[Tensor] = []
    parts.generator.register_forward_pre_hook(
        lambda module, _given: seen.append(module.to_image.weight.detach().clone())
    )
    parts.iterate()
    assert torch.equal(seen[0], before)
    step = (seen[1] - seen[0]).abs()
    assert step.numpy() == pytest.approx(np.full(step.shape, 1e-3), rel=1e-2)


def test_gradients_of_a_rounds_generator_can_be_limited(rounds: Callable[..., Any]) -> None:
    """Limited to far less than the epsilon of Adam, they move nothing to speak of."""
    moved = []
    for limit in (0.0, 1e-13):
        settings = {"learning_rate": RATE, "gradient_clip": limit}
        parts = rounds(pull, generator_optimiser=settings)
        before = parameters(parts.generator)
        parts.iterate()
        pairs = zip(before, parameters(parts.generator), strict=True)
        moved.append(max(float((a - b).abs().max()) for a, b in pairs))
    assert moved[0] > RATE
    assert moved[1] < 1e-3 * RATE
