"""MNIST's four files, plain or compressed."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dfkd_tune.benchmarks import BenchmarkConfig, open_benchmark
from dfkd_tune.benchmarks._readers import read_fashion_mnist, read_mnist
from dfkd_tune.benchmarks._sources import ImageArray
from dfkd_tune.errors import DataError

NAMES = {"train": "train", "test": "t10k"}
COUNTS = {"train": 60, "test": 20}


def idx(array: np.ndarray) -> bytes:
    head = bytes((0, 0, 8, array.ndim))
    return head + b"".join(size.to_bytes(4, "big") for size in array.shape) + array.tobytes()


def write(folder: Path, packed: bool = False) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    arrays = {}
    for split, prefix in NAMES.items():
        count = COUNTS[split]
        images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        arrays[split] = (images, labels)
        for kind, array in ((f"{prefix}-images-idx3", images), (f"{prefix}-labels-idx1", labels)):
            content = idx(array)
            path = folder / f"{kind}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(content) if packed else content)
    return arrays


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("below", ["", "raw", "MNIST/raw"])
def test_mnist_is_read_as_published(tmp_path: Path, below: str, packed: bool) -> None:
    arrays = write(tmp_path / below, packed)
    listing = read_mnist(tmp_path)
    assert listing.class_names == tuple("0123456789")
    assert set(listing.splits) == {"train", "test"}
    for split, (images, labels) in arrays.items():
        source = listing.splits[split]
        assert isinstance(source, ImageArray)
        assert np.array_equal(source.images, images[:, None])
        assert list(source.labels) == labels.tolist()


def test_fashion_mnist_has_its_own_names_and_place(tmp_path: Path) -> None:
    write(tmp_path / "FashionMNIST" / "raw")
    listing = read_fashion_mnist(tmp_path)
    assert listing.class_names[0] == "T-shirt/top"
    assert listing.class_names[9] == "Ankle boot"
    assert len(set(listing.class_names)) == 10
    with pytest.raises(DataError, match="has no train-images-idx3-ubyte"):
        read_mnist(tmp_path)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_it_opens_as_a_benchmark(tmp_path: Path, name: str) -> None:
    arrays = write(tmp_path)
    benchmark = open_benchmark(BenchmarkConfig(name=name, root=tmp_path))
    assert benchmark.inputs.shape == (1, 28, 28)
    # A tenth of 6 images per class, rounded.
    assert benchmark.counts == {"train": 50, "validation": 10, "test": 20}
    assert np.array_equal(benchmark.load("test").images.numpy(), arrays["test"][0][:, None])


@pytest.mark.parametrize("name", ["t10k-images-idx3-ubyte", "train-labels-idx1-ubyte"])
def test_a_missing_file_is_named_with_the_layout(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match=f"{name} .or with .gz. is missing; the layout is train-"):
        read_mnist(tmp_path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "does not begin as an IDX file"),
        (bytes((0, 0, 8, 3)), "does not begin as an IDX file of bytes in 3 dimensions"),
        (idx(np.zeros(60, np.uint8)), "does not begin as an IDX file"),
        (bytes((0, 0, 13, 3)) + bytes(12), "does not begin as an IDX file"),
        (idx(np.zeros((60, 28, 28), np.uint8))[:-1], "holds 47039 bytes of data and announces 470"),
        (idx(np.zeros((60, 28, 28), np.uint8)) + b"x", "holds 47041 bytes"),
    ],
)
def test_magic_and_length_are_checked(
    tmp_path: Path, content: bytes, problem: str, one_line: Callable[[BaseException], str]
) -> None:
    write(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError, match=problem) as caught:
        read_mnist(tmp_path)
    assert "train-images-idx3-ubyte" in one_line(caught.value)


@pytest.mark.parametrize("keep", [0, 3, 20, -6])
def test_a_damaged_gzip_is_named(tmp_path: Path, keep: int) -> None:
    write(tmp_path, packed=True)
    path = tmp_path / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz"):
        read_mnist(tmp_path)
