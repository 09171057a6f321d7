"""The teacher comes back as it came, and evaluation disturbs nothing."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from dfkd_tune.classifiers import NetworkConfig, build_classifier
from dfkd_tune.distillation import DistillationConfig, Progress, distil
from dfkd_tune.errors import UsageError
from dfkd_tune.inputs import InputSpecification

Make = Callable[..., DistillationConfig]
Record = Callable[..., Any]
Differences = Callable[[Any, Any], list[str]]

ALL_TERMS: dict[str, Any] = {
    "generator_objective": {
        "preset_label": {"weight": 1.0},
        "bn_statistics": {"weight": 0.5},
        "activation": {"weight": 0.1},
        "adversarial": {"weight": 0.5},
    },
    "student_objective": {"kd": {"weight": 1.0}, "attention_transfer": {"weight": 5.0}},
}


def hooks(network: nn.Module) -> int:
    return sum(
        len(h)
        for m in network.modules()
        for h in (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks)
    )


def snapshot(network: nn.Module) -> dict[str, Any]:
    return {
        "weights": {name: value.clone() for name, value in network.state_dict().items()},
        "requires_grad": [p.requires_grad for p in network.parameters()],
        "hooks": hooks(network),
    }


@pytest.fixture
def mixed_teacher(teacher: nn.Module) -> nn.Module:
    """A teacher of which some weights are frozen and some are not."""
    for index, parameter in enumerate(teacher.parameters()):
        parameter.requires_grad_(index % 2 == 0)
    return teacher


def test_the_teacher_is_given_back_unchanged(
    make_config: Make, record: Record, mixed_teacher: nn.Module, differences: Differences
) -> None:
    before = snapshot(mixed_teacher)
    student = record(make_config(**ALL_TERMS), mixed_teacher).student
    assert differences(before, snapshot(mixed_teacher)) == []
    assert all(p.grad is None for p in mixed_teacher.parameters())
    assert hooks(student) == 0


@pytest.mark.parametrize("training", [True, False])
def test_the_teachers_mode_is_given_back_unchanged(
    make_config: Make, record: Record, teacher: nn.Module, training: bool
) -> None:
    teacher.train(training)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    record(make_config(), teacher)
    after = teacher.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert teacher.training is training


def test_the_teachers_mode_makes_no_difference(
    make_config: Make, record: Record, teacher: nn.Module, differences: Differences
) -> None:
    first = record(make_config(), teacher.eval())
    second = record(make_config(), teacher.train())
    assert differences(first.state(3), second.state(3)) == []


def test_the_teacher_is_given_back_when_the_report_raises(
    make_config: Make,
    mixed_teacher: nn.Module,
    inputs: InputSpecification,
    differences: Differences,
) -> None:
    before = snapshot(mixed_teacher)

    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distil(make_config(**ALL_TERMS), mixed_teacher, inputs, report=stop)
    assert differences(before, snapshot(mixed_teacher)) == []


def test_a_teacher_without_batch_norm_cannot_serve_its_statistics(
    make_config: Make, inputs: InputSpecification
) -> None:
    teacher = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)
    )
    before = snapshot(teacher)
    with pytest.raises(UsageError, match="bn_statistics") as caught:
        distil(make_config(), teacher, inputs)
    assert "weight to 0" in str(caught.value)
    assert before["requires_grad"] == snapshot(teacher)["requires_grad"]
    assert hooks(teacher) == 0
    config = make_config(generator_objective={"preset_label": {"weight": 1}})
    distil(config, teacher, inputs)


def test_the_teacher_is_given_back_when_the_generator_cannot_be_built(
    make_config: Make, teacher: nn.Module, inputs: InputSpecification, differences: Differences
) -> None:
    before = snapshot(teacher)
    with pytest.raises(UsageError, match="divisible by 16"):
        distil(make_config(generator={"architecture": "dcgan"}), teacher, inputs)
    assert differences(before, snapshot(teacher)) == []


@pytest.mark.parametrize("stages", [(3,), (0, 7), (-1,)])
def test_an_attention_stage_that_there_is_not_is_a_usage_error(
    make_config: Make, teacher: nn.Module, inputs: InputSpecification, stages: tuple[int, ...]
) -> None:
    """Both networks have stages 0 to 2."""
    terms = {"kd": {"weight": 1}, "attention_transfer": {"weight": 1, "stages": stages}}
    with pytest.raises(UsageError, match="stage"):
        distil(make_config(student_objective=terms), teacher, inputs)


def test_the_student_is_returned_in_evaluation_mode(
    make_config: Make, record: Record, teacher: nn.Module
) -> None:
    recorded = record(make_config(), teacher)
    assert not recorded.student.training
    assert recorded.student is recorded.progress[-1].student


def test_student_and_generator_may_be_of_other_width_and_architecture(
    make_config: Make, record: Record, teacher: nn.Module, inputs: InputSpecification
) -> None:
    config = make_config(
        student={"architecture": "resnet8", "width": 0.1},
        generator={"conditioning": "conditional_bn", "width": 2},
    )
    student = record(config, teacher).student
    expected = build_classifier(NetworkConfig(architecture="resnet8", width=0.1), inputs, 0)
    assert student.state_dict().keys() == expected.state_dict().keys()


def disturbing(student: nn.Module) -> dict[str, float]:
    """An evaluation that draws random numbers and runs the student."""
    assert not student.training
    assert not torch.is_grad_enabled()
    student(torch.randn(3, 2, 8, 4))
    torch.rand(17)
    return {"accuracy": 0.25, "kl": 2.0}


def test_evaluation_does_not_change_the_run(
    make_config: Make, record: Record, teacher: nn.Module, differences: Differences
) -> None:
    without = record(make_config(**ALL_TERMS), teacher)
    with_it = record(make_config(**ALL_TERMS), teacher, evaluate=disturbing)
    for epoch in (1, 2, 3):
        found = differences(without.state(epoch), with_it.state(epoch))
        assert [place for place in found if place != "/random/torch"] == []
    assert [p.validation for p in without.progress] == [{}, {}, {}]
    assert [p.validation for p in with_it.progress] == [{"accuracy": 0.25, "kl": 2.0}] * 3


@pytest.mark.parametrize(
    ("every", "evaluated"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (3, [3, 5]), (9, [5])]
)
def test_the_last_epoch_is_always_evaluated(
    make_config: Make, record: Record, teacher: nn.Module, every: int, evaluated: list[int]
) -> None:
    config = make_config(schedule={"epochs": 4, "generator_epochs": 1, "iterations_per_epoch": 1})
    calls: list[nn.Module] = []

    def evaluate(student: nn.Module) -> dict[str, float]:
        calls.append(student)
        return {"accuracy": 1.0}

    progress = record(config, teacher, evaluate=evaluate, evaluate_every=every).progress
    assert [p.epoch for p in progress if p.validation] == evaluated
    assert len(calls) == len(evaluated)


def test_the_student_learns_what_the_teacher_answers_on_synthetic_images(
    make_config: Make, record: Record, teacher: nn.Module
) -> None:
    config = make_config(
        student={"width": 0.25},
        student_objective={"kd": {"weight": 1.0}},
        schedule={"epochs": 8, "iterations_per_epoch": 5, "batch_size": 16},
    )
    progress = record(config, teacher).progress
    assert progress[-1].losses["student/kd"] < 0.5 * progress[0].losses["student/kd"]
    first, last = (p.losses["generator/preset_label"] for p in (progress[0], progress[-1]))
    assert last < first
