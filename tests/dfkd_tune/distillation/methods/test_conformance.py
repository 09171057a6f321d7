"""What every method must do, whatever its recipe: all of them, made small.

That each runs with no data present and no data set to import is in `test_data_free.py`.
"""

import functools
import io
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
import torch
from small_methods import INPUTS, small, small_config, small_teacher
from torch import Tensor, nn

from dfkd_tune.classifiers import build_classifier
from dfkd_tune.distillation import (
    METHODS,
    DistillationConfig,
    Progress,
    State,
    active_terms,
    build_generator,
    distil,
)

Differences = Callable[[Any, Any], list[str]]

CLASSES = INPUTS.num_classes
OBJECTIVES = ("generator_objective", "student_objective")
TERMS = [
    (name, objective, term)
    for name, method in METHODS.items()
    for objective in OBJECTIVES
    for term in active_terms(getattr(method.recipe, objective))
]
# An objective needs at least one.
DISPENSABLE = [
    (name, objective, term)
    for name, objective, term in TERMS
    if len(active_terms(getattr(METHODS[name].recipe, objective))) > 1
]
every_method = pytest.mark.parametrize("name", METHODS)


@dataclass
class Run:
    """What a distillation told, and its state after each epoch, as a checkpoint holds it."""

    config: DistillationConfig
    progress: list[Progress] = field(default_factory=list)
    states: list[bytes] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)

    def state(self, epoch: int) -> State:
        """After an epoch, from 1, or from the end as a list counts."""
        place = epoch - 1 if epoch > 0 else epoch
        loaded: State = torch.load(io.BytesIO(self.states[place]), weights_only=True)
        return loaded


def run(
    config: DistillationConfig,
    *,
    teacher: nn.Module | None = None,
    restore: State | None = None,
    report: Callable[[Progress], None] = lambda _progress: None,
) -> Run:
    done = Run(config)

    def note(progress: Progress) -> None:
        done.progress.append(progress)
        file = io.BytesIO()
        torch.save(progress.state(), file)
        done.states.append(file.getvalue())
        report(progress)

    student = distil(config, teacher or small_teacher(), INPUTS, report=note, restore=restore)
    done.weights = {name: value.clone() for name, value in student.state_dict().items()}
    return done


@functools.cache
def as_published(name: str) -> Run:
    """A method's small run, made once."""
    torch.manual_seed(0)
    return run(small_config(name))


@functools.cache
def looked_at(name: str) -> tuple[Run, list[Tensor]]:
    """The same with other numbers in the global random state, and with pictures of each epoch."""
    seen: list[Tensor] = []

    def look(progress: Progress) -> None:
        random = torch.get_rng_state()
        seen.append(progress.pictures(2, 7))
        assert torch.equal(progress.pictures(2, 7), seen[-1])
        assert torch.equal(torch.get_rng_state(), random)

    torch.manual_seed(1)
    return run(small_config(name), report=look), seen


def short(name: str, changes: Callable[[dict[str, Any]], Any] = lambda _recipe: None) -> Run:
    """A still shorter run, with changes of the recipe."""
    recipe = small(name)
    recipe["schedule"]["epochs"] = 1
    # A round comes before the student has learnt, and what it does then is seen in the next.
    recipe["schedule"]["iterations_per_epoch"] = 2 if recipe["image_bank"]["size"] else 1
    changes(recipe)
    return run(DistillationConfig.model_validate(recipe))


short_as_published = functools.cache(short)


# ---------------------------------------------------------------- the same again


@every_method
def test_a_seed_decides_a_run_and_looking_at_it_changes_nothing(
    name: str, differences: Differences
) -> None:
    first, (second, _) = as_published(name), looked_at(name)
    for epoch in range(1, first.config.schedule.total_epochs + 1):
        found = differences(first.state(epoch), second.state(epoch))
        assert [place for place in found if place != "/random/torch"] == []
    assert [p.losses for p in first.progress] == [p.losses for p in second.progress]


@every_method
def test_another_seed_is_another_run(name: str, differences: Differences) -> None:
    first = short_as_published(name)
    second = short(name, lambda recipe: recipe.update(seed=1))
    assert differences(first.weights, second.weights)
    assert first.progress[0].losses != second.progress[0].losses


