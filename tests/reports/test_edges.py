"""Best at the edge of its range: which numbers lie there, and what to try next."""

import math
from typing import Any

import pytest
import yaml

from reports.compute.dimensions import Dimension
from reports.compute.edges import Edge, find_edges, next_ranges

LOG = Dimension(name="rate", low=1e-4, high=1e-1, log=True)
LINEAR = Dimension(name="share", low=2.0, high=10.0)


def of_best(dimension: Dimension, value: Any, who: str = "best trial, t0007") -> tuple[Edge, ...]:
    parameters = {dimension.name: value}
    return find_edges([dimension], (who, parameters), [parameters])


@pytest.mark.parametrize(
    ("dimension", "value", "side"),
    [
        # Three decades: 5 % are 0.15 of one.
        (LOG, 10 ** (-4 + 0.149), "low"),
        (LOG, 10 ** (-4 + 0.151), None),
        (LOG, 10 ** (-1 - 0.149), "high"),
        (LOG, 10 ** (-1 - 0.151), None),
        (LOG, 1e-4, "low"),
        (LINEAR, 2.39, "low"),
        (LINEAR, 2.41, None),
        (LINEAR, 9.61, "high"),
        (LINEAR, 9.59, None),
    ],
)
def test_five_percent_of_the_scale_are_an_edge(
    dimension: Dimension, value: float, side: str | None
) -> None:
    found = of_best(dimension, value)
    assert [edge.side for edge in found] == ([side] if side else [])
    if found:
        ((who, number),) = found[0].found
        assert who == "best trial, t0007"
        assert number == pytest.approx(value)


@pytest.mark.parametrize(
    ("dimension", "value", "next_range"),
    [
        (LOG, 1e-4, (1e-5, 1e-1)),
        (LOG, 1e-1, (1e-4, 1.0)),
        # Half of the range, 4, less would cross 0.
        (LINEAR, 2.0, (1.0, 10.0)),
        (LINEAR, 10.0, (2.0, 14.0)),
        (Dimension(name="a", low=-4.0, high=-1.0), -1.0, (-4.0, -0.5)),
        (Dimension(name="a", low=-4.0, high=4.0), 4.0, (-4.0, 8.0)),
        (Dimension(name="a", low=0.0, high=1.0, limits={"ge": 0.0}), 0.0, None),
        (Dimension(name="a", low=0.0, high=0.9, limits={"le": 1.0}), 0.9, (0.0, 1.0)),
        (Dimension(name="a", low=0.0, high=0.9, limits={"lt": 1.0}), 0.9, (0.0, 0.95)),
        (Dimension(name="a", low=0.0, high=1.0, limits={"le": 1.0}), 1.0, None),
        (Dimension(name="a", low=2.0, high=9.0, limits={"gt": 1.0}), 2.0, (1.5, 9.0)),
        (Dimension(name="a", low=16.0, high=256.0, log=True, whole=True), 16.0, (1.0, 256.0)),
        (Dimension(name="a", low=16.0, high=256.0, log=True, whole=True), 256.0, (16.0, 2560.0)),
        (Dimension(name="a", low=4.0, high=9.0, log=True, whole=True), 4.0, (1.0, 9.0)),
        (Dimension(name="a", low=1.0, high=9.0, log=True, whole=True), 1.0, None),
        (Dimension(name="a", low=2.0, high=9.0, whole=True, limits={"ge": 2.0}), 2.0, None),
    ],
)
def test_range_to_try_next(
    dimension: Dimension, value: float, next_range: tuple[float, float] | None
) -> None:
    (edge,) = of_best(dimension, value)
    assert edge.next_range == (pytest.approx(next_range) if next_range else None)


@pytest.mark.parametrize("value", ["off", None, "much", True, math.nan, -1.0])
def test_what_is_no_number_lies_at_no_edge(value: Any) -> None:
    assert of_best(LOG, value) == ()
    switched = Dimension(name="weight", low=0.1, high=10.0, log=True, switch=True)
    assert find_edges([switched], ("t0", {"weight?": "off", "weight": 0.1}), []) == ()
    choice = Dimension(name="rate", choices=("0.1", "1.0"))
    assert of_best(choice, 0.1) == ()


def test_the_median_of_the_best_tenth_is_looked_at_beside_the_best() -> None:
    best = {"rate": 1e-2}
    # The best tenth of 30 trials: 10^-2, 10^-3.9 and 10^-3.95, of which the middle is 10^-3.9.
    top = [best, {"rate": 10**-3.9}, {"rate": 10**-3.95}]
    rest = [{"rate": 0.1}] * 27
    (edge,) = find_edges([LOG], ("best trial, t0001", best), [*top, *rest])
    ((who, number),) = edge.found
    assert (edge.side, who) == ("low", "median of the 3 best trials")
    assert number == pytest.approx(10**-3.9)
    # Of ten trials it is the best one, which is told once.
    assert find_edges([LOG], ("best trial, t0001", best), [*top, *rest[:7]]) == ()


def test_a_median_needs_most_of_its_trials() -> None:
    ranked: list[dict[str, Any]] = [{}, {}, {"rate": 1e-4}, *[{"rate": 1e-2}] * 27]
    assert find_edges([LOG], ("t0", {}), ranked) == ()


def test_both_ends_of_a_range_are_widened_in_one_line() -> None:
    top = [{"rate": 1e-4}, {"rate": 0.1}, {"rate": 0.1}]
    found = find_edges([LOG], ("t0", top[0]), [*top, *[{"rate": 1e-2}] * 27])
    assert [edge.side for edge in found] == ["low", "high"]
    assert next_ranges(found, {}) == "space:\n  ranges:\n    rate: {low: 1e-05, high: 1}"


def test_lines_keep_what_the_experiment_says_of_a_switch() -> None:
    found = (*of_best(LOG, 1e-4), *of_best(LINEAR, 10.0))
    given = {"rate": {"low": 1e-4, "switch": False}, "share": 3}
    lines = next_ranges(found, given)
    assert yaml.safe_load(lines.replace("1e-05", "0.00001")) == {
        "space": {
            "ranges": {
                "rate": {"low": 1e-5, "high": 0.1, "switch": False},
                "share": {"low": 2, "high": 14},
            }
        }
    }


def test_there_is_no_line_where_the_key_takes_no_more() -> None:
    full = Dimension(name="a", low=0.0, high=1.0, limits={"ge": 0.0, "le": 1.0})
    assert next_ranges(of_best(full, 1.0), {}) == ""
