"""Files with MedMNIST's keys."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dfkd_tune.benchmarks._readers import read_npz, read_unlabelled_npz
from dfkd_tune.benchmarks._sources import ImageArray
from dfkd_tune.errors import DataError

COUNTS = {"train": 12, "val": 6, "test": 6}
NAMES = {"train": "train", "val": "validation", "test": "test"}


def arrays(shape: tuple[int, ...] = (7, 9), classes: int = 3) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    found: dict[str, np.ndarray] = {}
    for prefix, count in COUNTS.items():
        found[f"{prefix}_images"] = random.integers(0, 256, (count, *shape), dtype=np.uint8)
        # MedMNIST's labels have a second dimension.
        found[f"{prefix}_labels"] = (np.arange(count) % classes).astype(np.uint8)[:, None]
    return found


def saved(path: Path, content: dict[str, np.ndarray]) -> Path:
    np.savez(path, **content)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize(("shape", "channels"), [((7, 9), 1), ((7, 9, 1), 1), ((7, 9, 3), 3)])
def test_grey_and_colour_are_read(tmp_path: Path, shape: tuple[int, ...], channels: int) -> None:
    content = arrays(shape)
    listing = read_npz(saved(tmp_path / "a.npz", content))
    assert listing.class_names == ("0", "1", "2")
    assert set(listing.splits) == set(NAMES.values())
    for prefix, split in NAMES.items():
        source = listing.splits[split]
        assert isinstance(source, ImageArray)
        assert source.images.shape == (COUNTS[prefix], channels, 7, 9)
        expected = content[f"{prefix}_images"].reshape(COUNTS[prefix], 7, 9, channels)
        assert np.array_equal(source.images.transpose(0, 2, 3, 1), expected)
        assert list(source.labels) == content[f"{prefix}_labels"][:, 0].tolist()


def test_validation_may_be_absent_and_classes_may_be_named(tmp_path: Path) -> None:
    content = {key: value for key, value in arrays().items() if not key.startswith("val")}
    listing = read_npz(saved(tmp_path / "a.npz", content), ("x", "y", "z"))
    assert set(listing.splits) == {"train", "test"}
    assert listing.class_names == ("x", "y", "z")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"test_images": None}, "has no 'test_images'"),
        ({"test_labels": None}, "has no 'test_labels'"),
        ({"val_labels": None}, "has no 'val_labels'"),
        ({"train_images": np.zeros((12, 7, 9))}, "train_images is float64; give uint8"),
        ({"train_images": np.zeros((12, 7, 9, 4), np.uint8)}, "train_images has the shape"),
        ({"train_images": np.zeros((12, 63), np.uint8)}, "train_images has the shape"),
        ({"train_labels": np.zeros((12, 14), np.uint8)}, "several labels per image are not"),
        ({"train_labels": np.zeros(12)}, "one whole number per image"),
        ({"test_labels": np.full(6, 10**9)}, "label 1000000000, and fewer images"),
    ],
)
def test_a_file_of_other_content_is_named(
    tmp_path: Path,
    change: dict[str, np.ndarray | None],
    problem: str,
    one_line: Callable[[BaseException], str],
) -> None:
    changed = {**arrays(), **change}
    content = {key: value for key, value in changed.items() if value is not None}
    path = saved(tmp_path / "a.npz", content)
    with pytest.raises(DataError, match=problem) as caught:
        read_npz(path)
    assert str(path) in one_line(caught.value)


def test_objects_in_a_file_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", {"train_images": np.array([{}], dtype=object)})
    with pytest.raises(DataError, match=r"is no readable \.npz of plain arrays"):
        read_npz(path)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 and no more"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npz is no readable \.npz"):
        read_npz(path)


def test_an_array_alone_is_no_npz(tmp_path: Path) -> None:
    with (tmp_path / "a.npz").open("wb") as file:
        np.save(file, np.zeros((3, 4, 4), np.uint8))
    with pytest.raises(DataError, match=r"a\.npz is no readable \.npz"):
        read_unlabelled_npz(tmp_path / "a.npz")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the data file .*a\.npz does not exist"):
        read_npz(tmp_path / "a.npz")


def test_images_alone_are_read(tmp_path: Path) -> None:
    content = arrays((7, 9, 3))
    source = read_unlabelled_npz(saved(tmp_path / "a.npz", {"images": content["val_images"]}))
    assert source.images.shape == (6, 3, 7, 9)
    assert source.labels == ()
    source = read_unlabelled_npz(saved(tmp_path / "b.npz", content))
    assert len(source) == COUNTS["train"]


def test_images_alone_must_be_there(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", {"pictures": np.zeros((3, 4, 4), np.uint8)})
    with pytest.raises(DataError, match=r"neither 'images' nor 'train_images' .it has: pictures"):
        read_unlabelled_npz(path)
    path = saved(tmp_path / "b.npz", {"images": np.zeros((1, 4, 4), np.uint8)})
    with pytest.raises(DataError, match="images holds 1 images; give a file with more"):
        read_unlabelled_npz(path)