@every_method
def test_a_run_goes_on_bit_for_bit_from_the_state_of_every_epoch(
    name: str, differences: Differences
) -> None:
    whole = as_published(name)
    total = whole.config.schedule.total_epochs
    for epoch in range(1, total):
        torch.manual_seed(epoch)  # what another process would find
        resumed = run(whole.config, restore=whole.state(epoch))
        assert [p.epoch for p in resumed.progress] == list(range(epoch + 1, total + 1))
        for later in range(epoch + 1, total + 1):
            assert differences(whole.state(later), resumed.state(later - epoch)) == []
        assert differences(whole.weights, resumed.weights) == []
        for p, q in zip(whole.progress[epoch:], resumed.progress, strict=True):
            assert (p.losses, p.class_entropy, p.learning_rates) == (
                (q.losses, q.class_entropy, q.learning_rates)
            )
            assert (p.stage, p.student_steps, p.generator_steps, p.images) == (
                (q.stage, q.student_steps, q.generator_steps, q.images)
            )
            assert repr(p.collapse) == repr(q.collapse)  # an agreement may be NaN


# ---------------------------------------------------------------- terms


@pytest.mark.parametrize(("name", "objective", "term"), TERMS)
def test_the_weight_of_every_term_has_an_effect_on_the_student(
    name: str, objective: str, term: str, differences: Differences
) -> None:
    def heavier(recipe: dict[str, Any]) -> None:
        recipe[objective][term]["weight"] *= 3

    first, second = short_as_published(name), short(name, heavier)
    assert differences(first.weights, second.weights)
    label = f"{objective.removesuffix('_objective')}/{term}"
    losses = [[p.losses.get(label) for p in done.progress] for done in (first, second)]
    assert losses[0] != losses[1]


@pytest.mark.parametrize(("name", "objective", "term"), DISPENSABLE)
def test_a_term_of_weight_zero_is_a_term_left_out(
    name: str, objective: str, term: str, differences: Differences
) -> None:
    zero = short(name, lambda recipe: recipe[objective][term].update(weight=0.0))
    absent = short(name, lambda recipe: recipe[objective].pop(term))
    assert differences(zero.weights, absent.weights) == []
    found = differences(zero.state(-1), absent.state(-1))
    assert [place for place in found if place != "/random/torch"] == []
    label = f"{objective.removesuffix('_objective')}/{term}"
    assert not any(label in p.losses for p in zero.progress)
    # What changes an image by less than a grey level changes the other losses alone.
    published = short_as_published(name)
    others = [
        [{key: loss for key, loss in p.losses.items() if key != label} for p in done.progress]
        for done in (zero, published)
    ]
    assert differences(zero.weights, published.weights) or others[0] != others[1]


@every_method
def test_losses_are_those_of_the_active_terms_by_stage_and_finite(name: str) -> None:
    done = as_published(name)
    expected = {
        which: {f"{which}/{term}" for term in active_terms(getattr(done.config, objective))}
        for which, objective in zip(("generator", "student"), OBJECTIVES, strict=True)
    }
    of_stage = {**expected, "alternating": expected["generator"] | expected["student"]}
    for progress in done.progress:
        assert set(progress.losses) == of_stage[progress.stage]
        assert all(math.isfinite(value) for value in progress.losses.values())


# ---------------------------------------------------------------- what is told


@every_method
def test_what_the_watch_sees_is_in_range_in_every_epoch(name: str) -> None:
    for progress in as_published(name).progress:
        signs = progress.collapse
        assert 0 <= signs.feature_distance <= 2
        if progress.stage == "generator":
            assert math.isnan(signs.agreement)
        else:
            assert 0 <= signs.agreement <= 1
        assert set(signs.signs) <= {"classes", "features", "forgetting"}
        assert isinstance(signs.collapsed, bool)
        assert 0 <= progress.class_entropy <= math.log(CLASSES) + 1e-6


@every_method
def test_pictures_are_rows_of_classes_in_pixels(name: str) -> None:
    done, seen = looked_at(name)
    assert len(seen) == done.config.schedule.total_epochs
    for pictures in seen:
        assert pictures.shape == (2, CLASSES, *INPUTS.shape)
        assert pictures.dtype == torch.float32
        assert 0 <= pictures.min() <= pictures.max() <= 1
    # They are of images, and not of an empty place; others when there are others to see.
    assert seen[-1].std() > 0
    for index, (before, after) in enumerate(pairwise(seen), 1):
        assert torch.equal(before, after) is (done.progress[index].stage == "student")


