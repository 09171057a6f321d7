"""A loss or weight that is no longer finite ends the run with its name and epoch."""

import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from dfkd_tune.distillation import DistillationConfig, Progress, distil
from dfkd_tune.errors import DivergedError
from dfkd_tune.inputs import InputSpecification

Make = Callable[..., DistillationConfig]


@pytest.fixture
def fails(teacher: nn.Module, inputs: InputSpecification) -> Callable[..., DivergedError]:
    """Run a distillation that must diverge, and give the error."""

    def run(config: DistillationConfig, **options: Any) -> DivergedError:
        with pytest.raises(DivergedError) as caught:
            distil(config, teacher, inputs, **options)
        return caught.value

    return run


def test_a_teacher_with_huge_weights_is_found_in_the_first_epoch(
    make_config: Make, teacher: nn.Module, fails: Callable[..., DivergedError]
) -> None:
    with torch.no_grad():
        teacher.classifier.weight.mul_(1e38)
        teacher.classifier.weight.mul_(1e3)
    error = fails(make_config(generator_objective={"preset_label": {"weight": 1.0}}))
    assert error.what == "generator/preset_label"
    assert error.epoch == 1
    assert str(error) == "generator/preset_label became non-finite in epoch 1"


def test_the_first_term_that_is_not_finite_is_named(
    make_config: Make, teacher: nn.Module, fails: Callable[..., DivergedError]
) -> None:
    """Running variances of infinity spoil the statistics of the images, and not the answer."""
    for module in teacher.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_var is not None
            module.running_var[0] = float("inf")
    error = fails(make_config(schedule={"iterations_per_epoch": 1}))
    assert (error.what, error.epoch) == ("generator/bn_statistics", 1)


def test_a_huge_learning_rate_of_the_student_is_a_diverged_student(
    make_config: Make, fails: Callable[..., DivergedError]
) -> None:
    config = make_config(
        student_optimiser={"learning_rate": 1e30}, student_objective={"kd": {"weight": 1.0}}
    )
    assert fails(config).what == "student/kd"


def test_weights_that_overflow_after_the_epochs_last_loss_are_found_too(
    make_config: Make, fails: Callable[..., DivergedError]
) -> None:
    config = make_config(
        student_optimiser={"learning_rate": 1e38, "schedule": "constant", "weight_decay": 1e3},
        student_objective={"kd": {"weight": 1e3}},
        schedule={"iterations_per_epoch": 1, "student_steps": 1},
    )
    error = fails(config)
    assert (error.what, error.epoch) == ("student's weights", 1)


def test_the_epoch_is_the_one_in_which_it_happened(
    make_config: Make, teacher: nn.Module, fails: Callable[..., DivergedError]
) -> None:
    """The teacher is spoilt after epoch 2; the epochs before were reported, the third is not."""
    reported: list[int] = []

    def report(progress: Progress) -> None:
        reported.append(progress.epoch)
        if progress.epoch == 2:
            with torch.no_grad():
                teacher.classifier.bias.fill_(float("nan"))

    error = fails(make_config(schedule={"epochs": 4}), report=report)
    assert error.epoch == 3
    assert reported == [1, 2]


def test_the_epoch_counts_from_the_start_of_a_resumed_run(
    make_config: Make,
    record: Callable[..., Any],
    teacher: nn.Module,
    fails: Callable[..., DivergedError],
) -> None:
    config = make_config()
    state = record(config, teacher).state(2)
    with torch.no_grad():
        teacher.classifier.bias.fill_(float("nan"))
    assert fails(config, restore=state).epoch == 3


def test_the_teacher_is_given_back_after_a_divergence(
    make_config: Make, teacher: nn.Module, fails: Callable[..., DivergedError]
) -> None:
    fails(make_config(student_optimiser={"learning_rate": 1e30}))
    assert all(p.requires_grad for p in teacher.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in teacher.modules())


def test_the_error_survives_the_way_between_processes() -> None:
    error = pickle.load(io.BytesIO(pickle.dumps(DivergedError("student/kd", 7))))
    assert (error.what, error.epoch) == ("student/kd", 7)
    assert str(error) == "student/kd became non-finite in epoch 7"
