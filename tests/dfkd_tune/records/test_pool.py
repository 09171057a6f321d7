"""Scores on the other trials' images: by hand, and what must not change them."""

import numpy as np
import pytest

from dfkd_tune.records import PoolRecord

NAMES = ("t0000", "t0003", "t0004", "t0008")


def pool(agreement: np.ndarray, entropy: tuple[float, ...]) -> PoolRecord:
    rows = tuple(tuple(float(v) for v in row) for row in agreement)
    count = len(rows)
    return PoolRecord(
        trials=NAMES[:count],
        students=("s",) * count,
        images=(10,) * count,
        class_entropy=entropy,
        agreement=rows,
        kl=rows,
        ensemble=rows,
        seconds=1.0,
        time="2026-01-01T00:00:00.000+00:00",
    )


def test_three_trials_by_hand() -> None:
    """Column means without the own: .7, .5, .5; every column weighs 1; level 1.7 / 3."""
    record = pool(np.array([[1, 0.6, 0.8], [0.8, 1, 0.2], [0.6, 0.4, 1]]), (1.0, 1.0, 1.0))
    level = (0.7 + 0.5 + 0.5) / 3
    assert record.scores(record.agreement) == pytest.approx(
        {
            "t0000": level + ((0.6 - 0.5) + (0.8 - 0.5)) / 2,
            "t0003": level + ((0.8 - 0.7) + (0.2 - 0.5)) / 2,
            "t0004": level + ((0.6 - 0.7) + (0.4 - 0.5)) / 2,
        }
    )


def test_own_images_count_for_nothing() -> None:
    values = np.random.default_rng(0).random((4, 4))
    flattered = values.copy()
    np.fill_diagonal(flattered, 1.0)
    scores = [pool(v, (1.0, 0.5, 2.0, 0.3)) for v in (values, flattered)]
    assert scores[0].scores(scores[0].agreement) == scores[1].scores(scores[1].agreement)


def test_hard_images_harm_only_the_others_alike() -> None:
    """All are worse on the images of one trial: the order stays."""
    values = np.random.default_rng(1).random((4, 4))
    harder = values.copy()
    harder[:, 2] -= 0.3
    before, after = (pool(v, (1.0,) * 4) for v in (values, harder))
    first, second = before.scores(before.agreement), after.scores(after.agreement)
    assert {t: second[t] - first[t] for t in first} == pytest.approx(dict.fromkeys(first, -0.075))


def test_images_of_one_class_weigh_nothing() -> None:
    values = np.random.default_rng(2).random((4, 4))
    changed = values.copy()
    changed[:3, 3] = 0.9, 0.1, 0.5
    before, after = (pool(v, (1.0, 1.0, 1.0, 0.0)) for v in (values, changed))
    first, second = before.scores(before.agreement), after.scores(after.agreement)
    assert first == pytest.approx(second)


def test_columns_weigh_by_their_classes_beyond_one() -> None:
    """By hand, of images with 10, 4 and 2 equally frequent classes: weights 9, 3 and 1."""
    values = np.array([[1, 0.6, 0.8], [0.8, 1, 0.2], [0.6, 0.4, 1]])
    record = pool(values, (float(np.log(10)), float(np.log(4)), float(np.log(2))))
    level = (9 * 0.7 + 3 * 0.5 + 1 * 0.5) / 13
    assert record.scores(record.agreement) == pytest.approx(
        {
            "t0000": level + (3 * (0.6 - 0.5) + 1 * (0.8 - 0.5)) / 4,
            "t0003": level + (9 * (0.8 - 0.7) + 1 * (0.2 - 0.5)) / 10,
            "t0004": level + (9 * (0.6 - 0.7) + 3 * (0.4 - 0.5)) / 12,
        }
    )


def test_all_collapsed_weigh_alike() -> None:
    values = np.random.default_rng(3).random((3, 3))
    none, alike = pool(values, (0.0,) * 3), pool(values, (1.0,) * 3)
    assert none.scores(none.agreement) == pytest.approx(alike.scores(alike.agreement))


def test_two_trials_have_no_score() -> None:
    record = pool(np.ones((2, 2)), (1.0, 1.0))
    assert record.scores(record.agreement) == {}
