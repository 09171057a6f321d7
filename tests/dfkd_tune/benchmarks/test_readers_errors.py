"""Every bad input gets one clear line: what, where, and what to do."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dfkd_tune.benchmarks import BenchmarkConfig, open_benchmark
from dfkd_tune.benchmarks._sources import ImageArray, Listing, check_listing
from dfkd_tune.errors import DataError, DfkdTuneError, UsageError

Tree = Callable[..., Path]
OneLine = Callable[[BaseException], str]
DECLARED = {"size": 4, "mean": [0.5] * 3, "std": [0.5] * 3, "classes": 2}


def fails(one_line: OneLine, kind: type[DfkdTuneError] = DataError, **raw: Any) -> str:
    """The line with which opening, or else decoding, fails."""
    with pytest.raises(kind) as caught:
        open_benchmark(BenchmarkConfig.model_validate({"name": "own", **raw})).prepare(
            lambda _done, _all: None
        )
    return one_line(caught.value)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_folder_without_a_split(tree: Tree, split: str, one_line: OneLine) -> None:
    root = tree()
    (root / split).rename(root / "other")
    message = fails(one_line, labelled=root, input={"size": 4})
    there = "other, test" if split == "train" else "other, train"
    assert message == (
        f"{root} has no folder '{split}' (it has: {there}); "
        f"lay the images out as {split}/CLASS/FILE"
    )


def test_an_empty_folder(tmp_path: Path, one_line: OneLine) -> None:
    message = fails(one_line, labelled=tmp_path, input={"size": 4})
    assert f"{tmp_path} has no folder 'train' (it has: no folder)" in message


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_empty_class(tree: Tree, split: str, one_line: OneLine) -> None:
    root = tree()
    for path in (root / split / "bee").iterdir():
        path.unlink()
    (root / split / "bee" / "notes.txt").touch()
    message = fails(one_line, labelled=root, input={"size": 4})
    assert message.startswith(f"{root / split / 'bee'} holds no image (.bmp, ")
    assert message.endswith("fill or remove the class")


@pytest.mark.parametrize(("split", "other"), [("train", "test"), ("test", "train")])
def test_a_class_in_one_split_only(
    tree: Tree, split: str, other: str, one_line: OneLine, write_image: Callable[..., np.ndarray]
) -> None:
    root = tree()
    write_image(root / split / "cat" / "0.png")
    message = fails(one_line, labelled=root, input={"size": 4})
    assert message == (
        f"{root}: class 'cat' is in {split} and not in {other}; every class needs a folder in "
        f"every split"
    )


@pytest.mark.parametrize("declared", [True, False])
def test_an_unreadable_image(tree: Tree, declared: bool, one_line: OneLine) -> None:
    root = tree()
    for path in (root / "train" / "bee").iterdir():
        path.write_bytes(b"no image")
    given = {"size": 4, **({"mean": [0.5] * 3, "std": [0.5] * 3} if declared else {})}
    message = fails(one_line, labelled=root, input=given)
    assert f"cannot read the image {root / 'train' / 'bee'}" in message
    assert message.endswith("(no image); mend or remove it")


def test_an_unreadable_image_among_unlabelled_ones(tree: Tree, one_line: OneLine) -> None:
    root = tree()
    bad = root / "train" / "ant" / "000.png"
    bad.write_bytes(bad.read_bytes()[:60])
    message = fails(one_line, unlabelled=root, input=DECLARED)
    assert f"cannot read the image {bad}" in message


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA", "P", "1"])
def test_grey_and_transparent_images_are_converted_and_it_is_said_once(
    tree: Tree, mode: str
) -> None:
    root = tree()
    for path in (root / "test").rglob("*.png"):
        with Image.open(path) as image:
            image.convert(mode).save(path)
    config = {"name": "own", "labelled": root, "input": DECLARED}
    benchmark = open_benchmark(BenchmarkConfig.model_validate(config))
    (note,) = benchmark.notes
    assert note.startswith(f"images of the kind {mode} are converted to colour (RGB)")
    assert benchmark.load("test").images.shape == (6, 3, 4, 4)


def labelled_npz(path: Path, **change: np.ndarray) -> Path:
    content = {
        "train_images": np.zeros((20, 4, 4), np.uint8),
        "train_labels": np.arange(20) % 2,
        "test_images": np.zeros((6, 4, 4), np.uint8),
        "test_labels": np.arange(6) % 2,
    }
    np.savez(path, **{**content, **change})  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize(("label", "shown"), [(-1, "-1"), (2, "2")])
def test_a_label_out_of_range(tmp_path: Path, label: int, shown: str, one_line: OneLine) -> None:
    path = labelled_npz(tmp_path / "a.npz", test_labels=np.array([0, 1, 0, 1, 0, label]))
    message = fails(one_line, labelled=path, input={"class_names": ["a", "b"]})
    assert message == f"{path}: test has the label {shown}; labels go from 0 to 1"


def test_a_number_of_labels_that_is_not_that_of_images(tmp_path: Path, one_line: OneLine) -> None:
    path = labelled_npz(tmp_path / "a.npz", train_labels=np.arange(19) % 2)
    message = fails(one_line, labelled=path)
    assert message == f"{path}: train has 20 images and 19 labels; give one label per image"


def test_a_class_without_images_in_an_npz(tmp_path: Path, one_line: OneLine) -> None:
    path = labelled_npz(tmp_path / "a.npz", test_labels=np.zeros(6, np.int64))
    message = fails(one_line, labelled=path)
    assert message == (
        f"{path}: test has no image of class 1; every class needs images in train and test"
    )
    path = labelled_npz(tmp_path / "b.npz")
    message = fails(one_line, labelled=path, input={"class_names": list("abcdefgh")})
    assert "train has no image of class c, d, e and 3 more; every class needs" in message


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_an_empty_split_in_an_npz(tmp_path: Path, split: str, one_line: OneLine) -> None:
    change = {
        f"{split}_images": np.zeros((0, 4, 4), np.uint8),
        f"{split}_labels": np.zeros(0, np.int64),
    }
    path = labelled_npz(tmp_path / "a.npz", **change)
    message = fails(one_line, labelled=path)
    assert message.startswith(f"{path}")
    assert {"train": "no train split", "val": "validation is empty", "test": "no test split"}[
        split
    ] in message


def test_one_class_alone(tmp_path: Path, one_line: OneLine) -> None:
    zeros = {"train_labels": np.zeros(20, np.int64), "test_labels": np.zeros(6, np.int64)}
    message = fails(one_line, labelled=labelled_npz(tmp_path / "a.npz", **zeros))
    assert "has 1 class; a classifier needs at least 2" in message


@pytest.mark.parametrize("key", ["labelled", "unlabelled"])
@pytest.mark.parametrize("name", ["images.zip", "images.tar.gz", "images.tgz", "images.tar"])
def test_an_archive_instead_of_a_folder(
    tmp_path: Path, key: str, name: str, one_line: OneLine
) -> None:
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        archive.writestr("train/ant/0.png", b"")
    message = fails(one_line, **{key: tmp_path / name}, input=DECLARED)
    assert message == f"{tmp_path / name} is an archive; unpack it and give the folder"


def test_an_archive_as_the_root_of_ours(tmp_path: Path, one_line: OneLine) -> None:
    path = tmp_path / "cifar-10-python.tar.gz"
    path.touch()
    message = fails(one_line, name="cifar10", root=path)
    assert message == f"{path} is an archive; unpack it and give the folder"


@pytest.mark.parametrize("key", ["labelled", "unlabelled"])
def test_a_file_or_nothing_instead_of_a_folder(tmp_path: Path, key: str, one_line: OneLine) -> None:
    (tmp_path / "image.png").touch()
    message = fails(one_line, **{key: tmp_path / "image.png"}, input=DECLARED)
    assert message == f"{tmp_path / 'image.png'} is a file; give a folder of images"
    message = fails(one_line, **{key: tmp_path / "none"}, input=DECLARED)
    assert message == f"the data folder {tmp_path / 'none'} does not exist; check the path"


@pytest.mark.parametrize("length", [1, 2, 4])
def test_a_normalisation_of_the_wrong_length(tree: Tree, length: int, one_line: OneLine) -> None:
    given = {"size": 4, "mean": [0.5] * length, "std": [0.5] * length}
    message = fails(one_line, UsageError, labelled=tree(), input=given)
    assert message == (f"input mean has {length} values for 3 channels; give one value per channel")


def test_a_missing_size(tree: Tree, one_line: OneLine) -> None:
    root = tree()
    message = fails(one_line, UsageError, labelled=root)
    assert message == (
        f"benchmark.input.size is missing: {root} holds image files, and their size does not say "
        f"what the classifier takes; give it, such as input: {{size: 64}}"
    )


def test_too_few_images_for_a_validation_split(tree: Tree, one_line: OneLine) -> None:
    root = tree(counts={"train": 3, "test": 3})
    message = fails(one_line, labelled=root, input={"size": 4})
    assert message == (
        f"{root}: 6 train images leave none for validation at validation_fraction 0.1; raise it or "
        f"add a validation split"
    )


def test_a_good_listing_passes() -> None:
    source = ImageArray(images=np.zeros((2, 1, 4, 4), np.uint8), labels=(0, 1))
    splits = {"train": source, "test": source}
    listing = Listing(class_names=("a", "b"), splits=splits, origin=Path("/a"))
    assert check_listing(listing) is listing
