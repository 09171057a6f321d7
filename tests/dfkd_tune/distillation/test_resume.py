"""A run that goes on from a state ends bit for bit as one never interrupted."""

import io
import shutil
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


def rounds(**synthesis: Any) -> dict[str, Any]:
    """Sections of a run in rounds, whose bank wraps around."""
    return {
        "synthesis": {"kind": "rounds", **synthesis},
        "image_bank": {"size": 15, "replay_share": 1.0},
        "schedule": {"generator_steps": 3},
    }


RUNS: dict[str, dict[str, Any]] = {
    "alternating": {},
    "bfloat16": {"precision": "bfloat16"},
    "compiled": {"compile_teacher": True},
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
    "dirichlet": {"schedule": {"label_sampling": "dirichlet"}},
    "shared_batch": {"schedule": {"reuse_batch": True}},
    "augmented_bank": {"image_bank": {"size": 20, "augmentation": "crop_flip"}},
    "average": {"generator_average": {"momentum": 0.9}},
    "memory": {"generative_replay": {"share": 0.5, "latent_size": 3, "width": 2}},
    "average_memory_and_bank": {
        "generator_average": {"momentum": 0.9, "share": 0.25},
        "generative_replay": {"share": 0.25, "latent_size": 3, "width": 2},
        "image_bank": {"size": 9, "replay_share": 0.25, "augmentation": "flip"},
    },
    "terms_with_a_memory": {
        "generator_objective": {
            "bn_statistics": {"weight": 1, "momentum": 0.9},
            "contrast": {"weight": 1, "embedding": 3, "memory": 20, "negatives": 5},
        },
        "student_objective": {
            "kd": {"weight": 1},
            "high_order_attention": {"weight": 1},
            "semantic_contrast": {"weight": 1, "hidden_width": 4, "output_width": 2},
        },
    },
    "rounds": rounds(restart_every=2, latent_learning_rate=0.01),
    "rounds_with_kept_answers": {
        **rounds(),
        "image_bank": {"size": 15, "replay_share": 1.0, "keep_answers": True},
        "student_objective": {"kd": {"weight": 1}, "attention_transfer": {"weight": 0}},
    },
    "rounds_of_pixels": rounds(optimise="pixels", jitter=1, flip=True),
    "rounds_that_teach": rounds(meta="fomaml"),
    "rounds_that_teach_by_reptile": rounds(meta="reptile"),
    "rounds_of_noisy_layers": {
        **rounds(keep="last"),
        "generator": {"conditioning": "noisy_layer", "noisy_layers": 2},
    },
    "rounds_in_two_stages": {
        **rounds(),
        "schedule": {"mode": "two_stage", "generator_epochs": 2, "epochs": 2},
    },
    "watch_that_has_seen_signs": {"collapse": {"distance_below": 2, "patience": 2}},
}

EVERYTHING: dict[str, Any] = {
    "generator_objective": {
        "preset_label": {"weight": 1},
        "contrast": {"weight": 1, "embedding": 3, "memory": 20, "negatives": 5},
    },
    "image_bank": {"size": 20, "replay_share": 0.25},
    "generator_average": {"momentum": 0.9, "share": 0.25},
    "generative_replay": {"share": 0.25, "latent_size": 3, "width": 2},
    "schedule": {"epochs": 2, "iterations_per_epoch": 1},
}


@pytest.mark.parametrize("name", RUNS)
def test_going_on_from_any_epoch_ends_in_the_same_state(
    make_config: Make, record: Record, teacher: nn.Module, differences: Differences, name: str
) -> None:
    if name == "compiled" and not (shutil.which("g++") or shutil.which("clang++")):
        pytest.skip("needs a C++ compiler")
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
            assert repr(p.collapse) == repr(q.collapse)  # an agreement may be NaN
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


def without(*keys: str) -> Callable[[State], Any]:
    """Take an entry out of a state, found by the keys on the way to it."""
    return changed(*keys[:-1], by=lambda part: {k: part[k] for k in part if k != keys[-1]})


