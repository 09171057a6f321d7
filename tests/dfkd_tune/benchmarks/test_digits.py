"""The digits are scikit-learn's, split once and for all."""

import hashlib

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from dfkd_tune.benchmarks import BENCHMARKS, LabelledImages, get_benchmark, split_by_hash
from dfkd_tune.classifiers import to_input
from dfkd_tune.errors import UnknownNameError
from dfkd_tune.inputs import InputSpecification

SIZES = {"train": 1079, "validation": 359, "test": 359}
PINNED = {
    "train": "cffe6ebbda0892198b76d16b4c812255f871b140713ebc8abae78dc07ca8fd85",
    "validation": "cc535d704de4cd83add50290f8f4df4ff4b4374ca7e43f0754c8a50cb506e0a0",
    "test": "ad2d60ac14baa6a9c2ac6dae7d72a324ce0f5cbfd445bd3f82060ce294e8c5cb",
}


@pytest.fixture(scope="module")
def original() -> tuple[np.ndarray, np.ndarray]:
    """Pixels `(1797, 8, 8)`, 0 to 255, and labels, from scikit-learn itself."""
    table = load_digits()
    assert (table.images.min(), table.images.max()) == (0, 16)
    return np.rint(table.images * 255 / 16).astype(np.uint8), table.target.astype(np.int64)


@pytest.fixture(scope="module")
def splits() -> dict[str, LabelledImages]:
    digits = get_benchmark("digits")
    return {name: digits.load(name) for name in SIZES}  # type: ignore[arg-type]


def indices(labels: np.ndarray) -> dict[str, list[int]]:
    fractions = {"train": 0.6, "validation": 0.2, "test": 0.2}
    return split_by_hash(labels.tolist(), fractions, "dfkd-tune/digits/1")


def test_every_pixel_and_label_is_scikit_learns(
    original: tuple[np.ndarray, np.ndarray], splits: dict[str, LabelledImages]
) -> None:
    pixels, labels = original
    for name, chosen in indices(labels).items():
        split = splits[name]
        assert split.images.dtype == torch.uint8
        assert split.images.shape == (SIZES[name], 1, 8, 8)
        assert np.array_equal(split.images[:, 0].numpy(), pixels[chosen])
        assert np.array_equal(split.labels.numpy(), labels[chosen])


def test_split_sizes(splits: dict[str, LabelledImages]) -> None:
    assert {name: len(split) for name, split in splits.items()} == SIZES
    assert sum(SIZES.values()) == 1797


def test_splits_are_disjoint_and_stratified(original: tuple[np.ndarray, np.ndarray]) -> None:
    _, labels = original
    chosen = indices(labels)
    assert sorted(index for part in chosen.values() for index in part) == list(range(1797))
    whole = np.bincount(labels)
    for name, fraction in {"train": 0.6, "validation": 0.2, "test": 0.2}.items():
        share = np.bincount(labels[chosen[name]], minlength=10)
        assert np.abs(share - fraction * whole).max() <= 1


def test_splits_are_the_pinned_ones(splits: dict[str, LabelledImages]) -> None:
    """If this fails, results with these splits cannot be compared with earlier ones."""
    assert {name: split.sha256() for name, split in splits.items()} == PINNED


def test_hash_is_of_pixels_and_labels(splits: dict[str, LabelledImages]) -> None:
    split = splits["test"]
    content = split.images.numpy().tobytes() + split.labels.numpy().tobytes()
    assert split.sha256() == hashlib.sha256(content).hexdigest()
    other = LabelledImages(images=split.images, labels=split.labels.flip(0))
    assert other.sha256() != split.sha256()


def test_mean_and_std_are_the_train_splits(splits: dict[str, LabelledImages]) -> None:
    pixels = splits["train"].images.numpy().astype(np.float64) / 255
    inputs = get_benchmark("digits").inputs
    assert inputs.mean == (pytest.approx(pixels.mean(), abs=5e-5),)
    assert inputs.std == (pytest.approx(pixels.std(), abs=5e-5),)
    normalised = to_input(splits["train"].images, inputs)
    assert normalised.dtype == torch.float32
    assert normalised.double().mean().item() == pytest.approx(0, abs=1e-3)
    assert normalised.double().std().item() == pytest.approx(1, abs=1e-3)


def test_normalisation_is_per_channel() -> None:
    inputs = InputSpecification(
        channels=2, height=1, width=2, mean=(0.5, 0.2), std=(0.5, 0.1), num_classes=2
    )
    images = torch.tensor([[[[0, 255]], [[51, 102]]]], dtype=torch.uint8)
    assert to_input(images, inputs).flatten().tolist() == pytest.approx([-1, 1, 0, 2], abs=1e-5)


INSTALLED = [name for name, item in BENCHMARKS.items() if item.read_installed is not None]


@pytest.mark.parametrize("name", INSTALLED)
def test_a_benchmark_agrees_with_its_own_images(name: str) -> None:
    benchmark = get_benchmark(name)
    assert benchmark.name == name
    assert benchmark.data == "labelled"
    assert len(benchmark.class_names) == benchmark.inputs.num_classes
    for split in ("train", "validation", "test"):
        loaded = benchmark.load(split)  # type: ignore[arg-type]
        assert len(loaded) == benchmark.counts[split]
        assert loaded.images.shape[1:] == benchmark.inputs.shape
        assert sorted(set(loaded.labels.tolist())) == list(range(benchmark.inputs.num_classes))


def test_an_unknown_benchmark_is_answered_with_what_was_meant() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'digits'"):
        get_benchmark("digit")
