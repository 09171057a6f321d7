"""Optimisers, and the learning rate as a pure function of how far training is."""

import math
from itertools import pairwise
from typing import Literal

import pytest
import torch
from torch import nn

from dfkd_tune.distillation import (
    GeneratorOptimiserConfig,
    StudentOptimiserConfig,
    learning_rate,
)
from dfkd_tune.distillation._optimisation import (
    generator_optimiser,
    set_learning_rate,
    student_optimiser,
)


def test_constant_stays_at_the_peak() -> None:
    assert [learning_rate(0.3, "constant", step, 10) for step in (0, 5, 9, 10, 99)] == [0.3] * 5


def test_cosine_begins_at_the_peak_is_half_in_the_middle_and_ends_at_zero() -> None:
    assert learning_rate(0.2, "cosine", 0, 10) == 0.2
    assert learning_rate(0.2, "cosine", 5, 10) == pytest.approx(0.1, rel=1e-12)
    assert learning_rate(0.2, "cosine", 10, 10) == pytest.approx(0, abs=1e-17)


def test_cosine_by_hand_at_a_third() -> None:
    # cos(60 degrees) is 1/2, so three quarters of the peak are left.
    assert learning_rate(0.4, "cosine", 4, 12) == pytest.approx(0.3, rel=1e-12)


def test_cosine_stays_at_zero_beyond_the_end() -> None:
    assert learning_rate(0.2, "cosine", 25, 10) == pytest.approx(0, abs=1e-17)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_warm_up_rises_linearly_and_reaches_the_peak_at_its_last_step(schedule: str) -> None:
    rates = [learning_rate(0.8, schedule, step, 20, 4) for step in range(5)]  # type: ignore[arg-type]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8], rel=1e-12)


def test_cosine_after_the_warm_up_spans_the_steps_that_are_left() -> None:
    # 4 of 20 steps are warm-up; step 12 is half of the other 16.
    assert learning_rate(0.8, "cosine", 12, 20, 4) == pytest.approx(0.4, rel=1e-12)
    last = learning_rate(0.8, "cosine", 19, 20, 4)
    assert last == pytest.approx(0.4 * (1 + math.cos(math.pi * 15 / 16)), rel=1e-12)


def test_rate_never_rises_after_the_warm_up_and_is_never_negative() -> None:
    rates = [learning_rate(1.0, "cosine", step, 50, 5) for step in range(5, 60)]
    assert all(a >= b >= 0 for a, b in pairwise(rates))


def test_warm_up_longer_than_the_training_only_rises() -> None:
    rates = [learning_rate(1.0, "cosine", step, 5, 10) for step in range(5)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


def test_step_is_a_tenth_after_each_milestone() -> None:
    """DAFL has 800 and 1,600 of 2,000 epochs; the step at a milestone has the lower rate."""
    rates = [
        learning_rate(0.1, "step", step, 2000, milestones=(0.4, 0.8))
        for step in (0, 799, 800, 1599, 1600, 1999)
    ]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001], rel=1e-12)


def test_step_without_milestones_is_constant_and_may_warm_up() -> None:
    assert [learning_rate(0.3, "step", step, 10) for step in (0, 9)] == [0.3, 0.3]
    rates = [learning_rate(0.8, "step", step, 8, 2, (0.5,)) for step in (0, 1, 2, 3, 4)]
    assert rates == pytest.approx([0.4, 0.8, 0.8, 0.8, 0.08], rel=1e-12)


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_the_students_optimiser_has_the_settings_that_were_given(
    kind: Literal["sgd", "adam"],
) -> None:
    """Against steps by hand, of a single weight with a gradient of 1 at each of two steps."""
    weight = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    config = StudentOptimiserConfig(kind=kind, learning_rate=0.1, momentum=0.5, weight_decay=0.01)
    optimiser = student_optimiser([weight], config)
    value, first, second = 2.0, 0.0, 0.0
    for step in (1, 2):
        weight.grad = torch.ones_like(weight)
        optimiser.step()
        gradient = 1 + 0.01 * value
        if kind == "sgd":
            first = 0.5 * first + gradient
            value -= 0.1 * first
        else:
            first = 0.5 * first + 0.5 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            corrected = first / (1 - 0.5**step), second / (1 - 0.999**step)
            value -= 0.1 * corrected[0] / (math.sqrt(corrected[1]) + 1e-8)
        assert weight.item() == pytest.approx(value, rel=1e-12)


def test_the_generators_optimiser_has_the_settings_that_were_given() -> None:
    config = GeneratorOptimiserConfig(learning_rate=0.02, beta1=0.3, beta2=0.7)
    optimiser = generator_optimiser(nn.Linear(2, 2), config)
    assert isinstance(optimiser, torch.optim.Adam)
    (group,) = optimiser.param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.02, (0.3, 0.7), 0)
    assert len(group["params"]) == 2


def test_a_new_learning_rate_is_of_every_group() -> None:
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimiser = torch.optim.SGD([{"params": [w]} for w in weights], lr=1)
    set_learning_rate(optimiser, 0.25)
    assert [group["lr"] for group in optimiser.param_groups] == [0.25, 0.25]
