"""Relative accuracy and its interval, against independent computations."""

import math

import numpy as np
import pytest
from scipy import stats

from dfkd_tune.records import HeldOutAgreement, TestOutcome
from reports import relative_accuracy_interval
from reports.compute.accuracy import agreement_interval

OUTCOMES = [
    TestOutcome(images=450, both_correct=409, student_only=4, teacher_only=31, neither=6),
    TestOutcome(images=2000, both_correct=1500, student_only=100, teacher_only=250, neither=150),
]


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_value_is_the_ratio_of_the_accuracies(outcome: TestOutcome) -> None:
    interval = relative_accuracy_interval(outcome)
    assert interval is not None
    assert interval.value == pytest.approx(outcome.relative_accuracy)
    assert interval.low < interval.value < interval.high


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_interval_agrees_with_drawing_images_one_by_one(outcome: TestOutcome) -> None:
    counts = [outcome.both_correct, outcome.student_only, outcome.teacher_only, outcome.neither]
    student = np.repeat([1, 1, 0, 0], counts)
    teacher = np.repeat([1, 0, 1, 0], counts)
    generator = np.random.default_rng(5)
    ratios = []
    for _ in range(4000):
        drawn = generator.integers(0, outcome.images, outcome.images)
        ratios.append(100 * student[drawn].sum() / teacher[drawn].sum())
    low, high = np.percentile(ratios, [2.5, 97.5])
    interval = relative_accuracy_interval(outcome)
    assert interval is not None
    assert interval.low == pytest.approx(low, abs=0.2)
    assert interval.high == pytest.approx(high, abs=0.2)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_width_agrees_with_the_delta_method(outcome: TestOutcome) -> None:
    """The variance of the log of a paired ratio is (b + c) / (S T) for large samples."""
    right_student = outcome.both_correct + outcome.student_only
    right_teacher = outcome.both_correct + outcome.teacher_only
    discordant = outcome.student_only + outcome.teacher_only
    error = math.sqrt(discordant / (right_student * right_teacher))
    interval = relative_accuracy_interval(outcome)
    assert interval is not None
    expected = 2 * 1.959964 * error * interval.value
    assert interval.high - interval.low == pytest.approx(expected, rel=0.06)


def test_same_counts_give_the_same_interval() -> None:
    assert relative_accuracy_interval(OUTCOMES[0]) == relative_accuracy_interval(OUTCOMES[0])


def test_equal_students_have_no_width() -> None:
    outcome = TestOutcome(images=10, both_correct=7, student_only=0, teacher_only=0, neither=3)
    interval = relative_accuracy_interval(outcome)
    assert interval is not None
    assert (interval.low, interval.value, interval.high) == (100, 100, 100)


@pytest.mark.parametrize(("student_only", "neither"), [(3, 2), (0, 5)])
def test_no_interval_without_a_right_teacher(student_only: int, neither: int) -> None:
    outcome = TestOutcome(
        images=student_only + neither,
        both_correct=0,
        student_only=student_only,
        teacher_only=0,
        neither=neither,
    )
    assert relative_accuracy_interval(outcome) is None


@pytest.mark.parametrize(("images", "same"), [(250, 234), (250, 250), (250, 0), (1, 1), (7, 3)])
def test_agreement_has_the_interval_of_wilson(images: int, same: int) -> None:
    interval = agreement_interval(HeldOutAgreement(images=images, same=same))
    assert interval is not None
    expected = stats.binomtest(same, images).proportion_ci(0.95, method="wilson")
    assert interval.value == pytest.approx(100 * same / images)
    assert interval.low == pytest.approx(100 * expected.low, abs=1e-9)
    assert interval.high == pytest.approx(100 * expected.high, abs=1e-9)
    assert 0 <= interval.low <= interval.value <= interval.high <= 100


def test_no_agreement_of_counts_that_contradict_each_other() -> None:
    assert agreement_interval(HeldOutAgreement(images=3, same=4)) is None
