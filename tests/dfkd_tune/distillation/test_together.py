"""Students that are distilled together end as each would alone."""

import io
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from dfkd_tune.distillation import (
    DistillationConfig,
    Progress,
    State,
    distil,
    distil_together,
    shared_part,
)
from dfkd_tune.errors import CheckpointError, CollapsedError, DivergedError
from dfkd_tune.inputs import InputSpecification

Make = Callable[..., DistillationConfig]

SIDES: tuple[dict[str, Any], ...] = (
    {"student_objective": {"kd": {"weight": 1.0}, "preset_label": {"weight": 0.1}}},
    {
        "student_objective": {
            "kd": {"weight": 2.0, "temperature": 3.0},
            "attention_transfer": {"weight": 50.0},
        },
        "student_optimiser": {"learning_rate": 0.02},
    },
    {
        "student": {"architecture": "convnet", "width": 0.1},
        "student_optimiser": {"kind": "adam", "learning_rate": 0.003},
    },
)
"""What three students have of their own: losses, optimiser, size."""

SHARED: dict[str, dict[str, Any]] = {
    "stream": {},
    "two_stage": {"schedule": {"mode": "two_stage", "generator_epochs": 2, "epochs": 2}},
    "bank": {"image_bank": {"size": 20, "replay_share": 0.5}},
    "shared_batch": {"schedule": {"reuse_batch": True}},
    "rounds": {
        "synthesis": {"kind": "rounds", "latent_learning_rate": 0.01, "meta": "fomaml"},
        "image_bank": {"size": 15, "replay_share": 1.0},
        "schedule": {"generator_steps": 3},
    },
}


def students(make: Make, shared: dict[str, Any]) -> list[DistillationConfig]:
    return [make(**shared, **side) for side in SIDES]


