"""The rows of a comparison, in numbers."""

import math

import pytest

from reports.compute.comparison import spread_of


def test_a_spread_is_mean_and_sample_deviation() -> None:
    found = spread_of([1.0, 2.0, 6.0])
    assert found.mean == pytest.approx(3.0)
    assert found.deviation == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert found.words(" %") == "3.0 ± 2.6 %"


def test_one_value_has_no_deviation_and_none_no_mean() -> None:
    assert spread_of([2.0]).words("") == "2.0"
    assert math.isnan(spread_of([2.0]).deviation)
    assert spread_of([]).words(" %") == "none"
