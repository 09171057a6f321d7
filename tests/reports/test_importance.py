"""Importance of the searched dimensions: against cases whose answer is known."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor

from reports.compute import importance as module
from reports.compute.dimensions import Dimension
from reports.compute.importance import FEWEST, Importance, measure_importance

Parameters = list[dict[str, Any]]


def measured(
    dimensions: Sequence[Dimension], parameters: Parameters, values: Sequence[float]
) -> Importance:
    found = measure_importance(dimensions, parameters, values)
    assert isinstance(found, Importance), found
    return found


def by_name(found: Importance) -> dict[str, Any]:
    return {row.dimension.name: row for row in found.rows}


RATE = Dimension(name="rate", low=1e-4, high=1e-1, log=True)
NOISE = tuple(Dimension(name=f"noise-{index}", low=0.0, high=1.0) for index in range(3))


def drawn(count: int, seed: int = 0) -> Parameters:
    random = np.random.default_rng(seed)
    return [
        {"rate": float(10 ** random.uniform(-4, -1))}
        | {dimension.name: float(random.random()) for dimension in NOISE}
        for _ in range(count)
    ]


def of_rate(parameters: Parameters, noise: float = 0.02, seed: int = 1) -> list[float]:
    """A value that depends on the rate's logarithm, and on nothing else but chance."""
    random = np.random.default_rng(seed)
    return [
        0.9 - 0.2 * abs(np.log10(p["rate"]) + 2.5) + noise * float(random.normal())
        for p in parameters
    ]


def test_the_one_that_decides_comes_first_and_chance_is_not_clear() -> None:
    parameters = drawn(60)
    found = measured((*NOISE, RATE), parameters, of_rate(parameters))
    assert found.trials == found.complete == 60
    first, *others = found.rows
    assert first.dimension == RATE
    assert first.clear
    assert first.importance.value > 0.8
    assert first.importance.low < first.importance.value < first.importance.high
    assert all(abs(row.importance.value) < 0.1 for row in others)
    assert not any(row.clear for row in others)
    assert [row.importance.value for row in found.rows] == sorted(
        (row.importance.value for row in found.rows), reverse=True
    )
    assert {row.used for row in found.rows} == {60}


def test_skill_is_that_which_scikit_learn_finds_out_of_bag() -> None:
    parameters = drawn(40)
    values = of_rate(parameters, noise=0.1)
    found = measured((*NOISE, RATE), parameters, values)
    rows = [[*(p[d.name] for d in NOISE), (np.log10(p["rate"]) + 4) / 3] for p in parameters]
    forest = RandomForestRegressor(module.TREES, random_state=0, oob_score=True).fit(rows, values)
    assert found.skill.value == pytest.approx(forest.oob_score_, abs=0.01)
    assert found.skill.low < found.skill.value < found.skill.high


def test_importance_does_not_depend_on_the_unit_of_the_objective_nor_on_the_call() -> None:
    parameters = drawn(25)
    values = of_rate(parameters)
    found = measured((RATE, *NOISE), parameters, values)
    assert measured((RATE, *NOISE), parameters, values) == found
    other = measured((RATE, *NOISE), parameters, [2 * value for value in values])
    for row, same in zip(found.rows, other.rows, strict=True):
        assert same.importance.value == pytest.approx(row.importance.value, abs=1e-6)


def test_more_trials_make_the_interval_narrower() -> None:
    widths = []
    for count in (25, 100):
        parameters = drawn(count)
        row = by_name(measured((RATE, *NOISE), parameters, of_rate(parameters)))["rate"]
        widths.append(row.importance.high - row.importance.low)
    assert widths[1] < 0.7 * widths[0]


def test_a_choice_and_a_switch_matter_as_wholes() -> None:
    random = np.random.default_rng(3)
    method = Dimension(name="method", choices=("a", "b", "c"))
    weight = Dimension(name="weight", low=0.01, high=10.0, log=True, switch=True)
    parameters: Parameters = []
    values = []
    for _ in range(80):
        chosen = str(random.choice(["a", "b", "c"]))
        on = bool(random.random() < 0.5)
        more = {"weight?": "on", "weight": float(10 ** random.uniform(-2, 1))}
        parameters.append({"method": chosen, **(more if on else {"weight?": "off"})})
        values.append(0.3 * (chosen == "b") + 0.15 * on + 0.02 * float(random.normal()))
    rows = by_name(measured((weight, method), parameters, values))
    assert rows["method"].importance.value > rows["weight"].importance.value > 0.2
    assert rows["weight"].clear
    # Off is a value of the switch too.
    assert rows["weight"].used == 80


