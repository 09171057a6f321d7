"""The learning rate is a pure function of how far training is."""

import math
from itertools import pairwise

import pytest

from dfkd_tune.distillation import learning_rate


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
