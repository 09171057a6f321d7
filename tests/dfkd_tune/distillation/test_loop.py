"""The loop: who trains when, on what, and what it tells."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from dfkd_tune.classifiers import build_classifier
from dfkd_tune.distillation import DistillationConfig, Progress, build_generator, distil
from dfkd_tune.inputs import InputSpecification

Make = Callable[..., DistillationConfig]
Record = Callable[..., Any]
Differences = Callable[[Any, Any], list[str]]

TWO_STAGE = {"mode": "two_stage", "generator_epochs": 2, "epochs": 2}
ALL_TERMS: dict[str, Any] = {
    "generator_objective": {
        "preset_label": {"weight": 1.0},
        "bn_statistics": {"weight": 0.5},
        "activation": {"weight": 0.1},
        "information_entropy": {"weight": 2.0},
        "adversarial": {"weight": 0.5},
    },
    "student_objective": {
        "kd": {"weight": 1.0},
        "preset_label": {"weight": 0.5},
        "attention_transfer": {"weight": 5.0},
    },
}
EVERY_WEIGHT = [(o, name) for o, terms in ALL_TERMS.items() for name in terms]


def parameters(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in network.named_parameters()}


def test_two_runs_end_in_the_same_state_bit_for_bit(
    make_config: Make, record: Record, teacher: nn.Module, differences: Differences
) -> None:
    torch.manual_seed(1)
    first = record(make_config(**ALL_TERMS), teacher)
    torch.manual_seed(2)
    torch.rand(5)
    second = record(make_config(**ALL_TERMS), teacher)
    found = differences(first.state(3), second.state(3))
    assert [place for place in found if place != "/random/torch"] == []
    assert [p.losses for p in first.progress] == [p.losses for p in second.progress]


def test_another_seed_ends_elsewhere(
    make_config: Make, record: Record, teacher: nn.Module, differences: Differences
) -> None:
    first, second = (record(make_config(seed=seed), teacher) for seed in (1, 2))
    assert differences(parameters(first.student), parameters(second.student))


@pytest.mark.parametrize("bank", [0, 20])
@pytest.mark.parametrize("mode", ["alternating", "two_stage"])
def test_steps_and_images_are_counted_by_stage(
    make_config: Make, record: Record, teacher: nn.Module, mode: str, bank: int
) -> None:
    schedule = {
        "mode": mode,
        "generator_epochs": 2,
        "epochs": 3,
        "iterations_per_epoch": 2,
        "generator_steps": 3,
        "student_steps": 2,
        "batch_size": 5,
    }
    config = make_config(schedule=schedule, image_bank={"size": bank})
    progress: list[Progress] = record(config, teacher).progress
    last = "student" if mode == "two_stage" else "alternating"
    assert [p.epoch for p in progress] == [1, 2, 3, 4, 5]
    assert [p.stage for p in progress] == ["generator"] * 2 + [last] * 3
    assert [p.student_steps for p in progress] == [0, 0, 4, 8, 12]
    assert progress[-1].student_steps == config.schedule.total_student_steps
    generator = [6, 12, 12, 12, 12] if mode == "two_stage" else [6, 12, 18, 24, 30]
    assert [p.generator_steps for p in progress] == generator
    per_epoch = 20 if mode == "two_stage" else 50
    assert [p.images for p in progress] == [30, 30] + [per_epoch] * 3


def test_losses_are_named_by_objective_and_stage(
    make_config: Make, record: Record, teacher: nn.Module
) -> None:
    progress = record(make_config(schedule=TWO_STAGE), teacher).progress
    generator = {"generator/preset_label", "generator/bn_statistics"}
    student = {"student/kd", "student/preset_label", "student/attention_transfer"}
    assert [set(p.losses) for p in progress] == [generator, generator, student, student]
    assert all(math.isfinite(value) for p in progress for value in p.losses.values())


def test_two_stage_trains_one_network_at_a_time(
    make_config: Make,
    record: Record,
    teacher: nn.Module,
    inputs: InputSpecification,
    differences: Differences,
) -> None:
    config = make_config(schedule={**TWO_STAGE, "generator_mode_when_sampling": "eval"})
    recorded = record(config, teacher)
    student = build_classifier(config.student, inputs, config.seed).state_dict()
    states = [recorded.state(epoch) for epoch in (1, 2, 3, 4)]
    students = [state["student"]["network"] for state in states]
    generators = [state["synthesis"]["generator"] for state in states]
    assert differences(students[0], student) == []
    assert differences(students[1], student) == []
    assert differences(generators[0], generators[1])
    assert differences(generators[1], generators[2]) == []
    assert differences(generators[1], generators[3]) == []
    assert differences(students[2], students[3])


def test_sampling_in_train_mode_moves_the_frozen_generators_running_statistics_alone(
    make_config: Make, record: Record, teacher: nn.Module, differences: Differences
) -> None:
    recorded = record(make_config(schedule=TWO_STAGE), teacher)
    before, after = (recorded.state(epoch)["synthesis"]["generator"] for epoch in (2, 4))
    found = differences(before, after)
    assert found
    assert all("running_" in place or "num_batches" in place for place in found)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_generator_step_reads_the_student_but_does_not_train_it(
    make_config: Make, teacher: nn.Module, inputs: InputSpecification, mode: str
) -> None:
    config = make_config(
        generator_objective={"adversarial": {"weight": 1.0}},
        schedule={"generator_epochs": 1, "epochs": 1, "student_mode_in_generator_step": mode},
    )
    start = build_classifier(config.student, inputs, config.seed).state_dict()
    fresh = parameters(build_generator(config.generator, inputs, config.seed + 1))
    seen = []

    def report(progress: Progress) -> None:
        if progress.stage == "generator":
            seen.append(progress.epoch)
            now = progress.student.state_dict()
            moved = {name for name in start if not torch.equal(start[name], now[name])}
            assert all("running_" in n or "num_batches" in n for n in moved)
            assert bool(moved) is (mode == "train")
            assert all(p.grad is None for p in progress.student.parameters())
            assert all(p.requires_grad for p in progress.student.parameters())
            assert progress.generator is not None
            changed = parameters(progress.generator)
            assert all(not torch.equal(fresh[name], changed[name]) for name in fresh)

    distil(config, teacher, inputs, report=report)
    assert seen == [1]


def test_a_student_step_trains_every_weight_of_the_student_and_none_of_the_generator(
    make_config: Make, teacher: nn.Module, inputs: InputSpecification
) -> None:
    config = make_config(
        schedule={"mode": "two_stage", "generator_epochs": 1, "epochs": 1},
        student={"width": 0.25},
    )
    seen: list[dict[str, torch.Tensor]] = []

    def report(progress: Progress) -> None:
        assert progress.generator is not None
        seen.append(parameters(progress.generator))
        if progress.stage == "student":
            start = parameters(build_classifier(config.student, inputs, config.seed))
            for name, value in progress.student.named_parameters():
                assert value.grad is not None
                assert bool(torch.isfinite(value.grad).all())
                assert not torch.equal(start[name], value), name

    distil(config, teacher, inputs, report=report)
    assert all(torch.equal(seen[0][name], seen[1][name]) for name in seen[0])


@pytest.mark.parametrize(("objective", "name"), EVERY_WEIGHT)
def test_weight_zero_is_the_term_absent_and_any_other_weight_has_an_effect(
    make_config: Make,
    record: Record,
    teacher: nn.Module,
    differences: Differences,
    objective: str,
    name: str,
) -> None:
    schedule = {"epochs": 1, "iterations_per_epoch": 2}

    def end(**terms: Any) -> Any:
        sections = {**ALL_TERMS, objective: terms}
        return record(make_config(schedule=schedule, **sections), teacher)

    others = {key: value for key, value in ALL_TERMS[objective].items() if key != name}
    absent = end(**others)
    zero = end(**others, **{name: {"weight": 0}})
    present = end(**others, **{name: {"weight": 0.3}})
    assert differences(absent.state(1), zero.state(1)) == []
    assert differences(parameters(absent.student), parameters(present.student))
    label = f"{objective.removesuffix('_objective')}/{name}"
    assert label not in absent.progress[0].losses
    assert label not in zero.progress[0].losses
    assert label in present.progress[0].losses


@pytest.mark.parametrize(("objective", "name"), EVERY_WEIGHT)
def test_reported_loss_is_the_raw_loss_times_the_weight(
    make_config: Make, record: Record, teacher: nn.Module, objective: str, name: str
) -> None:
    """The first loss comes before any update, so the weight is all that differs."""
    generator = objective == "generator_objective"
    schedule = {
        "epochs": 1,
        "generator_epochs": 1,
        "iterations_per_epoch": 1,
        "student_steps": 1,
        "mode": "alternating" if generator else "two_stage",
    }
    losses = []
    for weight in (0.5, 2.0):
        sections = {**ALL_TERMS, objective: {name: {"weight": weight}}}
        if not generator:
            sections["generator_objective"] = {"preset_label": {"weight": 1}}
        progress = record(make_config(schedule=schedule, **sections), teacher).progress
        losses.append(progress[0 if generator else 1].losses)
    (label,) = losses[0]
    assert label == f"{objective.removesuffix('_objective')}/{name}"
    assert losses[1][label] == pytest.approx(4 * losses[0][label], rel=1e-5)
    assert losses[0][label] != 0


def test_learning_rates_follow_the_schedules(
    make_config: Make, record: Record, teacher: nn.Module
) -> None:
    config = make_config(
        schedule={
            "epochs": 2,
            "iterations_per_epoch": 2,
            "student_steps": 2,
            "generator_epochs": 1,
        },
        student_optimiser={"learning_rate": 0.8, "warmup_epochs": 1},
        generator_optimiser={"learning_rate": 0.01, "schedule": "cosine"},
    )
    progress = record(config, teacher).progress
    # Eight student steps: four of warm-up, then a cosine over four; at an end the last step's rate.
    cosine = 0.4 * (1 + math.cos(math.pi * 3 / 4))
    found = [p.learning_rates["student"] for p in progress]
    assert found[1:] == pytest.approx([0.8, cosine], rel=1e-9)
    # Six generator steps in three epochs of two.
    expected = [0.005 * (1 + math.cos(math.pi * step / 6)) for step in (1, 3, 5)]
    assert [p.learning_rates["generator"] for p in progress] == pytest.approx(expected, rel=1e-9)


def test_the_students_rate_falls_at_the_milestones_that_were_given(
    make_config: Make, record: Record, teacher: nn.Module
) -> None:
    config = make_config(
        schedule={"epochs": 4, "iterations_per_epoch": 1, "student_steps": 2},
        student_optimiser={"learning_rate": 0.8, "schedule": "step", "milestones": (0.25, 0.75)},
    )
    found = [p.learning_rates["student"] for p in record(config, teacher).progress]
    assert found == pytest.approx([0.8, 0.08, 0.08, 0.008], rel=1e-9)


@pytest.mark.parametrize(("limit", "limited"), [(0.0, False), (1e-3, True)])
def test_gradients_of_the_student_and_its_terms_can_be_limited(
    make_config: Make, record: Record, teacher: nn.Module, limit: float, limited: bool
) -> None:
    """A step of plain SGD at a rate of 1 is as long as the gradient."""
    config = make_config(
        schedule={"epochs": 2, "iterations_per_epoch": 1, "student_steps": 1},
        student_objective={
            "kd": {"weight": 10},
            # Separate and without BatchNorm: all that moves of it is weights, each once.
            "semantic_contrast": {
                "weight": 10,
                "hidden_width": 4,
                "output_width": 2,
                "head": "separate",
                "hidden_norm": "none",
            },
        },
        student_optimiser={
            "learning_rate": 1.0,
            "momentum": 0.0,
            "weight_decay": 0.0,
            "schedule": "constant",
            "gradient_clip": limit,
        },
    )
    recorded = record(config, teacher)
    states = [recorded.state(epoch)["student"] for epoch in (1, 2)]
    moved = [
        (states[1][part][name].double() - states[0][part][name].double()).square().sum()
        for part, names in (
            ("network", [name for name, _ in recorded.student.named_parameters()]),
            ("objective", list(states[0]["objective"])),
        )
        for name in names
    ]
    length = float(torch.stack(moved).sum().sqrt())
    assert (length == pytest.approx(limit, rel=1e-2)) if limited else (length > 0.1)


def test_two_stage_spreads_the_generators_cosine_over_its_own_epochs(
    make_config: Make, record: Record, teacher: nn.Module
) -> None:
    config = make_config(
        schedule=TWO_STAGE, generator_optimiser={"learning_rate": 0.01, "schedule": "cosine"}
    )
    progress = record(config, teacher).progress
    expected = [0.005 * (1 + math.cos(math.pi * step / 4)) for step in (1, 3)]
    found = [p.learning_rates["generator"] for p in progress]
    assert found[:2] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("favoured", "expected"), [(0.0, math.log(4)), (200.0, 0.0)])
def test_class_entropy_is_of_the_teachers_mean_prediction(
    make_config: Make, record: Record, teacher: nn.Module, favoured: float, expected: float
) -> None:
    """A teacher whose last layer has a bias alone predicts one distribution for every image."""
    with torch.no_grad():
        last = teacher.get_submodule("classifier")
        assert isinstance(last, nn.Linear)
        last.weight.zero_()
        last.bias.zero_()
        last.bias[2] = favoured
    for progress in record(make_config(), teacher).progress:
        assert progress.class_entropy == pytest.approx(expected, abs=1e-6)


def test_times_of_an_epoch_add_up(make_config: Make, record: Record, teacher: nn.Module) -> None:
    options = {"evaluate": lambda _student: {"accuracy": 0.5}}
    for progress in record(make_config(), teacher, **options).progress:
        parts = dict(progress.seconds)
        total = parts.pop("total")
        assert set(parts) == {"synthesis", "student", "evaluation"}
        assert all(value >= 0 for value in parts.values())
        assert parts["synthesis"] > 0
        assert parts["student"] > 0
        assert total >= sum(parts.values())


def labels_of_all_batches(recorded: Any) -> torch.Tensor:
    """Preset labels in the order in which the bank met them."""
    labels: torch.Tensor = recorded.state(len(recorded.states))["data"]["bank"]["labels"]
    return labels


@pytest.mark.parametrize("batch", [8, 10])
def test_balanced_labels_have_every_class_equally_often_in_each_batch(
    make_config: Make, record: Record, teacher: nn.Module, batch: int
) -> None:
    config = make_config(
        schedule={"label_sampling": "balanced", "batch_size": batch},
        image_bank={"size": 10_000, "replay_share": 0.0},
    )
    batches = labels_of_all_batches(record(config, teacher)).view(-1, batch)
    assert len(batches) == 12
    counts = torch.stack([torch.bincount(labels, minlength=4) for labels in batches])
    assert int((counts.amax(1) - counts.amin(1)).max()) == (0 if batch == 8 else 1)
    assert len({tuple(labels.tolist()) for labels in batches}) > 1


def test_balanced_labels_favour_no_class_where_the_batch_is_no_multiple_of_the_classes(
    make_config: Make, record: Record, teacher: nn.Module
) -> None:
    """Which classes come once more must change from batch to batch: 60 batches of 5 for 4."""
    config = make_config(
        schedule={
            "label_sampling": "balanced",
            "batch_size": 5,
            "epochs": 1,
            "iterations_per_epoch": 10,
            "student_steps": 6,
        },
        image_bank={"size": 10_000, "replay_share": 0.0},
    )
    batches = labels_of_all_batches(record(config, teacher)).view(-1, 5)
    assert len(batches) == 60
    twice = {int(torch.bincount(labels, minlength=4).argmax()) for labels in batches}
    assert twice == {0, 1, 2, 3}


def test_uniform_labels_are_independent_and_reach_every_class(
    make_config: Make, record: Record, teacher: nn.Module
) -> None:
    config = make_config(
        schedule={"batch_size": 40}, image_bank={"size": 10_000, "replay_share": 0}
    )
    labels = labels_of_all_batches(record(config, teacher))
    counts = torch.bincount(labels, minlength=4)
    assert len(counts) == 4
    assert counts.sum() == 480
    # Four standard deviations around a quarter each; not all batches are balanced.
    assert bool(((counts - 120).abs() < 4 * math.sqrt(480 * 3 / 16)).all())
    per_batch = torch.stack([torch.bincount(b, minlength=4) for b in labels.view(-1, 40)])
    assert not bool((per_batch == 10).all())


def test_half_of_a_batch_is_replayed_and_the_bank_grows_by_the_rest(
    make_config: Make, record: Record, teacher: nn.Module
) -> None:
    config = make_config(
        schedule={"epochs": 1, "iterations_per_epoch": 2, "student_steps": 2, "batch_size": 8},
        image_bank={"size": 1000, "replay_share": 0.25},
    )
    bank = record(config, teacher).state(1)["data"]["bank"]
    assert len(bank["labels"]) == 8 + 3 * 6
    assert bank["images"].dtype == torch.float16


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.long)])
def test_kept_answers_change_nothing_but_how_often_the_teacher_is_asked(
    make_config: Make, teacher: nn.Module, inputs: InputSpecification, compiled: bool
) -> None:
    students, seen = [], []
    asked: list[int] = []
    handle = teacher.register_forward_hook(lambda _m, args, _o: asked.append(len(args[0])))
    for keep in (False, True):
        config = make_config(
            synthesis={"kind": "rounds", "batch_size": 7},
            image_bank={"size": 30, "replay_share": 1.0, "keep_answers": keep},
            student_objective={"kd": {"weight": 1}, "attention_transfer": {"weight": 0}},
            schedule={"epochs": 2, "iterations_per_epoch": 3, "student_steps": 4, "batch_size": 6},
            compile_teacher=compiled,
        )
        asked.clear()
        students.append(distil(config, teacher, inputs).state_dict())
        seen.append(asked.count(6))
    handle.remove()
    for one, other in zip(students[0].values(), students[1].values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    if not compiled:
        # In each of 24 steps; and in none: what is left is the collapse watch.
        assert seen[0] - seen[1] == 24


@pytest.mark.parametrize(("reuse", "passes"), [(False, 1 + 4), (True, 1 + 1)])
def test_the_teacher_sees_a_shared_batch_once(
    make_config: Make,
    teacher: nn.Module,
    inputs: InputSpecification,
    reuse: bool,
    passes: int,
) -> None:
    schedule = {"epochs": 2, "iterations_per_epoch": 3, "student_steps": 4, "reuse_batch": reuse}
    batches: list[int] = []
    after: list[int] = []
    handle = teacher.register_forward_hook(lambda _m, args, _o: batches.append(len(args[0])))
    config = make_config(schedule=schedule)
    try:
        distil(config, teacher, inputs, report=lambda _progress: after.append(len(batches)))
    finally:
        handle.remove()
    steps = batches[after[0] : after[1]].count(config.schedule.batch_size)
    # The collapse watch looks at the last batch of an epoch, and at what it keeps of it, all.
    assert steps == 3 * passes + 2
