"""The configuration is checked whole, and methods are recipes of it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from dfkd_tune.classifiers import CLASSIFIERS
from dfkd_tune.distillation import (
    GENERATOR_TERMS,
    METHODS,
    STUDENT_TERMS,
    DistillationConfig,
    GeneratorObjective,
    StudentObjective,
    TermSettings,
    active_terms,
    configuration_hash,
    get_method,
)
from dfkd_tune.errors import UnknownNameError

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
        make_config().seed = 1


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


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_registered_under_its_own_name_and_says_where_it_is_from(name: str) -> None:
    method = get_method(name)
    assert method.name == name == method.recipe.method
    assert method.recipe.student.architecture in CLASSIFIERS
    assert method.title
    assert method.source
    assert method.note


def test_cgdd_has_the_parts_that_its_abstract_names() -> None:
    recipe = get_method("cgdd").recipe
    assert recipe.generator.conditioning != "none"
    assert "preset_label" in active_terms(recipe.generator_objective)
    assert list(active_terms(recipe.student_objective)) == [
        "kd",
        "preset_label",
        "attention_transfer",
    ]


def test_an_unknown_method_is_answered_with_what_was_meant() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'cgdd'"):
        get_method("cgd")
