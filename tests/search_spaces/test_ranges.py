"""Ranges of an experiment file in place of a space's own."""

import math
from itertools import product
from typing import Any

import optuna
import pytest

from dfkd_tune.distillation import METHODS
from dfkd_tune.errors import SpaceError
from search_spaces import OFF, SearchSpace, get_key, get_space

BASE = METHODS["cgdd"].recipe
SPACE = get_space("cgdd")
RATE = "student_optimiser.learning_rate"
SIZE = "generator.label_embedding_size"
WIDTH = "generator.width"
ADVERSARIAL = "generator_objective.adversarial"


def asks(space: SearchSpace, count: int = 60) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    return [space.ask(study.ask()) for _ in range(count)]


def dimension(space: SearchSpace, key: str) -> Any:
    (found,) = [d for d in space.dimensions if d.key == key]
    return found


def problems(ranges: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(SpaceError) as caught:
        SPACE.with_ranges(ranges)
    return caught.value.problems


def test_no_range_is_the_same_space() -> None:
    assert SPACE.with_ranges({}) == SPACE


def test_a_narrowed_range_is_asked_and_the_space_itself_stays() -> None:
    before = dimension(SPACE, RATE)
    space = SPACE.with_ranges({RATE: {"low": 0.01, "high": 0.02}})
    values = [params[RATE] for params in asks(space)]
    assert 0.01 <= min(values) < max(values) <= 0.02
    assert dimension(SPACE, RATE) == before
    assert dimension(space, RATE).log is before.log
    assert [d.key for d in space.dimensions] == [d.key for d in SPACE.dimensions]


def test_one_bound_alone_keeps_the_other() -> None:
    space = SPACE.with_ranges({RATE: {"low": 0.1}})
    assert (dimension(space, RATE).low, dimension(space, RATE).high) == (0.1, 0.3)
    with pytest.raises(SpaceError, match="not below"):
        SPACE.with_ranges({RATE: {"low": 0.5}})


def test_choices_are_replaced() -> None:
    space = SPACE.with_ranges({WIDTH: {"choices": [8, 12]}})
    assert {params[WIDTH] for params in asks(space)} == {8, 12}


def test_choices_of_a_number_are_asked_alone_and_of_its_kind() -> None:
    space = SPACE.with_ranges({RATE: {"choices": [0.1, 1]}, SIZE: {"choices": [20.0, 50]}})
    found = asks(space)
    assert {params[RATE] for params in found} == {0.1, 1.0}
    sizes = {params[SIZE] for params in found if SIZE in params}
    assert sizes == {20, 50}
    assert {type(size) for size in sizes} == {int}
    assert dimension(space, RATE).range_text() == "0.1, 1.0"
    assert space.point(BASE)[RATE] == BASE.student_optimiser.learning_rate


def test_a_weight_of_choices_may_be_0_and_stands_for_its_switch_in_a_condition() -> None:
    space = SPACE.with_ranges({f"{ADVERSARIAL}.weight": {"choices": [0, 0.5]}})
    found = asks(space)
    assert {params[f"{ADVERSARIAL}.weight"] for params in found} == {0.0, 0.5}
    for params in found:
        assert f"{ADVERSARIAL}.weight?" not in params
        on = params[f"{ADVERSARIAL}.weight"] > 0
        assert (f"{ADVERSARIAL}.divergence" in params) is on
        config = space.configuration(BASE, params)
        assert config.generator_objective.adversarial.weight == params[f"{ADVERSARIAL}.weight"]
        assert space.point(config) == pytest.approx(params)


def test_an_integer_range_gives_integers_with_both_ends() -> None:
    space = SPACE.with_ranges(
        {SIZE: {"low": 3, "high": 5}, "generator.conditioning": "embed_concat"}
    )
    values = [params[SIZE] for params in asks(space)]
    assert set(values) == {3, 4, 5}
    assert all(isinstance(value, int) for value in values)


def test_a_fixed_value_is_not_asked_and_is_in_every_configuration() -> None:
    space = SPACE.with_ranges({WIDTH: 24, RATE: 0.05, "student.architecture": "convnet"})
    for params in asks(space, 20):
        assert not {WIDTH, RATE, "student.architecture"} & params.keys()
        config = space.configuration(BASE, params)
        assert config.generator.width == 24
        assert config.student_optimiser.learning_rate == 0.05
        assert config.student.architecture == "convnet"
    assert not {WIDTH, RATE} & space.distributions().keys()


def test_ranges_may_be_given_twice() -> None:
    space = SPACE.with_ranges({WIDTH: 24}).with_ranges({RATE: 0.05})
    config = space.configuration(BASE, asks(space, 1)[0])
    assert (config.generator.width, config.student_optimiser.learning_rate) == (24, 0.05)


@pytest.mark.parametrize("kind", ["embed_concat", "one_hot_concat"])
def test_a_fixed_value_satisfies_or_fails_a_condition(kind: str) -> None:
    space = SPACE.with_ranges({"generator.conditioning": kind})
    asked = {SIZE in params for params in asks(space)}
    assert asked == {kind == "embed_concat"}
    config = space.configuration(BASE, asks(space, 1)[0])
    assert config.generator.conditioning == kind
    assert (SIZE in space.point(config)) is (kind == "embed_concat")


@pytest.mark.parametrize(("weight", "applies"), [(0, False), (0.0, False), (0.7, True), (2, True)])
def test_a_fixed_weight_stands_for_its_switch_in_a_condition(weight: float, applies: bool) -> None:
    space = SPACE.with_ranges({f"{ADVERSARIAL}.weight": weight})
    for params in asks(space):
        assert f"{ADVERSARIAL}.weight?" not in params
        assert (f"{ADVERSARIAL}.divergence" in params) is applies
        config = space.configuration(BASE, params)
        assert config.generator_objective.adversarial.weight == weight


def test_what_cannot_apply_any_more_is_not_searched() -> None:
    off = SPACE.with_ranges(
        {f"{ADVERSARIAL}.weight": 0, "generator.conditioning": "embed_multiply"}
    )
    gone = {d.name for d in SPACE.dimensions} - {d.name for d in off.dimensions}
    expected = {
        f"{ADVERSARIAL}.weight",
        f"{ADVERSARIAL}.divergence",
        "generator.conditioning",
        SIZE,
    }
    assert gone == expected
    on = SPACE.with_ranges({f"{ADVERSARIAL}.weight": 1.0, "generator.conditioning": "embed_concat"})
    assert {f"{ADVERSARIAL}.divergence", SIZE} <= {d.name for d in on.dimensions}


def test_a_weight_without_its_switch_is_always_asked() -> None:
    space = SPACE.with_ranges({f"{ADVERSARIAL}.weight": {"low": 0.5, "high": 2, "switch": False}})
    for params in asks(space):
        assert f"{ADVERSARIAL}.weight?" not in params
        assert 0.5 <= params[f"{ADVERSARIAL}.weight"] <= 2
        assert f"{ADVERSARIAL}.divergence" in params
        config = space.configuration(BASE, params)
        assert space.point(config) == pytest.approx(params)
    with pytest.raises(SpaceError, match=r"adversarial\.weight: the recipe's value 0"):
        space.point(BASE)


TIED = "generator_optimiser.learning_rate*schedule.generator_steps"
ALONE, STEPS = TIED.split("*")


def test_a_tied_number_is_the_product_divided_by_what_the_trial_or_the_recipe_has() -> None:
    space = SPACE.with_ranges({TIED: {"low": 1e-3, "high": 1e-2}})
    for params in asks(space, 20):
        config = space.configuration(BASE, params)
        rate = params[TIED] / params[STEPS]
        assert config.generator_optimiser.learning_rate == pytest.approx(rate, rel=1e-11)
        assert ALONE not in params
    fixed = SPACE.with_ranges({STEPS: 4})
    params = asks(fixed, 1)[0]
    config = fixed.configuration(BASE, params)
    assert config.schedule.generator_steps == 4
    assert config.generator_optimiser.learning_rate == pytest.approx(params[TIED] / 4)


def test_a_product_may_be_fixed() -> None:
    space = SPACE.with_ranges({TIED: 6e-3, STEPS: {"choices": [1, 2, 3]}})
    found = {space.configuration(BASE, p).generator_optimiser.learning_rate for p in asks(space)}
    assert found == {6e-3, 3e-3, 2e-3}


def test_a_tied_number_named_alone_is_searched_alone_where_it_stood() -> None:
    space = SPACE.with_ranges({ALONE: {"high": 1e-2}})
    assert [d.key for d in space.dimensions] == [d.key for d in SPACE.dimensions]
    assert (dimension(space, ALONE).low, dimension(space, ALONE).high) == (1e-4, 1e-2)
    for params in asks(space, 20):
        assert TIED not in params
        config = space.configuration(BASE, params)
        assert config.generator_optimiser.learning_rate == params[ALONE]
    fixed = SPACE.with_ranges({ALONE: 2e-3})
    assert not {TIED, ALONE} & fixed.distributions().keys()
    for params in asks(fixed, 20):
        assert fixed.configuration(BASE, params).generator_optimiser.learning_rate == 2e-3
    grid = SPACE.with_ranges({ALONE: {"choices": [1e-3, 3e-3]}})
    assert {params[ALONE] for params in asks(grid)} == {1e-3, 3e-3}


def test_a_tied_number_given_both_ways_is_refused() -> None:
    (line,) = problems({ALONE: {"high": 1e-2}, TIED: {"high": 1e-2}})
    assert line == f"{ALONE}: is given as {TIED} too; keep one of the two"


def test_the_end_of_a_tied_range_comes_back_within_it() -> None:
    high = dimension(SPACE, ALONE).high
    for steps in (2, 5):
        point = {**SPACE.point(BASE), TIED: high, STEPS: steps}
        assert SPACE.point(SPACE.configuration(BASE, point)) == point


def test_a_narrowed_weight_keeps_its_switch() -> None:
    space = SPACE.with_ranges({f"{ADVERSARIAL}.weight": {"low": 0.5, "high": 2}})
    switches = {params[f"{ADVERSARIAL}.weight?"] for params in asks(space)}
    assert switches == {"on", OFF}


def test_a_recipe_outside_a_narrowed_range_is_named() -> None:
    space = SPACE.with_ranges({"generator_objective.preset_label.weight": {"low": 2, "high": 5}})
    with pytest.raises(SpaceError, match=r"preset_label\.weight: the recipe's value 1\.0"):
        space.point(BASE)


def test_an_unknown_key_is_answered_with_what_was_meant() -> None:
    (line,) = problems({"generator.widht": 3})
    assert line.startswith("generator.widht: not searched; did you mean 'generator.width'?")


def test_all_problems_are_named_at_once() -> None:
    found = problems({"x": 1, RATE: {"low": 1, "high": 0.5}, WIDTH: {"choices": []}, SIZE: 4})
    assert [line.split(":")[0] for line in found] == ["x", RATE, WIDTH]


@pytest.mark.parametrize(
    ("key", "given", "said"),
    [
        (RATE, {"low": 0.2, "high": 0.1}, "not below"),
        (RATE, {"low": 0.1, "high": 0.1}, "not below"),
        (RATE, {"low": math.nan, "high": 0.1}, "low"),
        (RATE, {"low": 0.1, "high": math.inf}, "high"),
        (RATE, {"low": 0, "high": 0.1}, "must be above 0"),
        (RATE, {"low": -1, "high": 0.1}, "must be above 0"),
        (RATE, {"low": "a", "high": 1}, "not a number"),
        (RATE, {"low": True, "high": 2}, "not a number"),
        (RATE, {"low": 0.1, "high": None}, "not a number"),
        (RATE, {"choices": [0.1, "fast"]}, "'fast', not a finite number"),
        (RATE, {"choices": [0.1, math.inf]}, "not a finite number"),
        (RATE, {"choices": [1, 1.0]}, "twice"),
        (RATE, {"choices": []}, "at least one"),
        (RATE, {"choices": [0.1], "low": 0.01}, "takes ['high', 'low'] or ['choices']"),
        (SIZE, {"choices": [16, 20.5]}, "20.5, not a whole number"),
        (f"{ADVERSARIAL}.weight", {"choices": [0, 1], "switch": True}, "takes"),
        (RATE, {"min": 0.1}, "takes"),
        (RATE, {"switch": False}, "takes"),
        (RATE, {}, "takes"),
        (RATE, "fast", "not a number"),
        (RATE, True, "True"),
        (RATE, None, "None"),
        (RATE, [0.1, 0.2], "give"),
        (SIZE, {"low": 16.5, "high": 40.9}, "16.5"),
        (WIDTH, {"low": 8, "high": 16}, "takes"),
        (WIDTH, {"choices": []}, "at least one"),
        (WIDTH, {"choices": 8}, "give a list"),
        (WIDTH, {"choices": [8, 8]}, "twice"),
        (WIDTH, {"choices": "ab"}, "give a list"),
        (WIDTH, {"choices": [8, None]}, "None"),
        (WIDTH, {"choices": [8, [16]]}, "16"),
        (f"{ADVERSARIAL}.weight", {"switch": "no"}, "true"),
        (f"{ADVERSARIAL}.weight", {"switch": 0}, "true"),
    ],
    ids=str,
)
def test_a_range_that_does_not_suit_is_named(key: str, given: Any, said: str) -> None:
    (line,) = problems({key: given})
    assert line.startswith(f"{key}: ")
    assert said in line


@pytest.mark.parametrize(
    ("key", "value"),
    [(WIDTH, "wide"), (WIDTH, 0), (SIZE, 50.5), (RATE, -1), (RATE, math.nan), (RATE, math.inf)],
)
def test_a_fixed_value_that_no_configuration_takes_is_refused_at_the_latest_there(
    key: str, value: Any
) -> None:
    with pytest.raises(ValueError, match=key.split(".")[-1]):  # SpaceError would be earlier
        SPACE.with_ranges({key: value}).configuration(BASE, SPACE.point(BASE))


def test_the_range_is_told_in_words() -> None:
    assert dimension(SPACE, RATE).range_text() == "0.001 .. 0.3 (log)"
    assert dimension(SPACE, f"{ADVERSARIAL}.weight").range_text() == "0 or 0.05 .. 5 (log)"
    assert dimension(SPACE, "schedule.generator_steps").range_text() == "1, 2, 5"


def test_get_key_follows_dots() -> None:
    assert get_key(BASE, "student_objective.kd.temperature") == 4.0
    with pytest.raises(AttributeError):
        get_key(BASE, "student_objective.kd.heat")


def test_combinations_are_the_product_without_what_does_not_apply() -> None:
    """By hand: the embedding's size only with embed_concat, the divergence only with a weight."""
    kinds, sizes, weights = ("one_hot_concat", "embed_concat"), (20, 30), (0.0, 0.5, 1.0)
    divergences = ("js", "l1")
    fixed = {
        d.name: 1 if d.kind != "choice" else d.choices[0]
        for d in SPACE.dimensions
        if not d.key.startswith((ADVERSARIAL, "generator.conditioning", SIZE))
    }
    space = SPACE.with_ranges(
        {
            **fixed,
            "generator.conditioning": {"choices": list(kinds)},
            SIZE: {"choices": list(sizes)},
            f"{ADVERSARIAL}.weight": {"choices": list(weights)},
            f"{ADVERSARIAL}.divergence": {"choices": list(divergences)},
        }
    )
    names = [d.name for d in space.dimensions]
    assert set(names) == {
        "generator.conditioning",
        SIZE,
        f"{ADVERSARIAL}.weight",
        f"{ADVERSARIAL}.divergence",
    }
    expected = []
    for kind, size, weight, divergence in product(kinds, sizes, weights, divergences):
        point = {"generator.conditioning": kind, f"{ADVERSARIAL}.weight": weight}
        if kind == "embed_concat":
            point[SIZE] = size
        if weight > 0:
            point[f"{ADVERSARIAL}.divergence"] = divergence
        if point not in expected:
            expected.append(point)
    found = list(space.combinations())
    assert len(found) == len(expected) == (1 + 2) * (1 + 2 * 2)
    assert sorted(map(str, found)) == sorted(
        str({name: point[name] for name in names if name in point}) for point in expected
    )
    # Every one is a point of the space that Optuna takes as it is.
    for point in found:
        study = optuna.create_study()
        study.enqueue_trial(point)
        assert space.ask(study.ask()) == point


def test_ranges_have_no_combinations() -> None:
    with pytest.raises(SpaceError) as caught:
        SPACE.with_ranges({RATE: {"choices": [0.1]}}).combinations()
    named = {line.split(":")[0] for line in caught.value.problems}
    assert named == {d.name for d in SPACE.dimensions if d.kind != "choice" and d.name != RATE}
    assert all("needs {choices: [...]} or one value" in line for line in caught.value.problems)
