"""Splits by a hashed rule, from which nothing but the labels and the salt takes anything."""

import hashlib

import numpy as np
import pytest

from dfkd_tune.benchmarks import split_by_hash

LABELS = np.random.default_rng(0).integers(0, 5, 400).tolist()
FRACTIONS = {"train": 0.5, "validation": 0.2, "test": 0.3}


def test_splits_are_disjoint_cover_everything_and_ascend() -> None:
    splits = split_by_hash(LABELS, FRACTIONS, "salt")
    assert list(splits) == ["train", "validation", "test"]
    everything = [index for indices in splits.values() for index in indices]
    assert sorted(everything) == list(range(400))
    assert all(indices == sorted(indices) for indices in splits.values())


def test_every_class_is_shared_out_in_proportion() -> None:
    splits = split_by_hash(LABELS, FRACTIONS, "salt")
    for label in range(5):
        total = LABELS.count(label)
        for name, fraction in FRACTIONS.items():
            share = sum(LABELS[index] == label for index in splits[name])
            assert abs(share - fraction * total) <= (1 if name == "train" else 0.5)


def test_the_rule_written_again_gives_the_same_split() -> None:
    expected: dict[str, list[int]] = {name: [] for name in FRACTIONS}
    for label in range(5):
        keys = {
            hashlib.sha256(b"salt/%d" % index).hexdigest(): index
            for index in range(400)
            if LABELS[index] == label
        }
        members = [keys[key] for key in sorted(keys)]
        validation, test = round(0.2 * len(members)), round(0.3 * len(members))
        expected["validation"] += members[:validation]
        expected["test"] += members[validation : validation + test]
        expected["train"] += members[validation + test :]
    found = split_by_hash(LABELS, FRACTIONS, "salt")
    assert found == {name: sorted(indices) for name, indices in expected.items()}


def test_the_split_does_not_depend_on_how_classes_are_numbered() -> None:
    renamed = [[3, 0, 4, 1, 2][label] for label in LABELS]
    assert split_by_hash(renamed, FRACTIONS, "s") == split_by_hash(LABELS, FRACTIONS, "s")


def test_another_salt_gives_another_split_of_the_same_sizes() -> None:
    first, second = (split_by_hash(LABELS, FRACTIONS, salt) for salt in ("a", "b"))
    assert first != second
    assert [len(v) for v in first.values()] == [len(v) for v in second.values()]
    assert split_by_hash(LABELS, FRACTIONS, "a") == first


def test_the_first_split_takes_what_rounding_leaves() -> None:
    splits = split_by_hash([0] * 7, {"train": 0.5, "validation": 0.25, "test": 0.25}, "s")
    assert [len(splits[name]) for name in FRACTIONS] == [3, 2, 2]


def test_one_split_takes_everything_and_no_example_is_no_problem() -> None:
    assert split_by_hash([1, 1, 0], {"all": 1.0}, "s") == {"all": [0, 1, 2]}
    assert split_by_hash([], FRACTIONS, "s") == {"train": [], "validation": [], "test": []}


def test_fractions_must_sum_to_one() -> None:
    with pytest.raises(ValueError, match="must sum to 1"):
        split_by_hash(LABELS, {"train": 0.5, "test": 0.4}, "s")
