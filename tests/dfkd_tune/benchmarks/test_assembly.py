"""Validation out of train, where there is no validation split."""

import hashlib
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dfkd_tune.benchmarks import BenchmarkConfig, split_by_hash
from dfkd_tune.benchmarks._assembly import carved as carve
from dfkd_tune.benchmarks._sources import ImageArray, ImageFiles, Listing, Source
from dfkd_tune.errors import DataError

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
    return carve(listing, BenchmarkConfig(validation_fraction=fraction))


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