def changed(*keys: str, by: Callable[[Any], Any]) -> Callable[[State], Any]:
    """Change what lies at the end of a way of keys."""

    def change(state: Any) -> Any:
        if not keys:
            return by(state)
        return {**state, keys[0]: changed(*keys[1:], by=by)(state[keys[0]])}

    return change


def none(_part: Any) -> None:
    return None


READ = {
    "student": ("network", "objective", "optimiser", "steps"),
    "synthesis": ("generator", "optimiser", "objective", "terms_optimiser", "average", "steps"),
    "data": ("bank", "memory", "memory_optimiser"),
    "watch": ("best", "run", "images"),
    "random": ("source", "host_source", "torch"),
    "epoch": (),
}
OPTIONAL = {"watch": {"classes"}}
"""What older checkpoints lack."""
DAMAGES: dict[str, Callable[[State], Any]] = {
    **{f"no {key}": without(key) for key in READ},
    **{f"no {key} {part}": without(key, part) for key, parts in READ.items() for part in parts},
    "empty": lambda state: {},
    "a list": lambda state: [1, 2],
    "bank is none": changed("data", "bank", by=none),
    "student is none": changed("student", by=none),
    "weights are none": changed("student", "network", by=none),
    "optimiser is none": changed("student", "optimiser", by=none),
    "average is none": changed("synthesis", "average", by=none),
    "memory is none": changed("data", "memory", by=none),
    "images of the watch are none": changed("watch", "images", by=none),
    "classes of the watch are none": changed("watch", "classes", by=none),
    "optimiser of the other": lambda state: changed(
        "student", "optimiser", by=lambda _own: state["synthesis"]["optimiser"]
    )(state),
    "random state is short": changed("random", "source", by=lambda numbers: numbers[:9]),
}


@pytest.fixture(scope="module")
def of_everything(make_config: Make, record: Record, make_teacher: Callable[[], nn.Module]) -> Any:
    """A run of all parts, made once; each test reads a state of its own from it."""
    return record(make_config(**EVERYTHING), make_teacher())


@pytest.fixture(scope="module")
def of_one_epoch(make_config: Make, record: Record, make_teacher: Callable[[], nn.Module]) -> Any:
    """A plain run of one epoch, made once."""
    return record(make_config(schedule={"epochs": 1}), make_teacher())


def test_the_damages_are_of_all_that_a_state_holds(of_everything: Any) -> None:
    state = of_everything.state(1)
    parts = {
        key: set(part) - OPTIONAL.get(key, set()) if isinstance(part, dict) else ()
        for key, part in state.items()
    }
    assert {key: sorted(part) for key, part in parts.items()} == {
        key: sorted(part) for key, part in READ.items()
    }


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_wrong_state_is_a_checkpoint_error(
    make_config: Make,
    of_everything: Any,
    teacher: nn.Module,
    inputs: InputSpecification,
    damage: str,
) -> None:
    state = DAMAGES[damage](of_everything.state(1))
    with pytest.raises(CheckpointError, match="does not fit the configuration") as caught:
        distil(make_config(**EVERYTHING), teacher, inputs, restore=state)
    assert len(str(caught.value).splitlines()) == 1
    assert all(p.requires_grad for p in teacher.parameters())


@pytest.mark.parametrize(
    "sections",
    [
        {"student": {"width": 0.12}},
        {"student": {"architecture": "resnet8"}},
        {"generator": {"width": 4}},
        {"generator": {"conditioning": "none"}},
        {"generator_average": {"momentum": 0.9}},
        {"generative_replay": {"share": 0.5}},
        {"image_bank": {"size": 20}},
        rounds(),
        rounds(optimise="pixels"),
        {"generator_objective": {"contrast": {"weight": 1}}},
        {"student_objective": {"semantic_contrast": {"weight": 1}}},
    ],
    ids=str,
)
def test_a_state_of_another_configuration_is_a_checkpoint_error(
    make_config: Make,
    of_one_epoch: Any,
    teacher: nn.Module,
    inputs: InputSpecification,
    sections: dict[str, Any],
) -> None:
    state = of_one_epoch.state(1)
    with pytest.raises(CheckpointError) as caught:
        distil(make_config(**sections), teacher, inputs, restore=state)
    assert len(str(caught.value).splitlines()) == 1
