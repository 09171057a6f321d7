"""Methods are recipes of the one configuration, which suit themselves to a benchmark."""

import re

import pytest
import torch
from torch import nn

from dfkd_tune.classifiers import CLASSIFIERS, NetworkConfig, build_classifier
from dfkd_tune.distillation import (
    GENERATOR_TERMS,
    METHODS,
    DistillationConfig,
    active_terms,
    build_generator,
    get_method,
    method_service,
)
from dfkd_tune.distillation.terms import objective_needs
from dfkd_tune.errors import UnknownNameError
from dfkd_tune.inputs import InputSpecification

STUDENT = NetworkConfig(architecture="convnet", width=0.25)
every_method = pytest.mark.parametrize("name", METHODS)


def inputs_of(height: int, width: int, channels: int = 3, classes: int = 10) -> InputSpecification:
    return InputSpecification(
        channels=channels,
        height=height,
        width=width,
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        num_classes=classes,
    )


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


def test_the_methods_are_these() -> None:
    assert list(METHODS) == [
        "cgdd",
        "cgdd_v4",
        "dfkd_fgvc",
        "zskd",
        "zskt",
        "dafl",
        "dfad",
        "adi",
        "dfq",
        "mad",
        "cmi",
        "pre_dfkd",
        "fast",
        "nayer",
    ]


@every_method
def test_a_title_and_a_source_are_one_line_and_a_source_has_a_year_or_number(name: str) -> None:
    method = METHODS[name]
    assert "\n" not in method.title + method.source + method.note
    assert re.search(r"\b(19|20)\d\d\b|arXiv \d{4}\.\d{5}", method.source)


# ---------------------------------------------------------------- at an image size

SIZES = [
    (8, 8),
    (28, 28),
    (32, 32),
    (48, 32),
    (60, 60),
    (64, 64),
    (100, 100),
    (128, 128),
    (224, 224),
]


@every_method
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_recipe_has_a_generator_for_every_benchmarks_images(
    name: str, height: int, width: int
) -> None:
    """Without its numbers: with the first layer of a large one this would take gigabytes."""
    inputs = inputs_of(height, width)
    recipe = METHODS[name].recipe_for(inputs, STUDENT)
    assert DistillationConfig.model_validate(recipe.model_dump()) == recipe
    if recipe.synthesis.optimise == "pixels":
        return
    config = recipe.generator.model_copy(update={"width": 8, "noisy_layers": 1})
    with torch.device("meta"):
        generator = build_generator(config, inputs, 0).to("meta")
        noise = torch.zeros(2, config.latent_size)
        made = generator(noise, torch.zeros(2, dtype=torch.int64))
    assert made.shape == (2, 3, height, width)


@every_method
def test_a_recipe_at_32_pixels_is_the_published_one_with_the_benchmarks_student(name: str) -> None:
    method = METHODS[name]
    found = method.recipe_for(inputs_of(32, 32), STUDENT).model_dump()
    expected = method.recipe.model_dump()
    expected["student"] = STUDENT.model_dump()
    if name == "nayer":
        expected["generator"]["noisy_layers"] = 40  # 400 images of 10 classes
    assert found == expected


@every_method
def test_from_64_pixels_on_batches_are_of_at_most_64(name: str) -> None:
    method = METHODS[name]
    large, small = (method.recipe_for(inputs_of(side, side), STUDENT) for side in (64, 63))
    assert large.schedule.batch_size == min(64, method.recipe.schedule.batch_size)
    assert small.schedule.batch_size == method.recipe.schedule.batch_size
    assert large.generator.architecture != "upsample"
    assert small.generator.architecture == method.recipe.generator.architecture
    # Of a wide image, the shorter side decides.
    wide = method.recipe_for(inputs_of(32, 224), STUDENT)
    assert wide.schedule.batch_size == method.recipe.schedule.batch_size


