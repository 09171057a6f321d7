"""Recorded curves: read, written, refused, and what they predict, by hand."""

import math
from pathlib import Path

import numpy as np
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


def test_features_by_hand() -> None:
    model = CurveModel(SPACE, (curve({"a": 0.01, "b": "x"}, 0.1),))
    # A decade is half of the range; one number for each choice; what is not asked lies outside.
    assert model.features({"a": 0.1, "b": "x"}) == pytest.approx([0.5, 1, 0, -1])
    assert model.features({"a": 1.0, "b": "y", "c": 7}) == pytest.approx([1, 0, 1, 0.7])
    weight = Dimension(key="w", kind="float", low=0.1, high=10, log=True, switch=True)
    switched = CurveModel(SearchSpace(name="w", title="", dimensions=(weight,)), ())
    assert switched.features({"w?": "off"}) == [0, -1]
    assert switched.features({"w?": "on", "w": 1.0}) == pytest.approx([1, 0.5])


def slope(count: int) -> tuple[RecordedCurve, ...]:
    """The larger `a`, the better, at both fractions; the other choice makes no difference."""
    rows = []
    for index in range(count):
        share = index / (count - 1)
        parameters = {"a": 0.01 * 100**share, "b": "x"}
        rows.append(curve(parameters, 0.5 * share, share, seconds=10 + share))
    return tuple(rows)


def test_a_prediction_follows_the_recorded_curves_and_stays_within_them() -> None:
    model = CurveModel(SPACE, slope(30))
    for share in (0.0, 0.3, 0.7, 1.0):
        found = model.predict({"a": 0.01 * 100**share, "b": "x"})
        assert found.fractions == (0.5, 1.0)
        assert found.values[1] == pytest.approx(share, abs=0.08)
        # The mean of curves that are twice as high at their end is so too.
        assert found.values[0] == pytest.approx(found.values[1] / 2)
        assert 0 <= found.values[1] <= 1
        assert found.seconds == pytest.approx(10 + share, abs=0.08)


def test_weights_are_those_of_the_forest() -> None:
    """Against the mean over trees of the mean over the curves in the same leaf."""
    model = CurveModel(SPACE, slope(12))
    forest = model._forest
    row = np.asarray([model.features({"a": 0.3, "b": "x"})], np.float32)
    means = []
    for tree in forest.estimators_:
        together = tree.apply(model._known) == tree.apply(row)
        means.append(
            np.mean([c.values for c, t in zip(model.curves, together, strict=True) if t], axis=0)
        )
    found = model.predict({"a": 0.3, "b": "x"})
    assert found.values == pytest.approx(np.mean(means, axis=0))
    weights = model.weights({"a": 0.3, "b": "x"})
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()


def test_a_drawn_curve_is_a_recorded_one_as_often_as_it_weighs() -> None:
    model = CurveModel(SPACE, slope(12))
    # All in one leaf of every tree: the last digits of a value move the draw alone.
    points = [{"a": 0.3 + 1e-9 * index, "b": "x"} for index in range(2000)]
    weights = model.weights(points[0])
    assert model.weights(points[-1]) == pytest.approx(weights)
    known = [one.values for one in model.curves]
    drawn = [known.index(model.draw(point).values) for point in points]
    shares = np.bincount(drawn, minlength=12) / len(points)
    assert shares == pytest.approx(weights, abs=0.05)
    assert model.draw(points[0]) == model.draw(points[0])
    assert model.draw(points[0]).parameters == points[0]


def test_curves_of_other_fractions_are_read_between_them() -> None:
    curves = (*slope(10), curve({"a": 0.1, "b": "y", "c": 3}, 0.3, 0.3, 0.3, 0.3))
    model = CurveModel(SPACE, curves)
    assert model.fractions == (0.25, 0.5, 0.75, 1.0)
    assert model.predict({"a": 1.0, "b": "x"}).fractions == model.fractions


def test_the_same_curves_predict_the_same() -> None:
    first, second = (CurveModel(SPACE, slope(12)).predict({"a": 0.2, "b": "x"}) for _ in "ab")
    assert first == second


def test_skill_is_high_where_there_is_something_to_know_and_not_where_there_is_nothing() -> None:
    assert CurveModel(SPACE, slope(40)).skill > 0.95
    values = np.random.default_rng(0).permutation(40) / 40
    shuffled = tuple(
        curve(one.parameters, value, value)
        for one, value in zip(slope(40), values.tolist(), strict=True)
    )
    assert abs(CurveModel(SPACE, shuffled).skill) < 0.4
    assert math.isnan(CurveModel(SPACE, slope(9)).skill)


def test_curves_of_a_run_come_from_its_complete_trials(tmp_path: Path) -> None:
    run = empty_run(tmp_path / "run")
    for state in ("complete", "stopped"):
        folder = add_complete_trial(run, network(0), steps=2)
        add_epochs(folder, [0.5, 0.75], 1)
        folder.set_status(state)  # type: ignore[arg-type]
    (found,) = recorded_curves(run, "accuracy")
    assert found.fractions == (0.5, 1.0)
    assert found.values == (0.5, 0.75)
    assert found.seconds == 2.0


def test_curves_are_of_the_score_that_is_asked_for(tmp_path: Path) -> None:
    run = empty_run(tmp_path / "run")
    folder = add_complete_trial(run, network(0), steps=2)
    add_epochs(folder, [0.5, 0.75], 1)
    (found,) = recorded_curves(run, "kl")
    assert found.values == (1.0, 1.0)
    assert recorded_curves(run, "audit_agreement") == []


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
