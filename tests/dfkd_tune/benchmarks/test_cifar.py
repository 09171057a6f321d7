"""CIFAR's pickles: read as published, and never run."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from dfkd_tune.benchmarks import BenchmarkConfig, open_benchmark
from dfkd_tune.benchmarks._readers import read_cifar10, read_cifar100
from dfkd_tune.benchmarks._sources import ImageArray, Listing
from dfkd_tune.errors import DataError

CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
FINE = [f"fine_{number:02}" for number in range(100)]


class Python2Pickler(pickle._Pickler):  # type: ignore[name-defined, misc]
    """Writes text and bytes as Python 2 does, in which the original files were written."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_string(self, text: bytes | str) -> None:
        raw = text if isinstance(text, bytes) else text.encode()
        self.write(b"T" + len(raw).to_bytes(4, "little") + raw)
        self.memoize(text)

    dispatch[bytes] = dispatch[str] = save_string


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        Python2Pickler(file, 2).dump(content)
    # The module's name at that time.
    path.write_bytes(path.read_bytes().replace(b"numpy._core.multi", b"numpy.core.multi"))


def data(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)


def cifar10(folder: Path, per_file: int = 20) -> dict[str, np.ndarray]:
    """Write the six batches; gives the raw rows by split."""
    rows: dict[str, list[np.ndarray]] = {"train": [], "test": []}
    for number, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        rows["test" if name == "test_batch" else "train"].append(data(number, per_file))
        content = {
            "batch_label": f"batch {number}",
            "labels": [(number + index) % 10 for index in range(per_file)],
            "data": data(number, per_file),
            "filenames": [f"a_{index}.png" for index in range(per_file)],
        }
        write(folder / name, content)
    meta = {"num_cases_per_batch": per_file, "label_names": list(CLASSES), "num_vis": 3072}
    write(folder / "batches.meta", meta)
    return {split: np.concatenate(parts) for split, parts in rows.items()}


def cifar100(folder: Path) -> None:
    for seed, name in enumerate(("train", "test")):
        content = {
            "data": data(seed, 200),
            "fine_labels": [99 - index % 100 for index in range(200)],
            "coarse_labels": [index % 20 for index in range(200)],
            "filenames": [f"{index}.png" for index in range(200)],
            "batch_label": "training batch 1 of 1",
        }
        write(folder / name, content)
    write(folder / "meta", {"fine_label_names": FINE, "coarse_label_names": ["x"] * 20})


def images(listing: Listing, split: str) -> np.ndarray:
    source = listing.splits[split]
    assert isinstance(source, ImageArray)
    return source.images


@pytest.mark.parametrize("given", ["", "cifar-10-batches-py"])
def test_cifar10_is_read_as_published(tmp_path: Path, given: str) -> None:
    rows = cifar10(tmp_path / "cifar-10-batches-py")
    listing = read_cifar10(tmp_path / given)
    assert listing.class_names == CLASSES
    assert set(listing.splits) == {"train", "test"}
    for split, raw in rows.items():
        # Red, green and blue planes, each row by row.
        assert np.array_equal(images(listing, split).reshape(len(raw), -1), raw)
        assert images(listing, split).shape == (len(raw), 3, 32, 32)
    assert listing.splits["train"].labels[:3] == (0, 1, 2)
    assert listing.splits["train"].labels[20:23] == (1, 2, 3)
    assert listing.splits["test"].labels[:3] == (5, 6, 7)


def test_cifar100_has_the_fine_labels(tmp_path: Path) -> None:
    cifar100(tmp_path / "cifar-100-python")
    listing = read_cifar100(tmp_path)
    assert listing.class_names == tuple(FINE)
    assert listing.splits["test"].labels[:2] == (99, 98)
    assert np.array_equal(images(listing, "test").reshape(200, -1), data(1, 200))
    assert images(listing, "train").shape == (200, 3, 32, 32)


def test_cifar10_opens_as_a_benchmark(tmp_path: Path) -> None:
    rows = cifar10(tmp_path / "cifar-10-batches-py")
    benchmark = open_benchmark(BenchmarkConfig(name="cifar10", root=tmp_path))
    assert benchmark.counts == {"train": 90, "validation": 10, "test": 20}
    test = benchmark.load("test")
    assert np.array_equal(test.images.numpy().reshape(20, -1), rows["test"])
    together = np.concatenate([benchmark.images(s).numpy() for s in ("train", "validation")])
    assert sorted(together.reshape(100, -1).tolist()) == sorted(rows["train"].tolist())


