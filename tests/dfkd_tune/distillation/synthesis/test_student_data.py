"""Which images the student trains on: new ones, kept ones, those of an average or of a memory."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dfkd_tune.classifiers import ForwardPass
from dfkd_tune.distillation import STUDENT_TERMS, DistillationConfig, Progress, Step, distil
from dfkd_tune.distillation.synthesis import Batch, StreamSynthesis, StudentData
from dfkd_tune.distillation.terms import NO_LABEL
from dfkd_tune.inputs import InputSpecification

Make = Callable[..., DistillationConfig]
Assemble = Callable[..., Any]
Record = Callable[..., Any]

FRESH, AVERAGED, KEPT, REMEMBERED = 1.0, 2.0, 3.0, 4.0
MEMORY = {"latent_size": 3, "width": 2}


def flat(images: Tensor, _step: int) -> Tensor:
    return images.sum() * 0


@pytest.fixture
def compose(
    make_config: Make,
    assemble: Assemble,
    inputs: InputSpecification,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., tuple[StudentData, Any]]:
    """Student data whose images say where they are from by the value of their pixels."""

    def build(**sections: Any) -> tuple[StudentData, Any]:
        config = make_config(**sections)
        parts = assemble(config, flat)
        data = StudentData(
            config,
            inputs,
            parts.synthesis,
            parts.bank,
            parts.source,
            torch.Generator().manual_seed(8),
        )

        def constant(count: int, value: float) -> Tensor:
            return torch.full((count, *inputs.shape), value)

        def fresh(count: int, *, averaged: bool = False) -> Batch:
            images = constant(count, AVERAGED if averaged else FRESH)
            return Batch(images=images, labels=torch.full((count,), 2 if averaged else 1))

        def sample(count: int, _source: torch.Generator) -> Batch:
            return Batch(images=constant(count, KEPT), labels=torch.full((count,), 3))

        if isinstance(parts.synthesis, StreamSynthesis):
            monkeypatch.setattr(parts.synthesis, "fresh", fresh)
        if parts.bank is not None:
            monkeypatch.setattr(parts.bank, "sample", sample)
        if data.memory is not None:
            monkeypatch.setattr(
                data.memory, "sample", lambda count, _source: constant(count, REMEMBERED)
            )
        return data, parts

    return build


def counts(batch: Batch) -> list[int]:
    """Images that are fresh, averaged, kept and remembered; each must be of one kind."""
    values = batch.images.flatten(1)
    assert torch.equal(values.amin(1), values.amax(1))
    found = [int((values[:, 0] == v).sum()) for v in (FRESH, AVERAGED, KEPT, REMEMBERED)]
    assert sum(found) == len(batch)
    return found


# ---------------------------------------------------------------- composition


@pytest.mark.parametrize(
    ("kept", "averaged", "remembered", "expected"),
    [
        (0, 0, 0, [8, 0, 0, 0]),
        (0.25, 0, 0, [6, 0, 2, 0]),
        (1, 0, 0, [0, 0, 8, 0]),
        (0, 0.5, 0, [4, 4, 0, 0]),
        (0, 1, 0, [0, 8, 0, 0]),
        (0, 0, 0.125, [7, 0, 0, 1]),
        (0, 0, 1, [0, 0, 0, 8]),
        (0.25, 0.25, 0.25, [2, 2, 2, 2]),
        (0.75, 0.5, 0.5, [0, 2, 6, 0]),
        (0.5, 0.25, 1, [0, 2, 4, 2]),
    ],
)
def test_shares_of_a_batch_are_those_that_were_asked_for(
    compose: Callable[..., Any],
    kept: float,
    averaged: float,
    remembered: float,
    expected: list[int],
) -> None:
    data, parts = compose(
        schedule={"batch_size": 8},
        image_bank={"size": 100 if kept else 0, "replay_share": kept},
        generator_average={"momentum": 0.9 if averaged else 0.0, "share": averaged},
        generative_replay={"share": remembered, **MEMORY},
    )
    if parts.bank is not None:
        parts.bank.add(torch.zeros(1, 2, 8, 4), torch.tensor([0]))
    for _ in range(2):
        data.begin_iteration()
        batch = data.next()
        assert counts(batch) == expected
        # Each image has the label that it was made for, or none.
        made_for = dict(zip((FRESH, AVERAGED, KEPT, REMEMBERED), (1, 2, 3, NO_LABEL), strict=True))
        wanted = [made_for[float(image[0, 0, 0])] for image in batch.images]
        assert batch.labels.tolist() == wanted


def test_as_long_as_the_bank_is_empty_its_share_is_of_new_images(
    compose: Callable[..., Any],
) -> None:
    data, _ = compose(
        schedule={"batch_size": 8},
        image_bank={"size": 100, "replay_share": 0.75},
        generator_average={"momentum": 0.9, "share": 0.25},
    )
    assert counts(data.next()) == [6, 2, 0, 0]
    assert counts(data.next()) == [0, 2, 6, 0]


def test_the_bank_takes_new_images_alone(compose: Callable[..., Any]) -> None:
    data, parts = compose(
        schedule={"batch_size": 8},
        image_bank={"size": 100, "replay_share": 0.25},
        generator_average={"momentum": 0.9, "share": 0.25},
        generative_replay={"share": 0.25, **MEMORY},
    )
    for filled in (4, 6, 8):  # there is nothing to replay at first
        data.next()
        assert parts.bank.filled == filled
    state = parts.bank.state_dict()
    assert set(state["images"].flatten().tolist()) == {FRESH}
    assert set(state["labels"].tolist()) == {1}


def test_the_memory_learns_of_new_images_alone(
    compose: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, _ = compose(
        schedule={"batch_size": 8},
        image_bank={"size": 100, "replay_share": 0.25},
        generative_replay={"share": 0.5, **MEMORY},
    )
    assert data.memory is not None
    seen, loss = [], data.memory.loss

    def observed(images: Tensor, source: torch.Generator) -> Tensor:
        seen.append(images)
        return torch.as_tensor(loss(images, source))

    monkeypatch.setattr(data.memory, "loss", observed)
    before = {name: p.detach().clone() for name, p in data.memory.named_parameters()}
    data.next()
    data.next()
    assert [len(images) for images in seen] == [4, 2]
    assert set(torch.cat(seen).flatten().tolist()) == {FRESH}
    after = dict(data.memory.named_parameters())
    assert all(not torch.equal(before[name], after[name]) for name in before)


def test_the_memory_learns_at_a_share_of_the_generators_rate(compose: Callable[..., Any]) -> None:
    data, _ = compose(
        generator_optimiser={"learning_rate": 0.02},
        generative_replay={"share": 0.5, "learning_rate_factor": 0.025, **MEMORY},
    )
    assert data.memory_optimiser is not None
    (group,) = data.memory_optimiser.param_groups
    assert group["lr"] == pytest.approx(0.0005, rel=1e-12)


def test_in_rounds_the_student_trains_on_the_bank_alone(compose: Callable[..., Any]) -> None:
    data, parts = compose(
        synthesis={"kind": "rounds", "batch_size": 3},
        image_bank={"size": 100, "replay_share": 1.0},
        schedule={"batch_size": 8},
    )
    parts.iterate()
    assert counts(data.next()) == [0, 0, 8, 0]
    assert parts.bank.filled == 3


@pytest.mark.parametrize("reuse", [True, False])
def test_the_steps_of_an_iteration_may_share_one_batch(
    compose: Callable[..., Any], reuse: bool
) -> None:
    data, _ = compose(schedule={"reuse_batch": reuse})
    batches = []
    for _ in range(2):
        data.begin_iteration()
        batches += [data.next(), data.next(), data.next()]
    same = [batches[0] is batch for batch in batches]
    assert same == ([True] * 3 + [False] * 3 if reuse else [True] + [False] * 5)
    assert (batches[3] is batches[5]) is reuse


@pytest.mark.parametrize(("reuse", "batches"), [(True, 4), (False, 12)])
def test_a_run_makes_one_batch_per_iteration_where_its_steps_share_it(
    make_config: Make, record: Record, teacher: nn.Module, reuse: bool, batches: int
) -> None:
    config = make_config(
        schedule={
            "epochs": 2,
            "iterations_per_epoch": 2,
            "student_steps": 3,
            "batch_size": 5,
            "reuse_batch": reuse,
        },
        image_bank={"size": 1000, "replay_share": 0.0},
    )
    recorded = record(config, teacher)
    assert len(recorded.state(2)["data"]["bank"]["labels"]) == 5 * batches
    assert recorded.progress[-1].student_steps == 12
    # Two iterations of one batch of the generator's and three of the student's, of 5 images.
    assert recorded.progress[-1].images == 40


# ---------------------------------------------------------------- augmentation


@pytest.fixture
def augment(
    make_config: Make, assemble: Assemble, inputs: InputSpecification
) -> Callable[[str], tuple[Tensor, Tensor, Any]]:
    """Images of a bank, as they are and as the student gets them, and the random sources."""

    def run(kind: str) -> tuple[Tensor, Tensor, Any]:
        config = make_config(
            image_bank={"size": 3, "replay_share": 1.0, "augmentation": kind},
            schedule={"batch_size": 60},
        )
        parts = assemble(config, flat)
        numbers = torch.Generator().manual_seed(2)
        parts.bank.add(torch.randn(3, *inputs.shape, generator=numbers), torch.tensor([0, 1, 2]))
        host = torch.Generator().manual_seed(8)
        data = StudentData(config, inputs, parts.synthesis, parts.bank, parts.source, host)
        expected = torch.Generator().manual_seed(config.seed)
        kept = parts.bank.sample(60, expected)
        before = torch.get_rng_state(), host.get_state()
        batch = data.next()
        assert torch.equal(torch.get_rng_state(), before[0])
        # The places in the bank are the only thing that is drawn on the device.
        assert torch.equal(parts.source.get_state(), expected.get_state())
        assert torch.equal(batch.labels, kept.labels)
        assert batch.images.shape == kept.images.shape
        return kept.images, batch.images, torch.equal(host.get_state(), before[1])

    return run


def test_images_of_the_bank_come_as_they_are_by_default(augment: Callable[..., Any]) -> None:
    images, found, untouched = augment("none")
    assert torch.equal(images, found)
    assert untouched


def test_images_of_the_bank_may_be_mirrored(augment: Callable[..., Any]) -> None:
    images, found, untouched = augment("flip")
    mirrored = [bool(torch.equal(a.flip(2), b)) for a, b in zip(images, found, strict=True)]
    plain = [bool(torch.equal(a, b)) for a, b in zip(images, found, strict=True)]
    assert [m != p for m, p in zip(mirrored, plain, strict=True)] == [True] * 60
    assert 15 < sum(mirrored) < 45
    assert not untouched


def test_images_of_the_bank_may_be_shifted_and_mirrored(augment: Callable[..., Any]) -> None:
    """By an eighth of the shorter side, at least one pixel, over a reflected border."""
    images, found, untouched = augment("crop_flip")
    ways: set[tuple[int, int, bool]] = set()
    for image, augmented in zip(images.numpy(), found.numpy(), strict=True):
        padded = np.pad(image, ((0, 0), (1, 1), (1, 1)), mode="reflect")
        ways_of_this = {
            (top, left, mirrored)
            for top in range(3)
            for left in range(3)
            for mirrored in (False, True)
            if np.array_equal(
                padded[:, top : top + 8, left : left + 4][:, :, :: -1 if mirrored else 1],
                augmented,
            )
        }
        assert len(ways_of_this) == 1
        ways |= ways_of_this
    assert {top for top, _, _ in ways} == {0, 1, 2}
    assert {left for _, left, _ in ways} == {0, 1, 2}
    assert {mirrored for _, _, mirrored in ways} == {False, True}
    assert not untouched


def test_new_images_are_not_augmented(
    make_config: Make, assemble: Assemble, inputs: InputSpecification
) -> None:
    made = []
    for kind in ("none", "crop_flip"):
        config = make_config(image_bank={"size": 3, "augmentation": kind, "replay_share": 0.0})
        parts = assemble(config, flat)
        host = torch.Generator().manual_seed(8)
        data = StudentData(config, inputs, parts.synthesis, parts.bank, parts.source, host)
        made.append(data.next().images)
    assert torch.equal(made[0], made[1])


# ---------------------------------------------------------------- images without a label


def preset_label(student: Tensor, teacher: Tensor, labels: list[int], **settings: Any) -> Tensor:
    term = STUDENT_TERMS["preset_label"]
    step = Step(
        images=torch.zeros(len(labels), 2, 8, 4),
        labels=torch.tensor(labels),
        teacher=ForwardPass(logits=teacher),
        student=ForwardPass(logits=student),
    )
    given = term.settings.model_validate({"weight": 1, **settings})
    return torch.as_tensor(term.build(given, None)(step))


def test_no_label_is_what_cross_entropy_leaves_out() -> None:
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    with_it = functional.cross_entropy(logits, torch.tensor([1, NO_LABEL, 2]))
    without = functional.cross_entropy(logits[[0, 2]], torch.tensor([1, 2]))
    assert torch.equal(with_it, without)


@pytest.mark.parametrize("gate", [False, True])
def test_images_without_a_label_take_no_part_in_the_students_label_loss(gate: bool) -> None:
    numbers = torch.Generator().manual_seed(1)
    student = torch.randn(4, 3, generator=numbers, requires_grad=True)
    # The teacher sees in each labelled image what was asked for.
    teacher = functional.one_hot(torch.tensor([2, 0, 1, 1]), 3).float()
    loss = preset_label(student, teacher, [2, NO_LABEL, 1, NO_LABEL], gate_by_teacher=gate)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss > 0
    assert bool(gradient[[0, 2]].any(1).all())
    assert not bool(gradient[[1, 3]].any())
    # Whatever the student says of them, the loss is the same.
    other = student.detach().clone()
    other[[1, 3]] += 5
    again = preset_label(other, teacher, [2, NO_LABEL, 1, NO_LABEL], gate_by_teacher=gate)
    assert again.item() == loss.item()


@pytest.mark.parametrize("gate", [False, True])
def test_a_batch_without_any_label_has_a_label_loss_of_zero(gate: bool) -> None:
    student = torch.randn(2, 3, requires_grad=True)
    loss = preset_label(student, torch.zeros(2, 3), [NO_LABEL] * 2, gate_by_teacher=gate)
    assert loss.item() == 0
    (gradient,) = torch.autograd.grad(loss, student)
    assert not bool(gradient.any())


@pytest.mark.parametrize("gate", [False, True])
def test_a_run_whose_batches_are_remembered_alone_leaves_the_label_loss_at_zero(
    make_config: Make, teacher: nn.Module, inputs: InputSpecification, gate: bool
) -> None:
    config = make_config(
        generative_replay={"share": 1.0, **MEMORY},
        student_objective={
            "kd": {"weight": 1},
            "preset_label": {"weight": 1, "gate_by_teacher": gate},
        },
    )
    losses: list[float] = []

    def report(progress: Progress) -> None:
        losses.append(progress.losses["student/preset_label"])

    distil(config, teacher, inputs, report=report)
    assert losses == [0, 0, 0]
