"""A run that goes on from a state ends bit for bit as one never interrupted."""

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from dfkd_tune.checkpoints import CheckpointStore
from dfkd_tune.distillation import (
    DistillationConfig,
    Progress,
    State,
    configuration_hash,
    distil,
)
from dfkd_tune.errors import CheckpointError
from dfkd_tune.inputs import InputSpecification

Make = Callable[..., DistillationConfig]
Record = Callable[..., Any]
Differences = Callable[[Any, Any], list[str]]

ADVERSARIAL: dict[str, Any] = {"preset_label": {"weight": 1}, "adversarial": {"weight": 1}}
RUNS: dict[str, dict[str, Any]] = {
    "alternating": {},
    "generator_warm_up": {"schedule": {"generator_epochs": 2, "epochs": 2}},
    "two_stage": {"schedule": {"mode": "two_stage", "generator_epochs": 2, "epochs": 2}},
    "image_bank": {"image_bank": {"size": 20, "replay_share": 0.5}},
    "bank_not_full": {"image_bank": {"size": 500, "replay_share": 0.3}},
    "two_stage_with_bank": {
        "schedule": {"mode": "two_stage", "generator_epochs": 1, "epochs": 2},
        "image_bank": {"size": 9},
    },
    "balanced": {"schedule": {"label_sampling": "balanced"}},
    "adversarial": {"generator_objective": ADVERSARIAL},
    "adversarial_in_eval_mode": {
        "generator_objective": ADVERSARIAL,
        "schedule": {
            "student_mode_in_generator_step": "eval",
            "generator_mode_when_sampling": "eval",
        },
    },
    "schedules_of_the_learning_rates": {
        "generator_optimiser": {"schedule": "cosine", "learning_rate": 0.01},
        "student_optimiser": {"warmup_epochs": 1, "learning_rate": 0.1},
    },
    "conditional_bn": {"generator": {"conditioning": "conditional_bn"}},
}


@pytest.mark.parametrize("name", RUNS)
def test_going_on_from_any_epoch_ends_in_the_same_state(
    make_config: Make, record: Record, teacher: nn.Module, differences: Differences, name: str
) -> None:
    config = make_config(**RUNS[name])
    torch.manual_seed(0)
    whole = record(config, teacher)
    total = config.schedule.total_epochs
    for epoch in range(1, total):
        torch.manual_seed(epoch)  # what another process would find
        resumed = record(config, teacher, restore=whole.state(epoch))
        assert [p.epoch for p in resumed.progress] == list(range(epoch + 1, total + 1))
        for later in range(epoch + 1, total + 1):
            found = differences(whole.state(later), resumed.state(later - epoch))
            assert found == [], f"from epoch {epoch}, at {later}"
        for p, q in zip(whole.progress[epoch:], resumed.progress, strict=True):
            assert p.losses == q.losses
            assert p.class_entropy == q.class_entropy
            assert p.learning_rates == q.learning_rates
            assert (p.stage, p.student_steps, p.generator_steps, p.images) == (
                (q.stage, q.student_steps, q.generator_steps, q.images)
            )


def test_going_on_twice_is_going_on_once(
    make_config: Make, record: Record, teacher: nn.Module, differences: Differences
) -> None:
    config = make_config(image_bank={"size": 15})
    whole = record(config, teacher)
    second = record(config, teacher, restore=whole.state(1))
    third = record(config, teacher, restore=second.state(1))
    assert differences(whole.state(3), third.state(1)) == []


def test_a_state_of_the_end_gives_the_finished_student_without_training(
    make_config: Make, record: Record, teacher: nn.Module, differences: Differences
) -> None:
    whole = record(make_config(), teacher)
    again = record(make_config(), teacher, restore=whole.state(3))
    assert again.progress == []
    assert not again.student.training
    assert differences(whole.student.state_dict(), again.student.state_dict()) == []