def test_a_copy_written_again_by_python_3_is_read_too(tmp_path: Path) -> None:
    rows = cifar10(tmp_path)
    for path in tmp_path.iterdir():
        content = pickle.loads(path.read_bytes(), encoding="latin1")
        path.write_bytes(pickle.dumps(content, protocol=4))
    assert np.array_equal(images(read_cifar10(tmp_path), "test").reshape(20, -1), rows["test"])


class Code:
    """Runs a function of its choice when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_in_a_pickle_is_refused_and_not_run(
    tmp_path: Path, protocol: int, one_line: Callable[[BaseException], str]
) -> None:
    cifar10(tmp_path)
    traces = [tmp_path / "trace1", tmp_path / "trace2"]
    attacks = [
        Code(Path.touch, traces[0]),
        Code(exec, f"open({str(traces[1])!r}, 'w').close()"),
    ]
    for attack in attacks:
        content = {"data": data(0, 20), "labels": attack}
        (tmp_path / "data_batch_3").write_bytes(pickle.dumps(content, protocol=protocol))
        with pytest.raises(
            DataError, match=r"data_batch_3 asks for '.*', which no CIFAR"
        ) as caught:
            read_cifar10(tmp_path)
        one_line(caught.value)
    assert not any(trace.exists() for trace in traces)


def test_the_same_attack_works_on_an_ordinary_unpickler(tmp_path: Path) -> None:
    """The test above would see code run."""
    attack = pickle.dumps(Code(exec, f"open({str(tmp_path / 'trace')!r}, 'w').close()"))
    pickle.loads(attack)
    assert (tmp_path / "trace").exists()


def test_only_arrays_of_bytes_are_made(tmp_path: Path) -> None:
    cifar10(tmp_path)
    write(tmp_path / "test_batch", {"data": np.zeros((20, 3072)), "labels": [0] * 20})
    with pytest.raises(DataError, match=r"asks for 'numpy\.dtype\('f8'\)'"):
        read_cifar10(tmp_path)


@pytest.mark.parametrize("name", ["data_batch_4", "test_batch", "batches.meta"])
def test_a_missing_file_is_named_with_the_layout(
    tmp_path: Path, name: str, one_line: Callable[[BaseException], str]
) -> None:
    cifar10(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(DataError) as caught:
        read_cifar10(tmp_path)
    message = one_line(caught.value)
    assert str(tmp_path / name) in message
    assert "cifar-10-batches-py/ with data_batch_1 to 5" in message


def test_another_folder_is_answered_with_the_layout(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no data_batch_1 .*it must hold cifar-10-batches-py/"):
        read_cifar10(tmp_path)
    with pytest.raises(DataError, match=r"has no train .*it must hold cifar-100-python/"):
        read_cifar100(tmp_path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no readable pickle"),
        (b"\x80\x02}q", "no readable pickle"),
        (b"no pickle at all", "no readable pickle"),
        (pickle.dumps([1, 2]), "holds no dictionary"),
        (pickle.dumps({"labels": [0]}), "has no array 'data' of 3072 bytes"),
        (pickle.dumps({"data": np.zeros((2, 7), np.uint8), "labels": [0, 1]}), "has no array"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8)}), "has no list 'labels'"),
        (
            pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": ["a", "b"]}),
            "has no list 'labels' of whole numbers",
        ),
        (
            pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}),
            "has 2 images and 1 labels",
        ),
    ],
)
def test_a_damaged_file_is_named(
    tmp_path: Path, content: bytes, problem: str, one_line: Callable[[BaseException], str]
) -> None:
    cifar10(tmp_path)
    (tmp_path / "data_batch_2").write_bytes(content)
    with pytest.raises(DataError, match=problem) as caught:
        read_cifar10(tmp_path)
    assert str(tmp_path / "data_batch_2") in one_line(caught.value)


def test_names_of_classes_must_be_there(tmp_path: Path) -> None:
    cifar10(tmp_path)
    write(tmp_path / "batches.meta", {"num_vis": 3072})
    with pytest.raises(DataError, match=r"batches.meta has no list 'label_names'"):
        read_cifar10(tmp_path)