def test_a_dimension_tells_nothing_about_the_one_that_decides_its_use() -> None:
    random = np.random.default_rng(4)
    method = Dimension(name="method", choices=("a", "b"))
    size = Dimension(name="size", low=16.0, high=256.0, log=True, condition="method is a")
    parameters: Parameters = []
    values = []
    for _ in range(80):
        with_size = bool(random.random() < 0.5)
        more = {"size": float(random.integers(16, 257))} if with_size else {}
        parameters.append({"method": "a" if with_size else "b", **more})
        values.append(0.5 * with_size + 0.02 * float(random.normal()))
    rows = by_name(measured((method, size), parameters, values))
    assert rows["method"].importance.value > 1
    assert abs(rows["size"].importance.value) < 0.05
    assert rows["size"].used == sum("size" in p for p in parameters)


def test_the_surface_is_over_the_two_most_important_numbers() -> None:
    parameters = drawn(80)
    up = NOISE[1]
    values = [v + 0.3 * p[up.name] for v, p in zip(of_rate(parameters), parameters, strict=True)]
    surface = measured((RATE, *NOISE), parameters, values).surface
    assert surface is not None
    assert {surface.across.name, surface.up.name} == {RATE.name, up.name}
    grid = np.array(surface.values)
    rates = grid.mean(axis=0 if surface.across == RATE else 1)
    # Highest about 10^-2.5, in the middle of the range, and rising along the other.
    assert 0.35 < (np.argmax(rates) + 0.5) / len(rates) < 0.65
    other = grid.mean(axis=1 if surface.across == RATE else 0)
    assert other[-1] - other[0] == pytest.approx(0.3, abs=0.1)


def test_one_number_alone_has_no_surface() -> None:
    parameters = drawn(40)
    dimensions = (RATE, Dimension(name="kind", choices=("a", "b")))
    for index, p in enumerate(parameters):
        p["kind"] = "ab"[index % 2]
    assert measured(dimensions, parameters, of_rate(parameters)).surface is None


def test_fewer_than_twenty_complete_trials_are_refused() -> None:
    parameters = drawn(FEWEST)
    values = of_rate(parameters)
    dimensions = (RATE, *NOISE)
    refusal = measure_importance(dimensions, parameters[:-1], values[:-1])
    assert refusal == (
        "it takes at least 20 complete trials to tell importance from chance, and this run has 19."
    )
    measured(dimensions, parameters, values)


def test_a_forest_that_predicts_nothing_is_refused() -> None:
    random = np.random.default_rng(0)
    refused = 0
    for seed in range(4):
        values = [float(value) for value in random.normal(size=40)]
        found = measure_importance((RATE, *NOISE), drawn(40, seed), values)
        if isinstance(found, str):
            refused += 1
            assert "no better than their mean does (R² -0." in found
        else:
            # It may look a little better than chance, and then says how little is sure.
            assert found.skill.low < 0
    assert refused >= 3


@pytest.mark.parametrize(
    ("dimensions", "values", "said"),
    [
        ((), [0.5] * 30, "does not say what was searched"),
        ((RATE,), [0.5] * 30, "all 30 complete trials have the same value"),
        (
            (Dimension(name="unknown", low=0.0, high=1.0),),
            [i / 30 for i in range(30)],
            "all 30 complete trials have the same parameters",
        ),
    ],
)
def test_nothing_to_tell_apart_is_refused(
    dimensions: Sequence[Dimension], values: list[float], said: str
) -> None:
    found = measure_importance(dimensions, drawn(30), values)
    assert isinstance(found, str)
    assert said in found


def test_of_very_many_trials_some_at_even_distances_are_learned_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST", 30)
    parameters = drawn(90)
    found = measured((RATE, *NOISE), parameters, of_rate(parameters))
    assert (found.trials, found.complete) == (30, 90)
    assert found.rows[0].dimension == RATE
