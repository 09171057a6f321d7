"""The contrast of model inversion: its value by hand, and the memory of kept features."""

import copy
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dfkd_tune.classifiers import ForwardPass, NetworkShapes, random_flips, random_resized_crops
from dfkd_tune.distillation.terms import GENERATOR_TERMS, Step, TermContext
from dfkd_tune.distillation.terms._contrast import ContrastTerm, instance_features

CHANNELS, HEIGHT, WIDTH = 2, 8, 6
SHAPES = NetworkShapes(stages=((CHANNELS, 8, 6), (3, 4, 3)), penultimate=4, batch_norms=())
FEATURES = CHANNELS + 3 + 4
MIX = torch.randn(3, CHANNELS, generator=torch.Generator().manual_seed(1))
HEAD = torch.randn(4, 3 * 4 * 3, generator=torch.Generator().manual_seed(2)) / 4


def teacher(images: Tensor) -> ForwardPass:
    """Two stages and a penultimate vector."""
    first = torch.tanh(images)
    second = functional.avg_pool2d(torch.einsum("oc,nchw->nohw", MIX, first), 2)
    vector = torch.tanh(second.flatten(1) @ HEAD.T)
    return ForwardPass(logits=vector[:, :2], stages=(first, second), penultimate=vector)


def images(seed: int, count: int = 5) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.randn(count, CHANNELS, HEIGHT, WIDTH, generator=source)


def step(given: Tensor, ask: Callable[[Tensor], ForwardPass] | None = teacher) -> Step:
    return Step(
        images=given,
        labels=torch.zeros(len(given), dtype=torch.int64),
        teacher=teacher(given),
        student=None,
        ask_teacher=ask,
    )


def build(seed: int = 6, **settings: Any) -> ContrastTerm:
    """A term whose source of random numbers begins with a seed."""
    torch.manual_seed(3)
    term = GENERATOR_TERMS["contrast"]
    given = {"weight": 1, "embedding": 7, "memory": 10, "negatives": 4, **settings}
    source = torch.Generator().manual_seed(seed)
    context = TermContext(teacher=SHAPES, student=SHAPES, source=source)
    built = term.build(term.settings.model_validate(given), context)
    assert isinstance(built, ContrastTerm)
    return built


def embedded(term: ContrastTerm, features: np.ndarray) -> np.ndarray:
    """The term's head, to unit length."""
    weights = [p.detach().double().numpy() for p in term.head.parameters()]
    hidden = np.maximum(features @ weights[0].T + weights[1], 0)
    out = hidden @ weights[2].T + weights[3]
    return np.asarray(out / np.sqrt((out**2).sum(1, keepdims=True)))


def described(made: ForwardPass) -> np.ndarray:
    means = [stage.detach().double().numpy().mean((2, 3)) for stage in made.stages]
    assert made.penultimate is not None
    return np.concatenate([*means, made.penultimate.detach().double().numpy()], axis=1)


def expected(term: ContrastTerm, given: Tensor, seed: int = 6) -> float:
    """The same draws by a second source; then a loop over images."""
    source, settings = torch.Generator().manual_seed(seed), term.settings
    views = []
    for area in (settings.local_area, settings.global_area):
        crops = random_resized_crops(given, area, HEIGHT, WIDTH, source)
        views.append(embedded(term, described(teacher(random_flips(crops, source)))))
    kept = term.get_extra_state().double().numpy()
    negatives = np.empty((0, views[0].shape[1]))
    if len(kept):
        chosen = torch.randperm(len(kept), generator=source)[: settings.negatives].numpy()
        negatives = embedded(term, kept[chosen])
    losses = []
    for index, query in enumerate(views[0]):
        similar = np.array([query @ key for key in [*views[1], *negatives]])
        shares = np.exp(similar / settings.temperature)
        losses.append(-np.log(shares[index] / shares.sum()))
    return float(np.mean(losses))


# ---------------------------------------------------------------- the value


