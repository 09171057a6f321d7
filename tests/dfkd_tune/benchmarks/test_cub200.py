"""CUB-200-2011: birds and the lists that number them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dfkd_tune.benchmarks._decoding import decode
from dfkd_tune.benchmarks._readers import read_cub200
from dfkd_tune.benchmarks._sources import ImageFiles
from dfkd_tune.errors import DataError

CLASSES = ["001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross"]
# Class, counted from 1, and whether it is of the train split.
IMAGES = [(1, 0), (1, 1), (2, 1), (2, 0), (3, 1), (3, 1), (3, 0)]


def path_of(index: int) -> str:
    name = CLASSES[IMAGES[index][0] - 1]
    return f"{name}/{name[4:]}_{index:04}_{796100 + index}.jpg"


@pytest.fixture
def birds(tmp_path: Path, write_image: Callable[..., np.ndarray]) -> Path:
    folder = tmp_path / "CUB_200_2011"
    lists: dict[str, list[str]] = {
        "classes.txt": [f"{number} {name}" for number, name in enumerate(CLASSES, start=1)],
        "images.txt": [],
        "image_class_labels.txt": [],
        "train_test_split.txt": [],
    }
    for index, (label, in_train) in enumerate(IMAGES):
        pixels = np.full((20, 30, 3), 30 * index, np.uint8)
        write_image(folder / "images" / path_of(index), pixels=pixels)
        lists["images.txt"].append(f"{index + 1} {path_of(index)}")
        lists["image_class_labels.txt"].append(f"{index + 1} {label}")
        lists["train_test_split.txt"].append(f"{index + 1} {in_train}")
    for name, lines in lists.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize("up", [0, 1])
def test_the_lists_are_read_as_published(birds: Path, up: int) -> None:
    listing = read_cub200([birds, birds.parent][up])
    assert listing.class_names == tuple(CLASSES)
    for split, mark in (("train", 1), ("test", 0)):
        source = listing.splits[split]
        assert isinstance(source, ImageFiles)
        chosen = [index for index, (_, in_train) in enumerate(IMAGES) if in_train == mark]
        assert source.root == birds
        assert source.paths == tuple(f"images/{path_of(index)}" for index in chosen)
        assert source.labels == tuple(IMAGES[index][0] - 1 for index in chosen)
        found = decode(source, 3, 4, 4, "crop")[:, 0, 0, 0].tolist()
        assert found == pytest.approx([30 * index for index in chosen], abs=2)


@pytest.mark.parametrize(
    "name", ["images.txt", "classes.txt", "image_class_labels.txt", "train_test_split.txt"]
)
def test_a_missing_list_is_named_with_the_layout(birds: Path, name: str) -> None:
    (birds / name).unlink()
    with pytest.raises(DataError, match=f"{name}.*CUB_200_2011/ with images/"):
        read_cub200(birds)


def test_missing_images_are_named_and_counted(birds: Path) -> None:
    for index in (2, 5):
        (birds / "images" / path_of(index)).unlink()
    with pytest.raises(
        DataError, match=r"_0002_796102.jpg and 1 more of 7 in .*images.txt are mis"
    ):
        read_cub200(birds)


@pytest.mark.parametrize(
    ("name", "line", "problem"),
    [
        ("images.txt", "3", "images.txt, line 3: 1 fields instead of 2"),
        ("image_class_labels.txt", "3", "image_class_labels.txt, line 3: 1 fields instead of 2"),
        ("image_class_labels.txt", "3 x", "line 3: 'x' is no whole number from 1 to 3"),
        ("image_class_labels.txt", "3 0", "line 3: '0' is no whole number from 1 to 3"),
        ("image_class_labels.txt", "3 4", "line 3: '4' is no whole number from 1 to 3"),
        ("image_class_labels.txt", "9 1", "line 3: image '9' instead of '3'"),
        ("train_test_split.txt", "3 2", "line 3: '2' is no whole number from 0 to 1"),
        ("classes.txt", "3", "classes.txt, line 3: 1 fields instead of 2"),
    ],
)
def test_a_line_of_another_kind_is_named(
    birds: Path, name: str, line: str, problem: str, one_line: Callable[[BaseException], str]
) -> None:
    path = birds / name
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], line, *lines[3:]]))
    with pytest.raises(DataError, match=problem) as caught:
        read_cub200(birds)
    assert str(path) in one_line(caught.value)


def test_lists_of_another_length_are_named(birds: Path) -> None:
    path = birds / "train_test_split.txt"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    with pytest.raises(DataError, match=r"train_test_split.txt has 6 lines, and images.txt has 7"):
        read_cub200(birds)
