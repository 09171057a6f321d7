"""What distillation is told about the data."""

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from dfkd_tune.errors import UsageError
from dfkd_tune.inputs import InputSpecification

GOOD: dict[str, Any] = {
    "channels": 2,
    "height": 4,
    "width": 6,
    "mean": (0.1, 0.2),
    "std": (0.3, 0.4),
    "num_classes": 5,
}


def test_shape_is_channels_height_width() -> None:
    assert InputSpecification(**GOOD).shape == (2, 4, 6)


def test_a_specification_is_frozen_hashable_and_equal_by_value() -> None:
    one, other = InputSpecification(**GOOD), InputSpecification(**GOOD)
    assert one == other
    assert len({one, other}) == 1
    with pytest.raises(FrozenInstanceError):
        one.width = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"channels": 0, "mean": (), "std": ()}, r"\(0, 4, 6\)"),
        ({"height": 0}, r"\(2, 0, 6\)"),
        ({"width": -1}, r"\(2, 4, -1\)"),
        ({"mean": (0.1,)}, "mean has 1 values for 2 channels"),
        ({"std": (0.1, 0.2, 0.3)}, "std has 3 values for 2 channels"),
        ({"std": (0.3, 0.0)}, "must be positive"),
        ({"std": (-0.3, 1.0)}, "must be positive"),
        ({"std": (float("nan"), 1.0)}, "std"),
        ({"std": (1.0, float("nan"))}, "std"),
        ({"num_classes": 1}, "num_classes is 1"),
    ],
    ids=str,
)
def test_impossible_inputs_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        InputSpecification(**{**GOOD, **change})