def test_a_run_may_go_on_through_the_checkpoint_store(
    make_config: Make,
    record: Record,
    teacher: nn.Module,
    inputs: InputSpecification,
    differences: Differences,
    tmp_path: Any,
) -> None:
    config = make_config(image_bank={"size": 20})
    whole = record(config, teacher)

    class InterruptedRunError(Exception):
        pass

    def report(progress: Progress) -> None:
        CheckpointStore(tmp_path, configuration_hash(config)).save(progress.epoch, progress.state())
        if progress.epoch == 2:
            raise InterruptedRunError

    with pytest.raises(InterruptedRunError):
        distil(config, teacher, inputs, report=report)
    restored = CheckpointStore(tmp_path, configuration_hash(config)).load_newest()
    assert restored.epoch == 2
    resumed = record(config, teacher, restore=restored.state)
    assert differences(whole.state(3), resumed.state(1)) == []


def test_a_state_in_memory_does_not_change_while_training_goes_on(
    make_config: Make, teacher: nn.Module, inputs: InputSpecification, differences: Differences
) -> None:
    """`Progress.state` makes the state of that epoch, whatever happens to the networks later."""
    kept: list[State] = []
    written: list[bytes] = []

    def report(progress: Progress) -> None:
        state = progress.state()
        kept.append(state)
        file = io.BytesIO()
        torch.save(state, file)
        written.append(file.getvalue())

    distil(make_config(), teacher, inputs, report=report)
    loaded = torch.load(io.BytesIO(written[0]), weights_only=True)
    assert differences(loaded, kept[0]) == []


def test_the_state_that_a_run_goes_on_from_is_not_changed_by_it(
    make_config: Make, record: Record, teacher: nn.Module, differences: Differences
) -> None:
    whole = record(make_config(image_bank={"size": 20}), teacher)
    given = whole.state(1)
    record(make_config(image_bank={"size": 20}), teacher, restore=given)
    assert differences(given, whole.state(1)) == []


def without(key: str) -> Callable[[State], Any]:
    return lambda state: {name: value for name, value in state.items() if name != key}


DAMAGES: dict[str, Callable[[State], Any]] = {
    **{f"no {key}": without(key) for key in (
        "student",
        "generator",
        "student_optimiser",
        "generator_optimiser",
        "image_bank",
        "random",
        "epoch",
        "student_steps",
    )},
    "empty": lambda state: {},
    "a list": lambda state: [1, 2],
    "bank is none": lambda state: {**state, "image_bank": None},
    "student is none": lambda state: {**state, "student": None},
    "optimiser is none": lambda state: {**state, "student_optimiser": None},
    "optimiser of the other": lambda state: {
        **state, "student_optimiser": state["generator_optimiser"]
    },
    "random state is short": lambda state: {
        **state, "random": {**state["random"], "source": state["random"]["source"][:9]}
    },
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_wrong_state_is_a_checkpoint_error(
    make_config: Make,
    record: Record,
    teacher: nn.Module,
    inputs: InputSpecification,
    damage: str,
) -> None:
    config = make_config(image_bank={"size": 20}, schedule={"epochs": 2})
    state = record(config, teacher).state(1)
    with pytest.raises(CheckpointError, match="does not fit the configuration"):
        distil(config, teacher, inputs, restore=DAMAGES[damage](state))
    assert all(p.requires_grad for p in teacher.parameters())


@pytest.mark.parametrize(
    "sections",
    [
        {"student": {"width": 0.12}},
        {"student": {"architecture": "resnet8"}},
        {"generator": {"width": 4}},
        {"generator": {"conditioning": "none"}},
    ],
    ids=str,
)
def test_a_state_of_another_configuration_is_a_checkpoint_error(
    make_config: Make,
    record: Record,
    teacher: nn.Module,
    inputs: InputSpecification,
    sections: dict[str, Any],
) -> None:
    state = record(make_config(schedule={"epochs": 1}), teacher).state(1)
    with pytest.raises(CheckpointError) as caught:
        distil(make_config(**sections), teacher, inputs, restore=state)
    assert len(str(caught.value).splitlines()) == 1