@pytest.mark.parametrize(
    ("side", "doublings"),
    [(8, 2), (28, 2), (32, None), (64, None), (100, 2), (224, None), (228, 2)],
)
def test_where_four_doublings_do_not_fit_there_are_two(side: int, doublings: int | None) -> None:
    recipe = METHODS["dfkd_fgvc"].recipe_for(inputs_of(side, side), STUDENT)
    assert recipe.generator.architecture == "attention"
    assert recipe.generator.doublings == doublings
    if side >= 64:
        dcgan = METHODS["cgdd"].recipe_for(inputs_of(side, side), STUDENT).generator
        assert (dcgan.architecture, dcgan.doublings) == ("dcgan", doublings)


@pytest.mark.parametrize(
    ("name", "side", "weight"),
    [
        ("cgdd", 8, 62.5),
        ("cgdd_v4", 16, 250),
        ("cgdd", 28, 765.625),
        ("cgdd", 32, 1000),
        ("cgdd", 224, 1000),
        ("zskt", 8, 15.625),
        ("dfq", 8, 0),
    ],
)
def test_attention_transfer_weighs_a_position_of_small_maps_as_at_32_pixels(
    name: str, side: int, weight: float
) -> None:
    recipe = METHODS[name].recipe_for(inputs_of(side, side), STUDENT)
    assert recipe.student_objective.attention_transfer.weight == weight


@pytest.mark.parametrize(
    ("side", "classes", "layers"),
    [(32, 10, 40), (32, 100, 4), (32, 256, 2), (32, 500, 1), (224, 10, 7)],
)
def test_there_is_a_noisy_layer_for_every_image_of_a_class(
    side: int, classes: int, layers: int
) -> None:
    recipe = METHODS["nayer"].recipe_for(inputs_of(side, side, classes=classes), STUDENT)
    assert recipe.generator.noisy_layers == layers


@every_method
def test_asking_for_a_recipe_does_not_change_the_method(name: str) -> None:
    before = METHODS[name].recipe.model_dump_json()
    METHODS[name].recipe_for(inputs_of(224, 224, classes=7), STUDENT)
    assert METHODS[name].recipe.model_dump_json() == before


# ---------------------------------------------------------------- whom it serves


@every_method
def test_a_method_says_whether_it_can_serve_a_teacher_without_batch_norm(name: str) -> None:
    method = METHODS[name]
    assert method_service(method, True) == "can serve it as published"
    needs = objective_needs(method.recipe.generator_objective, GENERATOR_TERMS)
    found = method_service(method, False)
    if "teacher_statistics" in needs:
        assert "set settings.generator_objective.bn_statistics.weight to 0" in found
    else:
        assert found == "can serve it as published"


def test_the_methods_that_match_batch_norm_statistics_are_these() -> None:
    found = [name for name in METHODS if "matches" in method_service(METHODS[name], False)]
    assert found == ["cgdd", "cgdd_v4", "dfkd_fgvc", "adi", "dfq", "mad", "cmi", "fast", "nayer"]


@every_method
def test_what_a_recipe_needs_of_the_student_fits_its_stages(name: str) -> None:
    """An adversary goes with a student that trains beside the generator."""
    recipe = METHODS[name].recipe
    if recipe.schedule.mode == "two_stage":
        assert recipe.generator_objective.adversarial.weight == 0
    if recipe.image_bank.size:
        made = recipe.schedule.synthesis_epochs * recipe.schedule.iterations_per_epoch
        made *= recipe.synthesis.batch_size or recipe.schedule.batch_size
        # All of a recipe's rounds have room, but for the warm-up of some; NAYER keeps its newest.
        assert recipe.image_bank.size >= (0.25 if name == "nayer" else 0.9) * made


def test_the_placeholder_student_is_one_that_can_be_built() -> None:
    for method in METHODS.values():
        network = build_classifier(method.recipe.student, inputs_of(32, 32), 0)
        assert isinstance(network, nn.Module)
