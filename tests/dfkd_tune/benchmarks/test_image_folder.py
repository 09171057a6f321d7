"""Trees of SPLIT/CLASS/FILE, and folders of images without labels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import ImageFolder

from dfkd_tune.benchmarks._decoding import decode
from dfkd_tune.benchmarks._readers import read_image_folder, read_unlabelled_folder
from dfkd_tune.benchmarks._sources import ImageFiles
from dfkd_tune.errors import DataError


def test_it_is_read_as_torchvision_reads_each_split(tree: Callable[..., Path]) -> None:
    root = tree(classes=("wasp", "Bee", "ant", "cat-2"))
    listing = read_image_folder(root)
    assert set(listing.splits) == {"train", "test"}
    for split, source in listing.splits.items():
        theirs = ImageFolder(str(root / split))
        assert isinstance(source, ImageFiles)
        assert list(listing.class_names) == theirs.classes
        assert [str(root / path) for path in source.paths] == [path for path, _ in theirs.imgs]
        assert list(source.labels) == theirs.targets
        ours = decode(source, 3, 6, 5, "crop").numpy()
        assert np.array_equal(ours, [np.asarray(image).transpose(2, 0, 1) for image, _ in theirs])


@pytest.mark.parametrize("name", ["val", "validation"])
def test_an_own_validation_split_is_used(tree: Callable[..., Path], name: str) -> None:
    root = tree(counts={"train": 4, name: 2, "test": 3})
    listing = read_image_folder(root)
    assert {split: len(source) for split, source in listing.splits.items()} == {
        "train": 8,
        "validation": 4,
        "test": 6,
    }


def test_class_names_decide_the_order_of_labels(tree: Callable[..., Path]) -> None:
    root = tree(classes=("ant", "bee", "cat"))
    listing = read_image_folder(root, ("cat", "ant", "bee"))
    assert listing.class_names == ("cat", "ant", "bee")
    source = listing.splits["test"]
    assert isinstance(source, ImageFiles)
    assert [path.split("/")[1] for path in source.paths] == [
        listing.class_names[label] for label in source.labels
    ]


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (("ant", "bee", "cow"), "class 'cow' has no folder"),
        (("ant",), "class 'bee' is not in class_names"),
        (("ant", "bee", "bee"), "name a class of .* twice"),
    ],
)
def test_class_names_must_be_the_folders(
    tree: Callable[..., Path], names: tuple[str, ...], problem: str
) -> None:
    with pytest.raises(DataError, match=problem):
        read_image_folder(tree(), names)


def test_hidden_and_other_files_are_passed_over(tree: Callable[..., Path]) -> None:
    root = tree()
    before = read_image_folder(root)
    for name in ("train/ant/.hidden.png", "train/ant/notes.txt", "train/.cache/a.png"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    (root / "train" / "ant" / "folder.png").mkdir()
    (root / "train" / "list.png").touch()
    assert read_image_folder(root) == before


def test_images_in_folders_of_a_class_and_of_any_ending_are_found(
    tree: Callable[..., Path], write_image: Callable[..., np.ndarray]
) -> None:
    root = tree()
    for name in ("deep/er/a.JPG", "b.jpeg", "c.bmp", "d.tif", "e.webp", "f.ppm"):
        write_image(root / "train" / "ant" / name)
    source = read_image_folder(root).splits["train"]
    assert isinstance(source, ImageFiles)
    assert len(source) == 26
    assert "train/ant/deep/er/a.JPG" in source.paths
    assert decode(source, 3, 6, 5, "crop").shape == (26, 3, 6, 5)


def test_an_unlabelled_folder_is_searched_to_any_depth(
    tmp_path: Path, write_image: Callable[..., np.ndarray]
) -> None:
    for name in ("b.png", "a/c.png", "a/d/e.jpg", ".hidden/f.png"):
        write_image(tmp_path / "images" / name)
    source = read_unlabelled_folder(tmp_path / "images")
    assert source.paths == ("a/c.png", "a/d/e.jpg", "b.png")
    assert source.labels == ()


@pytest.mark.parametrize("count", [0, 1])
def test_an_unlabelled_folder_needs_images(
    tmp_path: Path, count: int, write_image: Callable[..., np.ndarray]
) -> None:
    for index in range(count):
        write_image(tmp_path / f"{index}.png")
    with pytest.raises(DataError, match=f"holds {count} images; give a folder with more"):
        read_unlabelled_folder(tmp_path)
