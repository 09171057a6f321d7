"""Caltech-101: the shipped split, the rule that made it, and nothing but the original images."""

import hashlib
import os
import random
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from dfkd_tune.benchmarks import BenchmarkConfig, open_benchmark
from dfkd_tune.benchmarks._readers import _caltech101, read_caltech101
from dfkd_tune.benchmarks._readers._caltech101 import (
    chosen_by_rule,
    image_counts,
)
from dfkd_tune.benchmarks._readers._caltech101 import (
    test_images as shipped_test_images,
)
from dfkd_tune.benchmarks._sources import ImageFiles
from dfkd_tune.errors import DataError

PINNED = {
    "caltech101_test.txt": "0717a47e4e07cd634b73b4f76667b040a7a9bc3eb929b603118bbb6374f59fa6",
    "caltech101_counts.txt": "354d966e5461cd54ed19c282d37ef3cbe3001625a9e121c1a067e3f63d350c5f",
}


def all_names() -> list[str]:
    return [
        f"{name}/image_{number:04}.jpg"
        for name, count in image_counts().items()
        for number in range(1, count + 1)
    ]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The original layout, of empty files: a reader opens none."""
    root = tmp_path_factory.mktemp("caltech") / "101_ObjectCategories"
    for name in (*image_counts(), "BACKGROUND_Google"):
        (root / name).mkdir(parents=True)
    for name in all_names():
        os.close(os.open(root / name, os.O_CREAT))
    for name in ("image_0001.jpg", "tmp"):
        (root / "BACKGROUND_Google" / name).touch()
    return root


@pytest.mark.parametrize("name", PINNED)
def test_the_shipped_files_are_the_pinned_ones(name: str) -> None:
    """If this fails, results with this split cannot be compared with earlier ones."""
    content = (files("dfkd_tune.benchmarks") / name).read_bytes()
    assert hashlib.sha256(content).hexdigest() == PINNED[name]


def test_the_shipped_split_is_the_rules() -> None:
    names = all_names()
    random.Random(0).shuffle(names)
    assert chosen_by_rule(names) == shipped_test_images()
    assert chosen_by_rule(sorted(names)) == shipped_test_images()


def test_the_rule_written_again_gives_the_shipped_split() -> None:
    expected = []
    for name, count in image_counts().items():
        images = [f"{name}/image_{number:04}.jpg" for number in range(1, count + 1)]
        keys = {hashlib.sha256(b"dfkd-tune/caltech101/1/" + i.encode()).digest(): i for i in images}
        expected += [keys[key] for key in sorted(keys)[: max(2, int(0.2 * count))]]
    assert sorted(expected) == list(shipped_test_images())


def test_the_split_has_the_sizes_of_dfad() -> None:
    counts = image_counts()
    assert len(counts) == 101
    assert sum(counts.values()) == 8677
    test = shipped_test_images()
    assert len(set(test)) == len(test) == 1695
    assert set(test) < set(all_names())
    assert min(Counter(name.split("/")[0] for name in test).values()) == 6


def test_the_split_is_that_of_the_real_images_names() -> None:
    """The list is remade from the names of a real copy, where there is one."""
    given = os.environ.get("DFKD_TUNE_SHARED_DATA")
    if not given or not (Path(given) / "caltech101_64px.zip").exists():
        pytest.skip("DFKD_TUNE_SHARED_DATA has no caltech101_64px.zip")
    with zipfile.ZipFile(Path(given) / "caltech101_64px.zip") as archive:
        members = [name for name in archive.namelist() if name.endswith(".jpg")]
    names = ["/".join(name.split("/")[-2:]) for name in members]
    assert sorted(names) == sorted(all_names())
    made = "".join(f"{name}\n" for name in chosen_by_rule(names))
    assert hashlib.sha256(made.encode()).hexdigest() == PINNED["caltech101_test.txt"]


@pytest.mark.parametrize("up", [0, 1])
def test_the_original_layout_is_read(original: Path, up: int) -> None:
    root = [original, original.parent][up]
    listing = read_caltech101(root)
    assert listing.class_names == tuple(sorted(image_counts()))
    assert "BACKGROUND_Google" not in listing.class_names
    train, test = listing.splits["train"], listing.splits["test"]
    assert isinstance(train, ImageFiles)
    assert isinstance(test, ImageFiles)
    assert sorted(test.paths) == list(shipped_test_images())
    assert sorted((*train.paths, *test.paths)) == sorted(all_names())
    for split in (train, test):
        assert split.root == original
        assert [listing.class_names[label] for label in split.labels] == [
            path.split("/")[0] for path in split.paths
        ]


@pytest.mark.parametrize("below", ["caltech101", "caltech-101"])
def test_the_folders_of_others_are_found(original: Path, tmp_path: Path, below: str) -> None:
    (tmp_path / below).symlink_to(original.parent)
    assert len(read_caltech101(tmp_path).splits["test"]) == 1695


@contextmanager
def moved_away(paths: list[Path]) -> Iterator[None]:
    for path in paths:
        path.rename(path.with_suffix(".away"))
    yield
    for path in paths:
        path.with_suffix(".away").rename(path)


def test_missing_images_are_named_and_counted(
    original: Path, one_line: Callable[[BaseException], str]
) -> None:
    gone = [original / "wrench" / "image_0003.jpg", original / "ant" / "image_0007.jpg"]
    with moved_away(gone), pytest.raises(DataError, match=r"ant/image_0007.jpg and 1 more are mis"):
        read_caltech101(original)
    with (
        moved_away(gone[:1]),
        pytest.raises(DataError, match=r"wrench/image_0003.jpg is missing") as e,
    ):
        read_caltech101(original)
    assert "all 8,677 original images" in one_line(e.value)


@pytest.mark.parametrize("name", ["ant/image_9999.jpg", "ant/copy.png", "zebra/image_0001.jpg"])
def test_images_of_others_are_refused(original: Path, name: str) -> None:
    extra = original / name
    extra.parent.mkdir(exist_ok=True)
    extra.touch()
    try:
        with pytest.raises(DataError, match=f"{name} is not of the original Caltech-101"):
            read_caltech101(original)
    finally:
        extra.unlink()
        if name.startswith("zebra"):
            extra.parent.rmdir()


def test_another_folder_is_answered_with_the_layout(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"it must hold 101_ObjectCategories/CLASS/image_0001\.jpg"):
        read_caltech101(tmp_path)


def test_pixels_are_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_image: Callable[..., np.ndarray]
) -> None:
    names = [f"class_{number:03}" for number in range(101)]
    monkeypatch.setattr(_caltech101, "image_counts", lambda: dict.fromkeys(names, 4))
    test = [f"{name}/image_0002.jpg" for name in names]
    monkeypatch.setattr(_caltech101, "test_images", lambda: tuple(test))
    for index, name in enumerate(names):
        for number in range(1, 5):
            flat = np.full((9, 9, 3), (index, 10 * number, 200), np.uint8)
            path = tmp_path / "101_ObjectCategories" / name / f"image_{number:04}.jpg"
            write_image(path, pixels=flat)
    benchmark = open_benchmark(
        BenchmarkConfig(
            name="caltech101", root=tmp_path, input={"size": 9}, validation_fraction=0.3
        )
    )
    assert benchmark.counts == {"train": 202, "validation": 101, "test": 101}
    found = benchmark.load("test")
    assert found.labels.tolist() == list(range(101))
    colours = found.images.double().mean(dim=(2, 3)).numpy()
    expected = np.stack([np.arange(101), np.full(101, 20), np.full(101, 200)], axis=1)
    # JPEG loses a little.
    assert np.abs(colours - expected).max() < 4
