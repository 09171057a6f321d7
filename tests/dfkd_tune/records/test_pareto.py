"""The Pareto set against its definition, and what a trial costs."""

import math

import numpy as np
import pytest
from record_examples import SELECTION, TRIAL, epoch_record

from dfkd_tune.records import (
    NetworkSize,
    ParetoPoint,
    ParetoSet,
    Seconds,
    SelectionRecord,
    pareto_points,
    trial_cost,
)


def points(pairs: list[tuple[float, float]]) -> list[ParetoPoint]:
    return [
        ParetoPoint(trial=f"t{i:04d}", value=value, cost=cost)
        for i, (value, cost) in enumerate(pairs)
    ]


def by_definition(given: list[ParetoPoint]) -> set[str]:
    """Every point against every other one."""
    return {
        p.trial
        for p in given
        if not any(
            q.value >= p.value and q.cost <= p.cost and (q.value > p.value or q.cost < p.cost)
            for q in given
        )
    }


@pytest.mark.parametrize("seed", range(30))
def test_it_is_what_no_other_point_surpasses(seed: int) -> None:
    """Coarse numbers, so that many are equal in one number or in both."""
    random = np.random.default_rng(seed)
    levels = int(random.integers(2, 9))
    count = int(random.integers(1, 40))
    drawn = random.integers(0, levels, (count, 2)) / levels
    given = points([(float(value), float(cost)) for value, cost in drawn])
    found = pareto_points(given)
    assert {point.trial for point in found} == by_definition(given)
    order = [(point.cost, point.trial) for point in found]
    assert order == sorted(order)
    values = [point.value for point in found]
    assert values == sorted(values)
    shuffled = [given[i] for i in random.permutation(count)]
    assert pareto_points(shuffled) == found


def test_by_hand_with_equal_points() -> None:
    given = points([(0.9, 5.0), (0.8, 2.0), (0.8, 2.0), (0.8, 3.0), (0.7, 2.0), (0.9, 5.0)])
    assert [p.trial for p in pareto_points(given)] == ["t0001", "t0002", "t0000", "t0005"]


def test_what_is_not_finite_is_no_point() -> None:
    given = points([(math.nan, 1.0), (0.5, math.nan), (math.inf, 1.0), (0.4, 2.0)])
    assert [p.trial for p in pareto_points(given)] == ["t0003"]
    assert pareto_points([]) == ()


def test_costs_are_of_the_student_or_of_its_training() -> None:
    size = NetworkSize(parameters=50, macs=700, latency_ms=0.25)
    trial = TRIAL.model_copy(update={"student_size": size})
    seconds = [Seconds(synthesis=1, student=1, evaluation=1, total=total) for total in (3.5, 4.0)]
    epochs = [epoch_record(i, seconds=each) for i, each in enumerate(seconds, start=1)]
    assert trial_cost("parameters", trial, epochs) == 50
    assert trial_cost("macs", trial, epochs) == 700
    assert trial_cost("latency", trial, epochs) == 0.25
    assert trial_cost("training_seconds", trial, epochs) == 7.5
    assert trial_cost("latency", TRIAL, epochs) is None


def test_a_selection_of_before_has_no_set_and_a_new_one_keeps_it() -> None:
    old = SELECTION.model_dump(mode="json")
    del old["pareto_set"]
    assert SelectionRecord.model_validate(old).pareto_set is None
    found = ParetoSet(against="macs", points=tuple(points([(0.5, 7.0)])))
    record = SELECTION.model_copy(update={"pareto_set": found})
    assert SelectionRecord.model_validate_json(record.model_dump_json()) == record
