"""Changes of a point on the way: which values, how far, how often."""

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from optuna.trial import FixedTrial
from scipy.stats import kstest

from dfkd_tune.distillation import METHODS
from search_spaces import SPACES, SearchSpace, get_space, is_perturbed, perturbed

RATE = "student_optimiser.learning_rate"
TIED = "generator_optimiser.learning_rate*schedule.generator_steps"
WEIGHT = "generator_objective.adversarial.weight"


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return get_space("cgdd")


def middle(space: SearchSpace, **switches: str) -> dict[str, Any]:
    """A point in the middle of every range."""
    values: dict[str, Any] = {}
    for dimension in space.dimensions:
        if dimension.switch:
            values[dimension.switch_key] = switches.get(dimension.name, "on")
        if dimension.kind == "choice":
            values[dimension.name] = dimension.choices[0]
        else:
            low, high = dimension.low, dimension.high
            value = (low * high) ** 0.5 if dimension.log else (low + high) / 2
            values[dimension.name] = int(value) if dimension.kind == "int" else value
    return space.ask(FixedTrial(values))


def test_only_weights_and_rates_change(space: SearchSpace) -> None:
    point = middle(space)
    changed: set[str] = set()
    for seed in range(40):
        child = perturbed(space, point, random.Random(seed))
        assert list(child) == list(point)
        changed |= {key for key in point if child[key] != point[key]}
    weights = {key for key in point if key.endswith(".weight")}
    assert changed == weights | {RATE, TIED}
    assert len(weights) >= 5


def test_a_weight_that_is_off_stays_off(space: SearchSpace) -> None:
    point = middle(space, **{WEIGHT: "off"})
    assert WEIGHT not in point
    for seed in range(20):
        child = perturbed(space, point, random.Random(seed))
        assert child[f"{WEIGHT}?"] == "off"
        assert WEIGHT not in child


def test_a_value_is_a_fifth_more_or_less_or_a_new_one(space: SearchSpace) -> None:
    """A quarter is drawn anew, by the scale of the range; the rest is halved between the two."""
    point = middle(space)
    (dimension,) = (d for d in space.dimensions if d.name == RATE)
    source = random.Random(0)
    count = 4000
    ratios = [perturbed(space, point, source)[RATE] / point[RATE] for _ in range(count)]
    kinds = Counter(
        "less" if ratio == pytest.approx(0.8) else "more" if ratio == pytest.approx(1.2) else "new"
        for ratio in ratios
    )
    for kind, share in {"less": 0.375, "more": 0.375, "new": 0.25}.items():
        # Four standard errors.
        error = (share * (1 - share) / count) ** 0.5
        assert kinds[kind] / count == pytest.approx(share, abs=4 * error)
    new = [r * point[RATE] for r in ratios if not np.isclose(r, 0.8) and not np.isclose(r, 1.2)]
    assert kstest([dimension.scaled(value) for value in new], "uniform").pvalue > 0.001


@pytest.mark.parametrize("end", ["low", "high"])
def test_no_value_leaves_its_range(space: SearchSpace, end: str) -> None:
    point = middle(space)
    moved = {d.name: getattr(d, end) for d in space.dimensions if is_perturbed(d)}
    point |= {name: value for name, value in moved.items() if name in point}
    clipped = 0
    for seed in range(100):
        child = perturbed(space, point, random.Random(seed))
        for dimension in space.dimensions:
            if dimension.name in child:
                assert dimension.holds(child[dimension.name])
        clipped += child[RATE] == point[RATE]
    assert clipped > 10, "what would leave it stays at its end"


def test_the_same_source_changes_alike_and_leaves_the_parent_alone(space: SearchSpace) -> None:
    point = middle(space)
    before = dict(point)
    first, second = (perturbed(space, point, random.Random("seed")) for _ in range(2))
    assert first == second != point
    assert point == before


def test_numbers_that_are_choices_are_none(space: SearchSpace) -> None:
    narrow = space.with_ranges({RATE: {"choices": [0.01, 0.1]}})
    point = middle(narrow)
    assert all(perturbed(narrow, point, random.Random(n))[RATE] == point[RATE] for n in range(9))


@pytest.mark.parametrize("name", sorted(set(SPACES) - {"methods"}))
def test_a_changed_point_of_every_space_makes_a_valid_configuration(name: str) -> None:

    space = SPACES[name]
    base = METHODS[name].recipe
    point = space.point(base)
    for seed in range(5):
        child = perturbed(space, point, random.Random(seed))
        config = space.configuration(base, child)
        assert config.student == base.student
        assert config.generator == base.generator
        assert config.schedule == base.schedule
