"""Splits by a hashed rule, from which nothing but the labels and the salt takes anything."""

import hashlib
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dfkd_tune.benchmarks import BenchmarkConfig, split_by_hash
from dfkd_tune.benchmarks._open import _carved
from dfkd_tune.benchmarks._sources import ImageArray, ImageFiles, Listing, Source
from dfkd_tune.errors import DataError

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


# ------------------------------------------------------------------ validation out of train

COUNTS = (40, 25, 10, 5)
# Of the names of the validation images, sorted, each with a line end.
PINNED_VALIDATION = "c378b1963de73f0e89d760a89cae11c71a78aad796bb7ab4bbab2da029fb12ba"


def listed(seed: int | None = None) -> Listing:
    """Images of four classes, in the order of their names or in another."""
    rows = [(f"train/c{c}/{i:03}.png", c) for c, count in enumerate(COUNTS) for i in range(count)]
    if seed is not None:
        random.Random(seed).shuffle(rows)
    train = ImageFiles(
        root=Path("/nowhere"),
        paths=tuple(path for path, _ in rows),
        labels=tuple(label for _, label in rows),
    )
    test = ImageFiles(root=Path("/nowhere"), paths=("test/c0/a.png",), labels=(0,))
    return Listing(
        class_names=("c0", "c1", "c2", "c3"),
        splits={"train": train, "test": test},
        origin=Path("/nowhere"),
    )


def carved(listing: Listing, fraction: float = 0.2) -> dict[str, Source]:
    return _carved(listing, BenchmarkConfig(validation_fraction=fraction))


def test_validation_is_disjoint_from_train_and_test_is_left_alone() -> None:
    listing = listed()
    splits = carved(listing)
    names = {split: set(source.names()) for split, source in splits.items()}
    assert not names["train"] & names["validation"]
    assert names["train"] | names["validation"] == set(listing.splits["train"].names())
    assert splits["test"] == listing.splits["test"]


def test_validation_is_stratified() -> None:
    assert Counter(carved(listed())["validation"].labels) == {0: 8, 1: 5, 2: 2, 3: 1}
    assert Counter(carved(listed(), 0.5)["validation"].labels) == {0: 20, 1: 12, 2: 5, 3: 2}


def test_labels_stay_with_their_images() -> None:
    for source in carved(listed(seed=3)).values():
        labels = [int(name.split("/")[1][1:]) for name in source.names()]
        assert labels == list(source.labels)


def test_validation_does_not_depend_on_the_order_of_files() -> None:
    expected = carved(listed())
    for seed in range(5):
        found = carved(listed(seed))
        for split, source in expected.items():
            assert set(found[split].names()) == set(source.names())


def test_validation_is_the_pinned_one() -> None:
    """If this fails, results with carved validation cannot be compared with earlier ones."""
    names = sorted(carved(listed())["validation"].names())
    text = "".join(f"{name}\n" for name in names)
    assert hashlib.sha256(text.encode()).hexdigest() == PINNED_VALIDATION


def test_an_official_validation_split_stays() -> None:
    listing = listed()
    official = ImageFiles(root=Path("/nowhere"), paths=("val/c0/a.png",), labels=(0,))
    with_validation = Listing(
        class_names=listing.class_names,
        splits={**listing.splits, "validation": official},
        origin=listing.origin,
    )
    assert carved(with_validation) == with_validation.splits


def test_images_in_memory_are_named_by_their_place() -> None:
    whole = ImageArray(
        images=np.arange(60, dtype=np.uint8).reshape(60, 1, 1, 1), labels=(0,) * 30 + (1,) * 30
    )
    listing = Listing(
        class_names=("a", "b"), splits={"train": whole, "test": whole}, origin=Path("/nowhere")
    )
    found = carved(listing)["validation"]
    assert isinstance(found, ImageArray)
    expected = split_by_hash(
        whole.labels, {"train": 0.8, "validation": 0.2}, "dfkd-tune/validation/1"
    )["validation"]
    assert found.images.ravel().tolist() == expected
    assert Counter(found.labels) == {0: 6, 1: 6}


@pytest.mark.parametrize(
    ("fraction", "problem"),
    [
        (0.01, "80 train images leave none for validation at validation_fraction 0.01; raise it"),
        (0.92, "validation_fraction 0.92 takes all train images of class c3; lower it"),
    ],
)
def test_a_fraction_that_leaves_nothing_is_an_error(fraction: float, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        carved(listed(), fraction)