def test_features_are_the_stages_channel_means_and_the_penultimate_vector() -> None:
    made = teacher(images(0))
    found = instance_features(made).numpy()
    assert found.shape == (5, FEATURES)
    assert found == pytest.approx(described(made), abs=1e-6)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
@pytest.mark.parametrize("rounds", [0, 1, 3])
@pytest.mark.parametrize("areas", [(0.25, 0.8), (1.0, 1.0)])
def test_value_equals_a_loop_over_images(
    areas: tuple[float, float], rounds: int, temperature: float
) -> None:
    term = build(local_area=areas[0], global_area=areas[1], temperature=temperature)
    for index in range(rounds):
        term.synthesised(step(images(100 + index)))
    given = images(0)
    with torch.no_grad():
        value = term(step(given)).item()
    assert value == pytest.approx(expected(term, given), rel=2e-4)


def test_the_views_follow_the_source_alone() -> None:
    given = images(0)
    first, same, other = (build(seed)(step(given)).item() for seed in (6, 6, 7))
    assert first == same
    assert first != other
    torch.manual_seed(77)
    state = torch.get_rng_state()
    term = build()
    torch.set_rng_state(state)
    term.synthesised(step(given))
    term(step(given))
    assert torch.equal(torch.get_rng_state(), state)


def test_images_that_are_all_alike_cost_the_logarithm_of_their_number() -> None:
    """Blank images look alike in every view: the right one is found by chance."""
    blank = torch.zeros(5, CHANNELS, HEIGHT, WIDTH)
    assert build()(step(blank)).item() == pytest.approx(np.log(5), rel=1e-5)


def test_an_empty_memory_adds_nothing_and_a_filled_one_raises_the_loss() -> None:
    empty, filled = build(), build()
    filled.synthesised(step(images(50)))
    assert len(empty.get_extra_state()) == 0
    given = images(0)
    with torch.no_grad():
        low, high = (term(step(given)).item() for term in (empty, filled))
    assert low == pytest.approx(expected(empty, given), rel=2e-4)
    assert high > low


def test_kept_features_like_the_new_ones_cost_more_than_others() -> None:
    given = images(0)
    like, unlike = build(negatives=10), build(negatives=10)
    like.synthesised(step(given))
    unlike.synthesised(step(images(50) * 3 + 5))
    with torch.no_grad():
        assert like(step(given)).item() > unlike(step(given)).item()


# ---------------------------------------------------------------- gradients


def test_gradients_reach_the_images_and_the_head_and_not_the_memory() -> None:
    term = build()
    term.synthesised(step(images(50)))
    given = images(0).requires_grad_(True)
    term(step(given)).backward()
    assert given.grad is not None
    assert bool(torch.isfinite(given.grad).all())
    assert given.grad.flatten(1).abs().amax(1).min() > 0
    for name, parameter in term.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert parameter.grad.abs().max() > 0, name
    assert not term.features.requires_grad
    assert not term.count.requires_grad


def test_the_head_learns_from_the_kept_features_too() -> None:
    """Without new images that differ, only the memory can move the head."""
    gradients = []
    for seed in (50, 51):
        term = build(negatives=10)
        term.synthesised(step(images(seed)))
        term(step(images(0))).backward()
        first = next(term.parameters())
        assert first.grad is not None
        gradients.append(first.grad)
    assert not torch.allclose(gradients[0], gradients[1], rtol=1e-3)


def test_keeping_features_takes_no_gradient_along() -> None:
    term = build()
    given = images(0).requires_grad_(True)
    term.synthesised(step(given))
    assert term.features.grad_fn is None
    term(step(images(1))).backward()
    assert given.grad is None


def test_a_step_that_cannot_ask_the_teacher_is_refused() -> None:
    with pytest.raises(ValueError, match="ask the teacher again"):
        build()(step(images(0), None))


# ---------------------------------------------------------------- the memory


def half(given: Tensor) -> Tensor:
    return instance_features(teacher(given)).half()


