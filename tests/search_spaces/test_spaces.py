"""Search spaces: every dimension is real, every point is a valid configuration."""

from dataclasses import replace
from typing import Any

import optuna
import pytest
from optuna.trial import BaseTrial

from dfkd_tune.distillation import METHODS, DistillationConfig, active_terms
from dfkd_tune.errors import SpaceError, UnknownNameError
from search_spaces import METHOD_KEY, OFF, ON, SPACES, SearchSpace, get_key, get_space, with_values

BASE = METHODS["cgdd"].recipe
ADVERSARIAL = "generator_objective.adversarial"


def asks(space: SearchSpace, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Points as a random sampler proposes them."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [space.ask(study.ask()) for _ in range(count)]


def ask_fixed(space: SearchSpace, **values: Any) -> dict[str, Any]:
    trial: BaseTrial = optuna.trial.FixedTrial(values)
    return space.ask(trial)


def recipe_of(space: SearchSpace, method: str = "") -> DistillationConfig:
    """Of the space's method; where it has several, of the one named, or else of the first."""
    return METHODS[method or (space.methods or (space.name,))[0]].recipe


def asked(params: dict[str, Any], key: str) -> Any:
    """A parameter; the switch of a weight that is always on is never asked."""
    return params.get(key, ON if key.removesuffix("?") in params else None)


@pytest.fixture(params=SPACES)
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return get_space(request.param)


def test_a_space_is_registered_under_its_own_name(space: SearchSpace) -> None:
    assert get_space(space.name) is space
    assert space.title


def test_an_unknown_space_is_answered_with_what_was_meant() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'cgdd'"):
        get_space("cgd")


def test_every_dimension_is_a_value_of_the_configuration_and_appears_once(
    space: SearchSpace,
) -> None:
    names = [dimension.name for dimension in space.dimensions]
    assert len(set(names)) == len(names)
    for dimension in space.dimensions:
        value = get_key(recipe_of(space, dimension.method), dimension.key)
        kinds = {"float": float, "int": int, "choice": str | int | float}
        assert isinstance(value, kinds[dimension.kind]), dimension.key
        assert dimension.source, dimension.key


def test_every_bound_and_choice_is_a_valid_configuration(space: SearchSpace) -> None:
    for dimension in space.dimensions:
        ends = dimension.choices or (dimension.low, dimension.high)
        if dimension.switch:
            assert dimension.key.endswith(".weight")
            ends = (*ends, 0.0)
        for value in ends:
            config = with_values(recipe_of(space, dimension.method), {dimension.searched: value})
            assert get_key(config, dimension.searched) == value


def test_what_a_number_is_tied_to_is_a_dimension_before_it(space: SearchSpace) -> None:
    for index, dimension in enumerate(space.dimensions):
        if dimension.times:
            before = [(d.method, d.key) for d in space.dimensions[:index]]
            assert (dimension.method, dimension.times) in before
            assert 0 < dimension.untied().low < dimension.untied().high


def test_ranges_are_in_order_and_positive_where_logarithmic(space: SearchSpace) -> None:
    for dimension in space.dimensions:
        if dimension.kind == "choice":
            assert len(set(dimension.choices)) == len(dimension.choices) > 1
        else:
            assert dimension.low < dimension.high
            assert not dimension.log or dimension.low > 0


def test_conditions_name_earlier_dimensions_and_values_that_they_can_have(
    space: SearchSpace,
) -> None:
    known: dict[str, tuple[Any, ...]] = {}
    for dimension in space.dimensions:
        if dimension.condition is not None:
            assert dimension.condition.key in known, dimension.key
            assert set(dimension.condition.values) <= set(known[dimension.condition.key])
            assert str(dimension.condition).startswith(f"{dimension.condition.key} is ")
        if dimension.switch:
            known[dimension.switch_key] = (ON, OFF)
        known[dimension.name] = dimension.choices


@pytest.mark.parametrize("method", METHODS)
def test_a_recipe_lies_in_its_space_and_comes_back_exactly(method: str) -> None:
    recipe = METHODS[method].recipe
    space = get_space(METHODS[method].space)
    point = space.point(recipe)
    assert space.configuration(recipe, point) == recipe
    distributions = space.distributions()
    assert point.keys() <= distributions.keys()
    for key, value in point.items():
        internal = distributions[key].to_internal_repr(value)
        assert distributions[key]._contains(internal), key


def test_a_recipe_as_first_trial_is_asked_back_unchanged(space: SearchSpace) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    point = space.point(recipe_of(space))
    study.enqueue_trial(point)
    assert space.ask(study.ask()) == point


def test_random_points_are_valid_configurations_with_applicable_parameters_alone(
    space: SearchSpace,
) -> None:
    distributions = space.distributions()
    seen: dict[str, set[Any]] = {}
    for params in asks(space, 200 * max(1, len(space.methods))):
        base = recipe_of(space, params.get(METHOD_KEY, ""))
        config = space.configuration(base, params)
        assert isinstance(config, DistillationConfig)
        assert params.keys() <= distributions.keys()
        for dimension in space.dimensions:
            condition = dimension.condition
            applies = condition is None or asked(params, condition.key) in condition.values
            applies = applies and dimension.method in ("", params.get(METHOD_KEY))
            off = dimension.switch and params.get(dimension.switch_key) == OFF
            assert (dimension.name in params) is (applies and not off), dimension.name
            if dimension.switch:
                assert (dimension.switch_key in params) is applies
            if dimension.name in params:
                assert dimension.holds(params[dimension.name])
                expected = params[dimension.name]
                if dimension.times:
                    expected = pytest.approx(expected / get_key(config, dimension.times))
                assert get_key(config, dimension.key) == expected
            elif off:
                assert get_key(config, dimension.key) == 0
            elif not dimension.method:
                assert get_key(config, dimension.key) == get_key(base, dimension.key)
            if dimension.kind == "choice" and applies:
                seen.setdefault(dimension.name, set()).add(params[dimension.name])
        assert space.point(config) == pytest.approx(params)
    for dimension in space.dimensions:
        if dimension.kind == "choice":
            assert seen[dimension.name] == set(dimension.choices)


def test_a_switch_that_is_off_takes_the_term_away() -> None:
    space = get_space("cgdd")
    params = space.point(BASE)
    key = "student_objective.attention_transfer.weight"
    del params[key]
    params[f"{key}?"] = OFF
    config = space.configuration(BASE, params)
    assert get_key(config, key) == 0
    assert "attention_transfer" not in active_terms(config.student_objective)
    assert space.point(config) == params


def test_values_outside_are_all_named_with_what_to_do() -> None:
    config = with_values(
        BASE, {"generator.width": 17, "student_optimiser.learning_rate": 7.0, "student.width": 1.0}
    )
    with pytest.raises(SpaceError) as caught:
        get_space("cgdd").point(config)
    problems = caught.value.problems
    assert [line.split(":")[0] for line in problems] == [
        "generator.width",
        "student_optimiser.learning_rate",
    ]
    assert "17" in problems[0]
    assert "0.001 .. 0.3 (log)" in problems[1]
    assert all("space.ranges" in line for line in problems)


def test_with_values_changes_a_copy_and_validates() -> None:
    changed = with_values(BASE, {"schedule.epochs": 7, "student.width": 0.5})
    assert (changed.schedule.epochs, changed.student.width) == (7, 0.5)
    assert (BASE.schedule.epochs, BASE.student.width) == (200, 1.0)
    assert changed.generator == BASE.generator
    with pytest.raises(ValueError, match="epochs"):
        with_values(BASE, {"schedule.epochs": 0})


@pytest.mark.parametrize("kind", ["one_hot_concat", "embed_concat"])
def test_a_condition_is_asked_of_what_was_proposed(kind: str) -> None:
    space = get_space("cgdd")
    values: dict[str, Any] = dict(space.point(BASE))
    values["generator.conditioning"] = kind
    asked = ask_fixed(space, **values)
    assert ("generator.label_embedding_size" in asked) is (kind == "embed_concat")


@pytest.mark.parametrize("switch", [ON, OFF])
def test_a_condition_on_a_switch_follows_the_switch(switch: str) -> None:
    space = get_space("cgdd")
    values: dict[str, Any] = dict(space.point(BASE))
    values |= {
        f"{ADVERSARIAL}.weight?": switch,
        f"{ADVERSARIAL}.weight": 1.0,
        f"{ADVERSARIAL}.divergence": "js",
    }
    asked = ask_fixed(space, **values)
    assert (f"{ADVERSARIAL}.weight" in asked) is (switch == ON)
    assert (f"{ADVERSARIAL}.divergence" in asked) is (switch == ON)


# ---------------------------------------------------------------- over methods


def test_the_space_over_methods_holds_every_method_and_all_of_its_own_space() -> None:
    space = get_space("methods")
    assert space.methods == tuple(METHODS)
    shared = [d.name for d in space.dimensions if not d.method]
    assert shared == ["method", "student.architecture", "student.width"]
    for name in METHODS:
        own = [replace(d, condition=None) for d in get_space(name).dimensions]
        here = [
            replace(d, method="", condition=None)
            for d in space.dimensions
            if d.method == name or d.key.startswith("student.")
        ]
        assert here == own


@pytest.mark.parametrize("name", METHODS)
def test_every_recipe_is_a_point_of_the_space_over_methods(name: str) -> None:
    recipe = METHODS[name].recipe
    space = get_space("methods")
    point = space.point(recipe)
    assert point["method"] == name
    assert {key.partition("/")[0] for key in point if "/" in key} == {name}
    assert space.configuration(recipe, point) == recipe
    assert ask_fixed(space, **point) == point
    own = get_space(name).point(recipe)
    assert {key.removeprefix(f"{name}/"): v for key, v in point.items() if key != "method"} == own


def test_choices_of_the_method_take_the_other_methods_away_and_fix_by_method() -> None:
    space = get_space("methods").with_ranges(
        {
            "method": {"choices": ["cmi", "dfq"]},
            "dfq/generator.width": 16,
            "cmi/generator.width": {"choices": [32, 64]},
        }
    )
    assert space.methods == ("cmi", "dfq")
    assert {d.method for d in space.dimensions} == {"", "cmi", "dfq"}
    assert space.configuration(METHODS["dfq"].recipe, {}).generator.width == 16
    assert space.configuration(METHODS["cmi"].recipe, {}).generator.width == 64
    seen = {params["method"] for params in asks(space, 30)}
    assert seen == {"cmi", "dfq"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("dfq", "the method's own space"),
        ({"choices": ["dfq", "cmj"]}, "no method 'cmj'; did you mean 'cmi'"),
    ],
)
def test_a_method_that_is_none_or_alone_is_refused(given: Any, said: str) -> None:
    with pytest.raises(SpaceError) as caught:
        get_space("methods").with_ranges({"method": given})
    assert said in caught.value.problems[0]


@pytest.mark.parametrize("name", sorted(SPACES))
def test_numbers_are_recorded_with_what_their_key_takes(name: str) -> None:
    for dimension in get_space(name).dimensions:
        recorded = dimension.as_json()
        if dimension.kind == "choice":
            assert recorded["limits"] == {}
            assert (recorded["low"], recorded["high"]) == (None, None)
            assert recorded["choices"] == list(dimension.choices)
            continue
        assert recorded["choices"] is None
        assert (recorded["low"], recorded["high"]) == (dimension.low, dimension.high)
        found = recorded["limits"]
        assert set(found) <= {"gt", "ge", "lt", "le"}
        if dimension.key.endswith(".weight"):
            assert found == {"ge": 0}
        if dimension.searched == "student_optimiser.learning_rate":
            assert found == {"gt": 0}
        # A product is no field of its own.
        assert bool(found) == (not dimension.times)
