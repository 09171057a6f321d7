"""The configuration is checked whole."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from dfkd_tune.distillation import (
    GENERATOR_TERMS,
    STUDENT_TERMS,
    DistillationConfig,
    GeneratorObjective,
    StudentObjective,
    TermSettings,
    active_terms,
    configuration_hash,
)

Make = Callable[..., DistillationConfig]


@pytest.mark.parametrize(
    ("objective", "registry"),
    [(GeneratorObjective, GENERATOR_TERMS), (StudentObjective, STUDENT_TERMS)],
)
def test_objective_and_registry_hold_the_same_terms(objective: Any, registry: Any) -> None:
    assert list(objective.model_fields) == list(registry)
    for name, term in registry.items():
        assert term.name == name
        assert objective.model_fields[name].annotation is term.settings
        assert issubclass(term.settings, TermSettings)
        assert objective.model_fields[name].default.weight == 0


def test_active_terms_are_those_with_a_weight_in_the_objectives_order() -> None:
    objective = GeneratorObjective.model_validate(
        {"adversarial": {"weight": 0.1}, "preset_label": {"weight": 2}, "activation": {"weight": 0}}
    )
    assert list(active_terms(objective)) == ["preset_label", "adversarial"]
    assert active_terms(GeneratorObjective()) == {}


@pytest.mark.parametrize(
    "sections",
    [
        {"generator_objective": {}},
        {"student_objective": {"kd": {"weight": 0}}},
        {"generator_objective": {"preset_label": {"weight": -1}}},
        {"generator_objective": {"preset_label": {"weight": float("nan")}}},
        {"generator_objective": {"preset_label": {"weight": float("inf")}}},
        {"generator_objective": {"preset_label": {"weight": 1, "label_smoothing": 1}}},
        {"generator_objective": {"preset_labels": {"weight": 1}}},
        {"generator_objective": {"bn_statistics": {"weight": 1, "distance": "l3"}}},
        {"generator_objective": {"information_entropy": {"weight": 1, "logarithm": "2"}}},
        {"student_objective": {"kd": {"weight": 1, "temperature": 0}}},
        {"student_objective": {"kd": {"weight": 1, "divergence": "kl"}}},
        {"student_objective": {"attention_transfer": {"weight": 1, "exponent": 0}}},
        {"student_objective": {"attention_transfer": {"weight": 1, "stages": []}}},
        {"schedule": {"mode": "two_stage"}},
        {"schedule": {"epochs": 0}},
        {"schedule": {"batch_size": 1}},
        {"schedule": {"iterations_per_epoch": 0}},
        {"schedule": {"mode": "sometimes"}},
        {"generator": {"output_head": "relu"}},
        {"generator": {"latent_size": 0}},
        {"generator": {"conditioning": "label"}},
        {"image_bank": {"size": -1}},
        {"image_bank": {"size": 1, "replay_share": 1.5}},
        {"student": {"architecture": "resnet9"}},
        {"student": {"width": 0}},
        {"student_optimiser": {"learning_rate": 0}},
        {"generator_optimiser": {"beta1": 1}},
        {"seed": -1},
        {"unknown": 1},
    ],
    ids=str,
)
def test_wrong_values_are_refused(make_config: Make, sections: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make_config(**sections)


def test_an_empty_objective_is_named(make_config: Make) -> None:
    with pytest.raises(ValidationError, match="student_objective has no term with a weight"):
        make_config(student_objective={"kd": {"weight": 0}})


def test_adversarial_needs_a_student_that_trains_beside(make_config: Make) -> None:
    two_stage = {"mode": "two_stage", "generator_epochs": 1}
    with pytest.raises(ValidationError, match="adversarial needs a student"):
        make_config(schedule=two_stage, generator_objective={"adversarial": {"weight": 1.0}})
    with pytest.raises(ValidationError, match="generator_epochs of at least 1"):
        make_config(schedule={"mode": "two_stage"})


def test_an_unknown_network_is_answered_with_what_was_meant(make_config: Make) -> None:
    with pytest.raises(ValidationError, match="did you mean 'convnet'"):
        make_config(student={"architecture": "convnt"})


def test_budget_is_the_product_of_the_schedule(make_config: Make) -> None:
    schedule = make_config(
        schedule={
            "epochs": 7,
            "iterations_per_epoch": 11,
            "student_steps": 3,
            "generator_epochs": 2,
        }
    ).schedule
    assert schedule.total_student_steps == 231
    assert schedule.total_epochs == 9


def test_configuration_survives_json(make_config: Make) -> None:
    config = make_config(student_objective={"attention_transfer": {"weight": 1, "stages": [0, 2]}})
    text = config.model_dump_json()
    assert DistillationConfig.model_validate_json(text) == config
    assert DistillationConfig.model_validate(json.loads(text)) == config


def test_configuration_is_frozen(make_config: Make) -> None:
    with pytest.raises(ValidationError):
        make_config().seed = 1  # type: ignore[misc]


def test_settings_of_speed_count_for_the_hash_and_their_defaults_are_as_before(
    make_config: Make,
) -> None:
    plain = make_config()
    before = plain.model_dump(mode="json")
    assert before.pop("precision") == "float32"
    assert before.pop("compile_teacher") is False
    assert before.pop("cuda_graphs") is False
    assert before["image_bank"].pop("keep_answers") is False
    digest = hashlib.sha256(json.dumps(before, sort_keys=True).encode()).hexdigest()
    assert configuration_hash(plain) == digest[:16]
    assert configuration_hash(make_config(precision="bfloat16")) != digest[:16]
    assert configuration_hash(make_config(compile_teacher=True)) != digest[:16]
    assert configuration_hash(make_config(cuda_graphs=True)) != digest[:16]


def test_configuration_hash_is_of_the_content(make_config: Make) -> None:
    first = configuration_hash(make_config())
    assert first == configuration_hash(make_config())
    assert len(first) == 16
    others = [
        make_config(seed=4),
        make_config(schedule={"epochs": 4}),
        make_config(generator={"leaky_relu_slope": 0.1}),
        make_config(student_objective={"kd": {"weight": 1.0}}),
    ]
    hashes = {configuration_hash(config) for config in others}
    assert len(hashes | {first}) == 5


def complaint(make_config: Make, **sections: Any) -> str:
    """The one sentence with which sections are refused."""
    with pytest.raises(ValidationError) as caught:
        make_config(**sections)
    (error,) = caught.value.errors()
    message = error["msg"].removeprefix("Value error, ")
    assert "\n" not in message
    return message


ROUNDS: dict[str, Any] = {
    "synthesis": {"kind": "rounds"},
    "image_bank": {"size": 10, "replay_share": 1.0},
}


@pytest.mark.parametrize(
    "bank", [{}, {"size": 10}, {"size": 10, "replay_share": 0.99}, {"replay_share": 1.0}], ids=str
)
def test_rounds_need_a_bank_of_which_the_student_trains_alone(
    make_config: Make, bank: dict[str, Any]
) -> None:
    assert complaint(make_config, synthesis={"kind": "rounds"}, image_bank=bank) == (
        "synthesis.kind rounds trains the student on the image bank alone; set image_bank.size "
        "above 0 and image_bank.replay_share to 1"
    )
    make_config(**ROUNDS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optimise", "pixels"),
        ("latent_learning_rate", 0.01),
        ("restart_every", 1),
        ("meta", "reptile"),
        ("meta", "fomaml"),
        ("jitter", 1),
        ("flip", True),
        ("batch_size", 8),
    ],
)
def test_what_goes_with_rounds_alone_is_refused_in_a_stream(
    make_config: Make, name: str, value: Any
) -> None:
    named = f"synthesis.{name}" + (" pixels" if name == "optimise" else "")
    found = complaint(make_config, synthesis={name: value})
    assert found == f"{named} goes with synthesis.kind rounds only"
    make_config(**{**ROUNDS, "synthesis": {"kind": "rounds", name: value}})


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [("generator_average", "momentum", 0.9), ("generative_replay", "share", 0.1)],
)
def test_what_goes_with_a_stream_alone_is_refused_in_rounds(
    make_config: Make, section: str, name: str, value: float
) -> None:
    given = {section: {name: value}}
    found = complaint(make_config, **ROUNDS, **given)
    assert found == f"{section} goes with synthesis.kind stream only"
    make_config(**given)


def test_all_that_does_not_go_with_a_stream_is_named_at_once(make_config: Make) -> None:
    found = complaint(make_config, synthesis={"meta": "fomaml", "flip": True, "jitter": 2})
    assert found == (
        "synthesis.meta, synthesis.jitter, synthesis.flip go with synthesis.kind rounds only"
    )


def test_two_stages_know_no_adversary_in_rounds_either(make_config: Make) -> None:
    found = complaint(
        make_config,
        **ROUNDS,
        schedule={"mode": "two_stage", "generator_epochs": 1},
        generator_objective={"adversarial": {"weight": 1}},
    )
    assert found == (
        "generator_objective.adversarial needs a student that trains beside the generator; set "
        "its weight to 0 or schedule.mode to alternating"
    )


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("synthesis.kind", "batches"),
        ("synthesis.keep", "all"),
        ("synthesis.restart_every", -1),
        ("synthesis.batch_size", 1),
        ("synthesis.latent_learning_rate", -0.1),
        ("image_bank.augmentation", "crop"),
        ("generator_average.momentum", 1),
        ("generator_average.share", 1.1),
        ("generative_replay.share", 1.1),
        ("generative_replay.learning_rate_factor", 0),
        ("generative_replay.latent_size", 0),
        ("schedule.label_sampling", "even"),
        ("student_optimiser.kind", "rmsprop"),
        ("student_optimiser.gradient_clip", -1),
        ("generator_optimiser.gradient_clip", float("inf")),
        ("generator_optimiser.schedule", "step"),
        ("generator.noisy_layers", 0),
        ("generator.doublings", 5),
        ("collapse.patience", 0),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(make_config: Make, where: str, value: Any) -> None:
    section, name = where.split(".")
    with pytest.raises(ValidationError) as caught:
        make_config(**{section: {name: value}})
    assert {".".join(map(str, error["loc"])) for error in caught.value.errors()} == {where}


def test_synthesis_epochs_are_those_in_which_images_come_about(make_config: Make) -> None:
    schedule = {"generator_epochs": 2, "epochs": 7}
    assert make_config(schedule=schedule).schedule.synthesis_epochs == 9
    two_stage = make_config(schedule={**schedule, "mode": "two_stage"})
    assert two_stage.schedule.synthesis_epochs == 2


KEPT: dict[str, Any] = {
    "synthesis": {"kind": "rounds"},
    "image_bank": {"size": 9, "replay_share": 1.0, "keep_answers": True},
    "student_objective": {"kd": {"weight": 1}, "attention_transfer": {"weight": 0}},
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"synthesis": {"kind": "stream"}}, "goes with synthesis.kind rounds only"),
        (
            {"image_bank": {**KEPT["image_bank"], "augmentation": "flip"}},
            "set image_bank.augmentation to none",
        ),
        (
            {"student_objective": {"kd": {"weight": 1}, "attention_transfer": {"weight": 1}}},
            "keeps no feature maps",
        ),
    ],
)
def test_answers_are_kept_only_where_they_are_all_that_is_asked_for(
    make_config: Make, change: dict[str, Any], said: str
) -> None:
    assert make_config(**KEPT).image_bank.keep_answers
    with pytest.raises(ValueError, match=f"image_bank.keep_answers.*{said}"):
        make_config(**{**KEPT, **change})


def test_kept_answers_count_for_the_hash(make_config: Make) -> None:
    without = make_config(**{**KEPT, "image_bank": {"size": 9, "replay_share": 1.0}})
    assert configuration_hash(make_config(**KEPT)) != configuration_hash(without)


def test_every_section_decides_the_hash(make_config: Make) -> None:
    changes: list[dict[str, Any]] = [
        {},
        ROUNDS,
        {**ROUNDS, "synthesis": {"kind": "rounds", "keep": "last"}},
        {"image_bank": {"augmentation": "flip"}},
        {"generator_average": {"momentum": 0.9}},
        {"generative_replay": {"share": 0.1}},
        {"collapse": {"stop": True}},
        {"student_optimiser": {"milestones": (0.1,)}},
        {"schedule": {"reuse_batch": True}},
        {"generator": {"attention": {"mix_weight": 0.1}}},
    ]
    hashes = {configuration_hash(make_config(**sections)) for sections in changes}
    assert len(hashes) == len(changes)