def test_features_are_written_round_robin_and_the_oldest_give_way() -> None:
    term = build(memory=7)
    rounds = [half(images(seed, 3)) for seed in range(4)]
    counts, kept = [], []
    for seed in range(4):
        term.synthesised(step(images(seed, 3)))
        counts.append(int(term.count))
        kept.append(term.get_extra_state())
    assert counts == [3, 6, 9, 12]
    assert torch.equal(kept[0], rounds[0])
    assert torch.equal(kept[1], torch.cat(rounds[:2]))
    # Features 7 and 8 stand where 0 and 1 were; 9 to 11 where 2 to 4 were.
    assert torch.equal(kept[2], torch.cat([rounds[2][1:], rounds[0][2:], rounds[1], rounds[2][:1]]))
    assert torch.equal(kept[3], torch.cat([rounds[2][1:], rounds[3], rounds[1][2:], rounds[2][:1]]))


@pytest.mark.parametrize("before", [0, 3])
def test_of_a_batch_larger_than_the_memory_the_last_are_kept(before: int) -> None:
    term = build(memory=4)
    if before:
        term.synthesised(step(images(1, before)))
    large = images(0, 11)
    term.synthesised(step(large))
    kept = {tuple(row) for row in term.get_extra_state().tolist()}
    assert kept == {tuple(row) for row in half(large)[-4:].tolist()}


def test_a_state_holds_the_filled_part_of_the_memory_alone_and_restores_it_exactly() -> None:
    term = build(memory=1000)
    term.synthesised(step(images(0)))
    state = term.state_dict()
    assert "features" not in state
    assert state["_extra_state"].shape == (5, FEATURES)
    assert state["_extra_state"].dtype == torch.float16
    assert int(state["count"]) == 5
    file = io.BytesIO()
    torch.save(state, file)
    assert len(file.getvalue()) < 10_000  # 1000 features would be 18,000 bytes
    restored = build(seed=9, memory=1000)
    file.seek(0)
    restored.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(restored.features, term.features)
    # With the same random numbers, both go on alike.
    restored.source.manual_seed(6)
    with torch.no_grad():
        assert restored(step(images(1))).item() == term(step(images(1))).item()
    for each in (term, restored):
        each.synthesised(step(images(2)))
    assert torch.equal(restored.get_extra_state(), term.get_extra_state())


def test_a_state_of_a_memory_that_went_round_is_restored_exactly() -> None:
    term, restored = build(memory=7), build(memory=7)
    for seed in range(3):
        term.synthesised(step(images(seed)))
    restored.load_state_dict(copy.deepcopy(term.state_dict()))
    assert int(restored.count) == 15
    for each in (term, restored):
        each.synthesised(step(images(9)))
    assert torch.equal(restored.get_extra_state(), term.get_extra_state())


def test_a_state_is_a_copy_that_later_rounds_do_not_change() -> None:
    term = build(memory=5)
    term.synthesised(step(images(0)))
    kept = term.state_dict()["_extra_state"]
    before = kept.clone()
    term.synthesised(step(images(1)))
    assert torch.equal(kept, before)


def test_negatives_are_no_more_than_asked_for_and_none_twice() -> None:
    term = build(memory=20, negatives=8)
    for seed in range(3):
        term.synthesised(step(images(seed)))
    rows = [tuple(row) for row in term.get_extra_state().float().tolist()]
    drawn = term._negatives()
    assert drawn is not None
    found = [tuple(row) for row in drawn.tolist()]
    assert len(found) == len(set(found)) == 8
    assert set(found) <= set(rows)
    few = build(memory=20, negatives=50)
    few.synthesised(step(images(0)))
    drawn = few._negatives()
    assert drawn is not None
    assert len(drawn) == 5


def test_the_term_must_know_the_teacher() -> None:
    term = GENERATOR_TERMS["contrast"]
    with pytest.raises(TypeError, match="shapes of teacher and student"):
        term.build(term.settings(weight=1), None)
