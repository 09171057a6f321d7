"""SVHN's two MATLAB files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from dfkd_tune.benchmarks import BenchmarkConfig, open_benchmark
from dfkd_tune.benchmarks._readers import read_svhn
from dfkd_tune.benchmarks._sources import ImageArray
from dfkd_tune.errors import DataError

COUNTS = {"train": 60, "test": 20}


def write(folder: Path) -> dict[str, np.ndarray]:
    """Write both files; gives the pixels `(N, H, W, C)` by split."""
    pixels = {}
    for seed, (split, count) in enumerate(COUNTS.items()):
        images = np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        labels = (np.arange(count) % 10 + 1).astype(np.uint8)[:, None]
        savemat(folder / f"{split}_32x32.mat", {"X": images.transpose(1, 2, 3, 0), "y": labels})
        pixels[split] = images
    return pixels


def test_svhn_is_read_as_published(tmp_path: Path) -> None:
    pixels = write(tmp_path)
    listing = read_svhn(tmp_path)
    assert listing.class_names == tuple("0123456789")
    for split, images in pixels.items():
        source = listing.splits[split]
        assert isinstance(source, ImageArray)
        assert np.array_equal(source.images, images.transpose(0, 3, 1, 2))
        # The label 10 is the digit 0.
        assert source.labels[:11] == (1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1)


def test_it_opens_as_a_benchmark(tmp_path: Path) -> None:
    pixels = write(tmp_path)
    benchmark = open_benchmark(BenchmarkConfig(name="svhn", root=tmp_path))
    assert benchmark.counts == {"train": 50, "validation": 10, "test": 20}
    found = benchmark.load("test").images.numpy()
    assert np.array_equal(found, pixels["test"].transpose(0, 3, 1, 2))


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_missing_file_is_named_with_the_layout(tmp_path: Path, split: str) -> None:
    write(tmp_path)
    (tmp_path / f"{split}_32x32.mat").unlink()
    with pytest.raises(DataError, match=f"{split}_32x32.mat.*train_32x32.mat and test_32x32.mat"):
        read_svhn(tmp_path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"X": np.zeros((32, 32, 3, 5), np.uint8)}, "has no variable 'y'"),
        ({"X": np.zeros((32, 30, 3, 5), np.uint8), "y": np.ones(5)}, "X has the shape"),
        ({"X": np.zeros((32, 32, 3, 5)), "y": np.ones(5)}, "type float64"),
        ({"X": np.zeros((32, 32, 3, 5), np.uint8), "y": np.ones(4)}, "5 images and 4 labels"),
        ({"X": np.zeros((32, 32, 3, 5), np.uint8), "y": np.array(["a"] * 5)}, "labels"),
    ],
)
def test_a_file_of_other_content_is_named(
    tmp_path: Path,
    content: dict[str, np.ndarray],
    problem: str,
    one_line: Callable[[BaseException], str],
) -> None:
    write(tmp_path)
    savemat(tmp_path / "test_32x32.mat", content)
    with pytest.raises(DataError, match=problem) as caught:
        read_svhn(tmp_path)
    assert str(tmp_path / "test_32x32.mat") in one_line(caught.value)


@pytest.mark.parametrize("content", [b"", b"no MATLAB file, but long enough for its head" * 9])
def test_a_damaged_file_is_named(
    tmp_path: Path, content: bytes, one_line: Callable[[BaseException], str]
) -> None:
    write(tmp_path)
    (tmp_path / "train_32x32.mat").write_bytes(content)
    with pytest.raises(DataError, match="is no readable MATLAB file") as caught:
        read_svhn(tmp_path)
    assert str(tmp_path / "train_32x32.mat") in one_line(caught.value)
