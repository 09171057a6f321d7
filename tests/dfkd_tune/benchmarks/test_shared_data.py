"""Real images, where the environment names a folder of them.

`DFKD_TUNE_SHARED_DATA` is a folder with any of `cifar10.zip`, `caltech101_64px.zip`,
`cub127_64px.zip` and `aircraft20_64px.zip`, each an ImageFolder tree.
"""

import os
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dfkd_tune.benchmarks import Benchmark, BenchmarkConfig, open_benchmark
from dfkd_tune.benchmarks._readers import read_image_folder

FOLDER = Path(os.environ.get("DFKD_TUNE_SHARED_DATA", ""))
# Images in train and in test, and classes.
COUNTS = {
    "cifar10": (50_000, 10_000, 10),
    "caltech101_64px": (5_784, 2_893, 101),
    "cub127_64px": (3_809, 3_647, 127),
    "aircraft20_64px": (1_331, 669, 20),
}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Unpack an archive once."""
    roots: dict[str, Path] = {}

    def unpack(name: str) -> Path:
        path = FOLDER / f"{name}.zip"
        if not os.environ.get("DFKD_TUNE_SHARED_DATA") or not path.exists():
            pytest.skip(f"DFKD_TUNE_SHARED_DATA has no {path.name}")
        if name not in roots:
            roots[name] = tmp_path_factory.mktemp(name)
            with zipfile.ZipFile(path) as archive:
                archive.extractall(roots[name])
        return roots[name]

    return unpack


@pytest.fixture(scope="module")
def cifar10(unpacked: Callable[[str], Path]) -> tuple[Benchmark, dict[str, torch.Tensor]]:
    """The benchmark and all its images, decoded once."""
    benchmark = open_benchmark(BenchmarkConfig(name="cifar10", root=unpacked("cifar10")))
    names = ("train", "validation", "test")
    return benchmark, {name: benchmark.images(name) for name in names}  # type: ignore[arg-type]


@pytest.mark.parametrize("name", COUNTS)
def test_counts_by_split_and_class(unpacked: Callable[[str], Path], name: str) -> None:
    listing = read_image_folder(unpacked(name))
    train, test, classes = COUNTS[name]
    assert len(listing.class_names) == classes
    assert {split: len(source) for split, source in listing.splits.items()} == {
        "train": train,
        "test": test,
    }
    for source in listing.splits.values():
        assert sorted(set(source.labels)) == list(range(classes))
    if name == "cifar10":
        assert set(Counter(listing.splits["train"].labels).values()) == {5000}
        assert set(Counter(listing.splits["test"].labels).values()) == {1000}


def test_cifar10s_train_images_have_the_published_mean_and_deviation(
    cifar10: tuple[Benchmark, dict[str, torch.Tensor]],
) -> None:
    benchmark, images = cifar10
    pixels = torch.cat([images["train"], images["validation"]]).numpy()
    assert pixels.shape == (50_000, 3, 32, 32)
    counts = np.stack([np.bincount(pixels[:, c].ravel(), minlength=256) for c in range(3)])
    values = np.arange(256) / 255
    mean = counts @ values / counts.sum(axis=1)
    std = np.sqrt(counts @ values**2 / counts.sum(axis=1) - mean**2)
    assert mean.round(4).tolist() == [0.4914, 0.4822, 0.4465]
    assert std.round(4).tolist() == [0.2470, 0.2435, 0.2616]
    assert benchmark.inputs.mean == tuple(mean.round(4))
    assert benchmark.inputs.std == tuple(std.round(4))


def test_cifar10_opens_with_its_official_split(
    cifar10: tuple[Benchmark, dict[str, torch.Tensor]],
) -> None:
    benchmark, images = cifar10
    assert benchmark.counts == {"train": 45_000, "validation": 5_000, "test": 10_000}
    assert {name: len(part) for name, part in images.items()} == benchmark.counts
    assert benchmark.class_names == (
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
    for split, per_class in (("train", 4500), ("validation", 500), ("test", 1000)):
        assert benchmark.labels[split].bincount().tolist() == [per_class] * 10
    assert benchmark.notes == ()


@pytest.mark.parametrize("name", [name for name in COUNTS if name.endswith("_64px")])
def test_sets_of_64_pixels_open_as_a_persons_own(
    unpacked: Callable[[str], Path], name: str
) -> None:
    root = unpacked(name)
    config = {"name": name, "labelled": root, "input": {"size": 64}}
    benchmark = open_benchmark(BenchmarkConfig.model_validate(config))
    train, test, classes = COUNTS[name]
    assert benchmark.inputs.num_classes == classes
    assert benchmark.counts["train"] + benchmark.counts["validation"] == train
    assert benchmark.counts["test"] == test
    assert abs(benchmark.counts["validation"] - 0.1 * train) < 0.5 * classes
    assert benchmark.images("test").shape == (test, 3, 64, 64)
    assert all(0.3 < value < 0.7 for value in benchmark.inputs.mean)
    assert all(0.15 < value < 0.35 for value in benchmark.inputs.std)