def kept(state: State) -> State:
    """As a checkpoint holds it."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: State = torch.load(file, weights_only=True)
    return loaded


def alone(
    config: DistillationConfig, teacher: nn.Module, inputs: InputSpecification, **given: Any
) -> tuple[list[Progress], list[State], dict[str, torch.Tensor]]:
    rows: list[Progress] = []
    states: list[State] = []

    def report(progress: Progress) -> None:
        rows.append(progress)
        states.append(kept(progress.state()))

    student = distil(config, teacher, inputs, report=report, evaluate=norm, **given)
    return rows, states, dict(student.state_dict())


def norm(student: nn.Module) -> dict[str, float]:
    return {"norm": float(sum(p.norm() for p in student.parameters()))}


@pytest.mark.parametrize("kind", SHARED)
def test_each_ends_as_it_does_alone(
    make_config: Make, teacher: nn.Module, inputs: InputSpecification, kind: str
) -> None:
    configs = students(make_config, SHARED[kind])
    rows: dict[int, list[Progress]] = {0: [], 1: [], 2: []}
    states: dict[int, list[State]] = {0: [], 1: [], 2: []}

    def report(index: int, progress: Progress) -> None:
        rows[index].append(progress)
        states[index].append(kept(progress.state()))

    together = distil_together(configs, teacher, inputs, report=report, evaluate=norm)
    for index, config in enumerate(configs):
        own, own_states, weights = alone(config, teacher, inputs)
        assert len(rows[index]) == len(own) == config.schedule.total_epochs
        for mine, theirs in zip(rows[index], own, strict=True):
            assert mine.losses.keys() == theirs.losses.keys()
            for name, loss in theirs.losses.items():
                assert mine.losses[name] == pytest.approx(loss, rel=1e-5, abs=1e-6), name
            assert mine.validation == pytest.approx(theirs.validation, rel=1e-5)
            assert mine.student_steps == theirs.student_steps
            assert mine.images == theirs.images
            assert mine.class_entropy == pytest.approx(theirs.class_entropy, rel=1e-5)
        for name, value in weights.items():
            torch.testing.assert_close(together[index].state_dict()[name], value)
        # Either goes on from the other's state.
        last = own_states[-2]
        for which in (last, states[index][-2]):
            _, again, ended = alone(config, teacher, inputs, restore=which)
            assert again[-1]["epoch"] == config.schedule.total_epochs
            for name, value in weights.items():
                torch.testing.assert_close(ended[name], value)


def test_together_they_go_on_from_states_of_each_alone(
    make_config: Make, teacher: nn.Module, inputs: InputSpecification
) -> None:
    configs = students(make_config, SHARED["bank"])
    made = [alone(config, teacher, inputs) for config in configs]
    together = distil_together(
        configs, teacher, inputs, restore=[states[0] for _, states, _ in made]
    )
    for student, (_, _, weights) in zip(together, made, strict=True):
        for name, value in weights.items():
            torch.testing.assert_close(student.state_dict()[name], value)
    with pytest.raises(CheckpointError, match="the same epoch"):
        distil_together(
            configs, teacher, inputs, restore=[made[0][1][0], made[1][1][1], made[2][1][0]]
        )


def test_one_that_diverges_leaves_and_the_others_end_as_alone(
    make_config: Make, teacher: nn.Module, inputs: InputSpecification
) -> None:
    configs = students(make_config, {})
    configs[1] = make_config(student_optimiser={"learning_rate": 1e30})
    gone: list[tuple[int, Exception]] = []
    ended = distil_together(
        configs, teacher, inputs, left=lambda index, error: gone.append((index, error))
    )
    ((index, error),) = gone
    assert index == 1
    assert isinstance(error, DivergedError)
    for index in (0, 2):
        for name, value in alone(configs[index], teacher, inputs)[2].items():
            torch.testing.assert_close(ended[index].state_dict()[name], value)


def test_one_whose_step_fails_or_that_is_told_to_stop_leaves(
    make_config: Make, teacher: nn.Module, inputs: InputSpecification
) -> None:
    configs = students(make_config, {})
    epochs: list[tuple[int, int]] = []
    gone: list[int] = []

    def report(index: int, progress: Progress) -> None:
        epochs.append((index, progress.epoch))
        if (index, progress.epoch) in ((0, 1), (2, 2)):
            raise CollapsedError(("classes",), progress.epoch)

    distil_together(
        configs, teacher, inputs, report=report, left=lambda index, _error: gone.append(index)
    )
    assert gone == [0, 2]
    assert epochs == [(0, 1), (1, 1), (2, 1), (1, 2), (2, 2), (1, 3)]


def test_an_error_that_the_caller_does_not_bear_ends_them_all(
    make_config: Make, teacher: nn.Module, inputs: InputSpecification
) -> None:
    epochs: list[int] = []

    def report(_index: int, progress: Progress) -> None:
        epochs.append(progress.epoch)
        raise OSError("no storage")

    def left(_index: int, error: Exception) -> None:
        raise error

    with pytest.raises(OSError, match="no storage"):
        distil_together(students(make_config, {}), teacher, inputs, report=report, left=left)
    assert epochs == [1]
    assert all(not module._forward_hooks for module in teacher.modules())


def test_what_is_done_for_all_counts_for_each_in_equal_parts(
    make_config: Make, teacher: nn.Module, inputs: InputSpecification
) -> None:
    seconds: dict[int, list[float]] = {0: [], 1: [], 2: []}
    began = time.perf_counter()
    distil_together(
        students(make_config, {}),
        teacher,
        inputs,
        report=lambda index, progress: seconds[index].append(progress.seconds["total"]),
    )
    whole = time.perf_counter() - began
    counted = sum(sum(each) for each in seconds.values())
    assert 0.3 * whole < counted <= whole


def test_the_teacher_is_asked_once_for_all(
    make_config: Make, teacher: nn.Module, inputs: InputSpecification
) -> None:
    passes: list[int] = []
    for configs in (students(make_config, {})[:1], students(make_config, {})):
        calls: list[int] = []
        handle = teacher.register_forward_hook(lambda _m, args, _o: calls.append(len(args[0])))  # noqa: B023
        distil_together(configs, teacher, inputs)
        handle.remove()
        passes.append(calls.count(configs[0].schedule.batch_size))
    # But for each one's collapse watch: the last batch of three epochs, and what is kept of it.
    assert passes[1] - passes[0] == 2 * (3 + 3)


def test_only_what_shares_its_images_can_be_together(
    make_config: Make, teacher: nn.Module, inputs: InputSpecification
) -> None:
    plain = make_config()
    for other in (
        make_config(seed=4),
        make_config(generator_objective={"bn_statistics": {"weight": 0.7}}),
        make_config(schedule={"batch_size": 7}),
        make_config(precision="bfloat16"),
    ):
        assert shared_part(other) != shared_part(plain)
        with pytest.raises(ValueError, match="same shared part"):
            distil_together([plain, other], teacher, inputs)
    adversarial = make_config(
        generator_objective={"preset_label": {"weight": 1}, "adversarial": {"weight": 1}}
    )
    assert shared_part(adversarial) is None
    with pytest.raises(ValueError, match="same shared part"):
        distil_together([adversarial, adversarial], teacher, inputs)
    foreign = make_config(student={"architecture": "torchvision:resnet18", "width": 1.0})
    assert shared_part(foreign) is None
    same = make_config(**SIDES[1]).model_copy(update={"method": "other"})
    assert shared_part(same) == shared_part(plain)