@every_method
def test_steps_are_those_of_the_schedule(name: str) -> None:
    done = as_published(name)
    schedule, last = done.config.schedule, done.progress[-1]
    assert last.epoch == schedule.total_epochs
    assert last.student_steps == schedule.total_student_steps
    rounds = schedule.synthesis_epochs * schedule.iterations_per_epoch
    assert last.generator_steps == rounds * schedule.generator_steps
    bank = done.state(-1)["data"]["bank"]
    if done.config.synthesis.kind == "rounds":
        count = rounds * (done.config.synthesis.batch_size or schedule.batch_size)
        assert len(bank["labels"]) == min(count, done.config.image_bank.size)
    else:
        assert bank is None


# ---------------------------------------------------------------- what is trained, and what not


def snapshot(network: nn.Module) -> dict[str, Any]:
    return {
        "weights": {name: value.clone() for name, value in network.state_dict().items()},
        "requires_grad": [p.requires_grad for p in network.parameters()],
        "modes": [module.training for module in network.modules()],
        "hooks": [
            (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
            for m in network.modules()
        ],
        "gradients": [p.grad is None for p in network.parameters()],
    }


@every_method
def test_the_teacher_gets_no_gradient_and_is_given_back_unchanged(
    name: str, differences: Differences
) -> None:
    teacher = small_teacher()
    for index, module in enumerate(teacher.modules()):
        module.training = index % 3 == 0
    for index, parameter in enumerate(teacher.parameters()):
        parameter.requires_grad_(index % 2 == 0)
    before = snapshot(teacher)

    def check(progress: Progress) -> None:
        assert not any(p.requires_grad or p.grad is not None for p in teacher.parameters())
        assert not any(module.training for module in teacher.modules())
        weights = snapshot(teacher)["weights"]
        assert differences(before["weights"], weights) == []

    done = run(short_as_published(name).config, teacher=teacher, report=check)
    assert differences(before, snapshot(teacher)) == []
    # Nor does it matter in which mode it came.
    assert differences(done.weights, short_as_published(name).weights) == []


@every_method
def test_every_weight_of_student_and_generator_is_trained(name: str) -> None:
    done = as_published(name)
    last, config = done.progress[-1], done.config
    student = build_classifier(config.student, INPUTS, config.seed)
    for (key, first), now in zip(
        student.named_parameters(), last.student.parameters(), strict=True
    ):
        assert not torch.equal(first, now), key
        assert now.requires_grad
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in last.student.modules())
    assert (last.generator is None) is (config.synthesis.optimise == "pixels")
    if last.generator is not None:
        generator = build_generator(config.generator, INPUTS, config.seed + 1)
        for (key, first), now in zip(
            generator.named_parameters(), last.generator.parameters(), strict=True
        ):
            assert not torch.equal(first, now), key


@every_method
def test_weights_and_memories_of_terms_are_trained_but_for_the_fixed_ones(
    name: str, differences: Differences
) -> None:
    """Fixed is the teacher's side of the high-order attention, alone."""
    done = as_published(name)
    before, after = done.state(-2), done.state(-1)
    for part in ("student", "synthesis"):
        terms = before[part]["objective"]
        changed = set(differences(terms, after[part]["objective"]))
        fixed = {f"/{key}" for key in terms if ".of_teacher." in key and "high_order" in key}
        # A memory of features is a tensor of those so far.
        assert changed == {f"/{key}" for key in terms if terms[key].numel()} - fixed


def test_the_terms_with_weights_or_memories_are_these() -> None:
    """So that the test before looks at something."""
    found: dict[str, set[str]] = {name: set() for name in METHODS}
    for name in METHODS:
        state = as_published(name).state(-1)
        for part in ("student", "synthesis"):
            found[name] |= {key.split(".")[1] for key in state[part]["objective"]}
    assert {name: terms for name, terms in found.items() if terms} == {
        "dfkd_fgvc": {"high_order_attention", "semantic_contrast"},
        "cmi": {"contrast"},
        "fast": {"bn_statistics"},
        "nayer": {"bn_statistics"},
    }


@every_method
def test_trains_in_bfloat16_too(name: str) -> None:
    reduced = run(small_config(name).model_copy(update={"precision": "bfloat16"}))
    plain = as_published(name)
    first, last = reduced.progress[0], reduced.progress[-1]
    assert all(value.dtype != torch.bfloat16 for value in reduced.weights.values())
    assert all(math.isfinite(loss) for loss in last.losses.values())
    # It begins with the same weights and the same noise.
    for term, loss in first.losses.items():
        assert loss == pytest.approx(plain.progress[0].losses[term], rel=0.3, abs=0.3), term
    assert first.losses != plain.progress[0].losses
