"""Recorded curves: read, written, refused, and what they predict, by hand."""

from pathlib import Path

import pytest
from complete_trials import add_complete_trial, network
from run_folders import add_epochs, empty_run

from dfkd_tune.errors import UsageError
from search_spaces import Condition, Dimension, SearchSpace
from trainables import CurveModel, RecordedCurve, read_curves, recorded_curves, write_curves

SPACE = SearchSpace(
    name="two",
    title="",
    dimensions=(
        Dimension(key="a", kind="float", low=0.01, high=1.0, log=True),
        Dimension(key="b", kind="choice", choices=("x", "y")),
        Dimension(key="c", kind="int", low=0, high=10, condition=Condition(key="b", values=("y",))),
    ),
)


def curve(parameters: dict[str, object], *values: float, seconds: float = 10.0) -> RecordedCurve:
    count = len(values)
    return RecordedCurve(
        parameters=parameters,
        fractions=tuple((i + 1) / count for i in range(count)),
        values=values,
        seconds=seconds,
    )


def test_value_between_recorded_fractions() -> None:
    found = curve({}, 0.2, 0.4)
    assert [found.at(f) for f in (0.1, 0.5, 0.75, 1.0)] == pytest.approx([0.2, 0.2, 0.3, 0.4])


def test_distances_by_hand() -> None:
    model = CurveModel(
        SPACE,
        (
            curve({"a": 0.01, "b": "x"}, 0.1),
            curve({"a": 0.1, "b": "x"}, 0.2),
            curve({"a": 0.1, "b": "y", "c": 5}, 0.3),
        ),
    )
    # A decade is half of the range; another choice is 1; c is asked in one of both alone: 1 more.
    expected = [0.5, 0.0, 2**0.5]
    assert model.distances({"a": 0.1, "b": "x"}) == pytest.approx(expected)
    assert model.distances({"a": 0.1, "b": "y", "c": 7})[2] == pytest.approx(0.2)
    # To the nearest other: 0.5, 0.5 and the root of 2.
    assert model.bandwidth == pytest.approx(0.5)


def test_prediction_is_the_weighted_mean_of_the_nearest() -> None:
    model = CurveModel(
        SPACE, (curve({"a": 0.01, "b": "x"}, 0.1), curve({"a": 0.1, "b": "x"}, 0.4, seconds=30))
    )
    # At the second: distances 0.5 and 0, width 0.5, weights exp(-1) and 1.
    near, far = 1 / (1 + 0.36787944), 0.36787944 / (1 + 0.36787944)
    assert model.predict({"a": 0.1, "b": "x"}, 1.0) == pytest.approx(0.4 * near + 0.1 * far)
    assert model.seconds({"a": 0.1, "b": "x"}) == pytest.approx(30 * near + 10 * far)


def test_only_the_five_nearest_count() -> None:
    curves = tuple(curve({"a": 0.01 * 1.1**i, "b": "x"}, 0.1 * i) for i in range(8))
    weights = CurveModel(SPACE, curves).weights({"a": 0.01, "b": "x"})
    assert [w > 0 for w in weights] == [True] * 5 + [False] * 3
    assert weights.sum() == pytest.approx(1)


def test_curves_of_a_run_come_from_its_complete_trials(tmp_path: Path) -> None:
    run = empty_run(tmp_path / "run")
    for state in ("complete", "stopped"):
        folder = add_complete_trial(run, network(0), steps=2)
        add_epochs(folder, [0.5, 0.75], 1)
        folder.set_status(state)  # type: ignore[arg-type]
    (found,) = recorded_curves(run)
    assert found.fractions == (0.5, 1.0)
    assert found.values == (0.5, 0.75)
    assert found.seconds == 2.0


def test_written_and_read_again(tmp_path: Path) -> None:
    curves = (curve({"a": 0.1, "b": "x"}, 0.2, 0.3), curve({"a": 0.2, "b": "y", "c": 3}, 0.4))
    write_curves(tmp_path / "c.jsonl", curves)
    assert read_curves(tmp_path / "c.jsonl") == curves


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no curve"),
        ("{", "line 1: no recorded curve"),
        ('{"parameters": {}, "fractions": [0.5], "values": [1], "seconds": 1}', "up to 1"),
        ('{"parameters": {}, "fractions": [1], "values": [], "seconds": 1}', "as many"),
    ],
)
def test_a_bad_file_is_refused_in_a_line(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "c.jsonl").write_text(content)
    with pytest.raises(UsageError, match=said) as caught:
        read_curves(tmp_path / "c.jsonl")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the curves"):
        read_curves(tmp_path / "c.jsonl")
