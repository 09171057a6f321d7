"""Stanford Cars: folders of photographs and MATLAB annotations."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from dfkd_tune.benchmarks._decoding import decode
from dfkd_tune.benchmarks._readers import read_cars196
from dfkd_tune.benchmarks._sources import ImageFiles
from dfkd_tune.errors import DataError

CLASSES = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Ram C/V Cargo Van Minivan 2012"]
# File and class, counted from 1.
CARS = {
    "train": [("00001.jpg", 3), ("00002.jpg", 1), ("00003.jpg", 2)],
    "test": [("00001.jpg", 2), ("00002.jpg", 3), ("00003.jpg", 1), ("00004.jpg", 1)],
}
TEST_LABELS = "cars_test_annos_withlabels.mat"


def annotations(rows: list[tuple[str, int]]) -> np.ndarray:
    names = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname"]
    table = np.zeros((1, len(rows)), dtype=[(name, object) for name in names])
    for index, (name, label) in enumerate(rows):
        table[0, index] = (1, 2, 3, 4, label, name)
    return table


def save(path: Path, **content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, content)


@pytest.fixture
def cars(tmp_path: Path, write_image: Callable[..., np.ndarray]) -> Path:
    root = tmp_path / "stanford_cars"
    for split, rows in CARS.items():
        for name, label in rows:
            pixels = np.full((20, 30, 3), (60 * label, 200 * (split == "test"), 0), np.uint8)
            write_image(root / f"cars_{split}" / name, pixels=pixels)
    names = np.array(CLASSES, dtype=object)[None]
    save(root / "devkit" / "cars_meta.mat", class_names=names)
    save(root / "devkit" / "cars_train_annos.mat", annotations=annotations(CARS["train"]))
    save(root / TEST_LABELS, annotations=annotations(CARS["test"]))
    return root


@pytest.mark.parametrize("up", [0, 1])
@pytest.mark.parametrize("in_devkit", [False, True])
def test_the_annotations_are_read_as_published(cars: Path, up: int, in_devkit: bool) -> None:
    if in_devkit:
        (cars / TEST_LABELS).rename(cars / "devkit" / TEST_LABELS)
    listing = read_cars196([cars, cars.parent][up])
    assert listing.class_names == tuple(CLASSES)
    for split, rows in CARS.items():
        source = listing.splits[split]
        assert isinstance(source, ImageFiles)
        assert source.root == cars
        assert source.paths == tuple(f"cars_{split}/{name}" for name, _ in rows)
        assert source.labels == tuple(label - 1 for _, label in rows)
        pixels = decode(source, 3, 4, 4, "crop")[:, :, 0, 0].tolist()
        for (red, green, _), (_, label) in zip(pixels, rows, strict=True):
            assert red == pytest.approx(60 * label, abs=4)
            assert green == pytest.approx(200 * (split == "test"), abs=4)


def test_one_annotation_is_read_too(cars: Path) -> None:
    save(cars / TEST_LABELS, annotations=annotations(CARS["test"][:1]))
    assert read_cars196(cars).splits["test"].labels == (1,)


@pytest.mark.parametrize(
    "name", ["devkit/cars_meta.mat", "devkit/cars_train_annos.mat", TEST_LABELS]
)
def test_a_missing_file_is_named_with_the_layout(
    cars: Path, name: str, one_line: Callable[[BaseException], str]
) -> None:
    (cars / name).unlink()
    with pytest.raises(DataError, match=f"{Path(name).name} is missing; .*cars_train/, ") as caught:
        read_cars196(cars)
    one_line(caught.value)


def test_another_folder_is_answered_with_the_layout(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"has no cars_train .*it must hold cars_train/, cars_test/"
    ):
        read_cars196(tmp_path)


def test_missing_photographs_are_named_and_counted(cars: Path) -> None:
    for name in ("00001.jpg", "00004.jpg"):
        (cars / "cars_test" / name).unlink()
    with pytest.raises(DataError, match=r"cars_test/00001.jpg and 1 more of 4 in .*withlabels.mat"):
        read_cars196(cars)


def test_annotations_without_labels_are_named(cars: Path) -> None:
    """The devkit's own `cars_test_annos.mat` has no classes."""
    table = np.zeros((1, 2), dtype=[("bbox_x1", object), ("fname", object)])
    table[0, 0], table[0, 1] = (1, "00001.jpg"), (1, "00002.jpg")
    save(cars / TEST_LABELS, annotations=table)
    with pytest.raises(DataError, match=r"withlabels.mat: annotations have no field 'class'"):
        read_cars196(cars)


def test_a_damaged_file_is_named(cars: Path) -> None:
    (cars / "devkit" / "cars_meta.mat").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"cars_meta.mat is no readable MATLAB file"):
        read_cars196(cars)
