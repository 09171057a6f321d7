"""A person's own data: labelled, without labels, or none; and what must be declared."""

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dfkd_tune.benchmarks import Benchmark, BenchmarkConfig, _decoding, open_benchmark
from dfkd_tune.benchmarks._own import channel_statistics
from dfkd_tune.errors import DataError, UsageError

Tree = Callable[..., Path]
DECLARED = {"size": 8, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "classes": 7}
SPLITS = ("train", "validation", "test")


def opened(**raw: Any) -> Benchmark:
    return open_benchmark(BenchmarkConfig.model_validate({"name": "own", **raw}))


def npz(path: Path, shape: tuple[int, ...], validation: bool = True) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    content: dict[str, np.ndarray] = {}
    for prefix, count in (("train", 40), ("val", 8), ("test", 12)):
        if prefix == "val" and not validation:
            continue
        content[f"{prefix}_images"] = random.integers(0, 200, (count, *shape), dtype=np.uint8)
        content[f"{prefix}_labels"] = (np.arange(count) % 4).astype(np.uint8)[:, None]
    np.savez(path, **content)  # type: ignore[arg-type]
    return content


def cached(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.exists() else []


# ------------------------------------------------------------------ labelled


@pytest.mark.parametrize("channels", [1, 3])
def test_normalisation_is_measured_on_train_where_it_is_not_declared(
    tree: Tree, channels: int
) -> None:
    root = tree(counts={"train": 20, "test": 4}, size=(8, 8), mode="L" if channels == 1 else "RGB")
    benchmark = opened(labelled=root, input={"size": 8, "channels": channels})
    assert not benchmark.declared_normalisation
    pixels = benchmark.load("train").images.numpy().astype(np.float64) / 255
    assert benchmark.inputs.mean == pytest.approx(pixels.mean(axis=(0, 2, 3)), abs=5.1e-5)
    assert benchmark.inputs.std == pytest.approx(pixels.std(axis=(0, 2, 3)), abs=5.1e-5)
    # Rounded, so that a record shows all there is.
    assert all(round(value, 4) == value for value in benchmark.inputs.mean + benchmark.inputs.std)
    # Neither validation nor test take part.
    assert len(pixels) == 36
    assert benchmark.counts == {"train": 36, "validation": 4, "test": 8}


def exact_statistics(paths: list[Path]) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel, in whole numbers until the last division."""
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths]).astype(int)
    count = 255 * pixels[..., 0].size
    means, deviations = [], []
    for channel in range(pixels.shape[-1]):
        values = pixels[..., channel].ravel().tolist()
        mean = Fraction(sum(values), count)
        variance = Fraction(sum(value * value for value in values), 255 * count) - mean**2
        means.append(round(float(mean), 4))
        deviations.append(round(math.sqrt(variance), 4))
    return means, deviations


@pytest.mark.parametrize("part", [1, 7, 1024])
def test_the_measured_normalisation_is_that_of_the_files(
    tree: Tree, cache: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    monkeypatch.setattr(_decoding, "_PART", part)
    root = tree(counts={"train": 20, "val": 3, "test": 3})
    inputs = opened(labelled=root, input={"size": [6, 5]}).inputs
    means, deviations = exact_statistics(sorted((root / "train").rglob("*.png")))
    assert inputs.mean == tuple(means)
    assert inputs.std == tuple(deviations)
    assert not cache.exists()


def test_channel_statistics_do_not_depend_on_how_images_are_grouped() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 3, 7, 5), dtype=np.uint8)
    whole = channel_statistics([pixels])
    values = pixels / 255
    assert whole[0] == pytest.approx(values.mean(axis=(0, 2, 3)), abs=5.1e-5)
    assert whole[1] == pytest.approx(values.std(axis=(0, 2, 3)), abs=5.1e-5)
    for size in (1, 3, 16):
        assert channel_statistics(np.array_split(pixels, range(size, 40, size))) == whole


def test_measuring_writes_nothing_and_takes_what_is_decoded_already(
    tree: Tree, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree()
    first = opened(labelled=root, input={"size": 4})
    assert not cache.exists()
    first.prepare(lambda _done, _all: None)
    kept = cached(cache)
    assert len(kept) == len(SPLITS)
    open_benchmark.cache_clear()

    def refuse(path: Path, *_rest: object) -> None:
        raise AssertionError(f"{path} is decoded again")

    monkeypatch.setattr(_decoding, "decode_file", refuse)
    assert opened(labelled=root, input={"size": 4}).inputs == first.inputs
    assert cached(cache) == kept


def test_a_damaged_image_is_named_while_measuring(
    tree: Tree, cache: Path, one_line: Callable[[BaseException], str]
) -> None:
    root = tree(counts={"train": 10, "val": 2, "test": 2})
    bad = root / "train" / "bee" / "007.png"
    bad.write_bytes(bad.read_bytes()[:60])
    given = {"size": 4, "mean": [0.5] * 3, "std": [0.5] * 3}
    with pytest.raises(DataError) as decoding:
        opened(labelled=root, input=given).images("train")
    with pytest.raises(DataError) as measuring:
        opened(labelled=root, input={"size": 4})
    assert one_line(measuring.value) == str(decoding.value)
    assert f"cannot read the image {bad} (" in str(measuring.value)
    assert not cached(cache)


def test_a_declared_normalisation_is_taken_as_it_is(tree: Tree, cache: Path) -> None:
    given = {"size": [4, 6], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "classes": 2}
    benchmark = opened(name="insects", labelled=tree(), input=given)
    assert benchmark.declared_normalisation
    assert benchmark.name == "insects"
    assert benchmark.data == "labelled"
    assert benchmark.inputs.shape == (3, 4, 6)
    assert benchmark.inputs.mean == (0.1, 0.2, 0.3)
    assert benchmark.inputs.std == (0.4, 0.5, 0.6)
    assert benchmark.class_names == ("ant", "bee")
    # Nothing was decoded so far.
    assert not cache.exists()
    for split in SPLITS:
        loaded = benchmark.load(split)  # type: ignore[arg-type]
        assert loaded.images.shape == (benchmark.counts[split], 3, 4, 6)
        assert loaded.images.dtype == torch.uint8
        assert loaded.labels.dtype == torch.int64


def test_one_colour_everywhere_can_be_normalised(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / "flat" / split / name).mkdir(parents=True)
            for index in range(10):
                path = tmp_path / "flat" / split / name / f"{index}.png"
                Image.new("RGB", (4, 4), "red").save(path)
    inputs = opened(labelled=tmp_path / "flat", input={"size": 4}).inputs
    assert inputs.mean == (1.0, 0.0, 0.0)
    assert min(inputs.std) > 0


def test_crop_and_squash_give_other_pixels(tree: Tree) -> None:
    root = tree(size=(6, 18))
    crop, squash = (
        opened(labelled=root, input={"size": 6}, resize=resize) for resize in ("crop", "squash")
    )
    assert crop.images("test").shape == squash.images("test").shape
    assert not torch.equal(crop.images("test"), squash.images("test"))


def test_an_own_validation_split_is_used(tree: Tree) -> None:
    root = tree(counts={"train": 6, "val": 2, "test": 3})
    assert opened(labelled=root, input={"size": 4}).counts == {
        "train": 12,
        "validation": 4,
        "test": 6,
    }


def test_the_order_of_classes_may_be_given(tree: Tree) -> None:
    root = tree()
    plain = opened(labelled=root, input={"size": 4})
    turned = opened(labelled=root, input={"size": 4, "class_names": ["bee", "ant"]})
    assert turned.class_names == ("bee", "ant")
    first, second = plain.load("test"), turned.load("test")
    assert torch.equal(first.images[first.labels == 0], second.images[second.labels == 1])


@pytest.mark.parametrize(("shape", "channels"), [((28, 28), 1), ((28, 28, 3), 3), ((9, 7), 1)])
@pytest.mark.parametrize("validation", [True, False])
def test_an_npz_says_its_size_and_channels(
    tmp_path: Path, shape: tuple[int, ...], channels: int, validation: bool
) -> None:
    content = npz(tmp_path / "blood.npz", shape, validation)
    benchmark = opened(name="blood", labelled=tmp_path / "blood.npz")
    assert benchmark.inputs.shape == (channels, *shape[:2])
    assert benchmark.class_names == ("0", "1", "2", "3")
    assert not benchmark.declared_normalisation
    if validation:
        assert benchmark.counts == {"train": 40, "validation": 8, "test": 12}
        train = content["train_images"].reshape(40, *shape[:2], channels) / 255
        assert benchmark.inputs.mean == pytest.approx(train.mean(axis=(0, 1, 2)), abs=5.1e-5)
        assert benchmark.inputs.std == pytest.approx(train.std(axis=(0, 1, 2)), abs=5.1e-5)
    else:
        assert benchmark.counts == {"train": 36, "validation": 4, "test": 12}
    test = benchmark.load("test")
    expected = content["test_images"].reshape(12, *shape[:2], channels)
    assert np.array_equal(test.images.numpy(), expected.transpose(0, 3, 1, 2))
    assert test.labels.tolist() == content["test_labels"][:, 0].tolist()


def test_an_npz_may_be_seen_in_another_size_and_kind(tmp_path: Path) -> None:
    npz(tmp_path / "a.npz", (28, 28))
    given = {"size": 16, "channels": 3, "class_names": ["w", "x", "y", "z"]}
    benchmark = opened(labelled=tmp_path / "a.npz", input=given)
    assert benchmark.class_names == ("w", "x", "y", "z")
    images = benchmark.images("test")
    assert images.shape == (12, 3, 16, 16)
    assert torch.equal(images[:, 0], images[:, 1])
    assert benchmark.notes == (
        "images of the kind L are converted to colour (RGB); what is transparent is laid on white",
    )


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, r"benchmark\.input\.size is missing: .*give it, such as input: \{size: 64\}"),
        ({"size": 4, "classes": 3}, r"benchmark\.input\.classes is 3, and .* has 2 classes"),
        ({"size": 4, "mean": [0.5] * 3}, "needs mean and std together"),
        ({"size": 4, "std": [0.5] * 3}, "needs mean and std together"),
        ({"size": 4, "mean": [0.5], "std": [0.5]}, "input mean has 1 values for 3 channels"),
        ({"size": 4, "mean": [0.5] * 3, "std": [0.5] * 2}, "input std has 2 values for 3 channels"),
        ({"size": 4, "mean": [0.5] * 3, "std": [0.5, 0, 0.5]}, "must be positive"),
    ],
)
def test_what_must_be_declared_of_labelled_images_is_asked_for(
    tree: Tree, given: dict[str, Any], problem: str, one_line: Callable[[BaseException], str]
) -> None:
    with pytest.raises(UsageError, match=problem) as caught:
        opened(labelled=tree(), input=given)
    one_line(caught.value)


# ------------------------------------------------------------------ without labels


def test_unlabelled_images_of_a_folder_are_shared_out(
    tmp_path: Path, write_image: Callable[..., np.ndarray]
) -> None:
    pixels = [
        write_image(tmp_path / "images" / f"{index}.png", index, size=(8, 8)) for index in range(10)
    ]
    benchmark = opened(unlabelled=tmp_path / "images", input=DECLARED)
    assert benchmark.data == "unlabelled"
    assert benchmark.inputs.shape == (3, 8, 8)
    assert benchmark.inputs.num_classes == 7
    assert benchmark.inputs.std == (0.4, 0.5, 0.6)
    assert benchmark.class_names == tuple(str(number) for number in range(7))
    assert benchmark.counts == {"validation": 5, "test": 5}
    assert benchmark.labels == {}
    assert "10 unlabelled images" in benchmark.title
    found = torch.cat([benchmark.images("validation"), benchmark.images("test")]).numpy()
    expected = np.stack(pixels).transpose(0, 3, 1, 2)
    assert sorted(image.tobytes() for image in found) == sorted(i.tobytes() for i in expected)
    with pytest.raises(DataError, match=r"'own' has no labelled images; give benchmark.labelled"):
        benchmark.load("test")


@pytest.mark.parametrize("key", ["images", "train_images"])
def test_unlabelled_images_of_an_npz_are_shared_out(tmp_path: Path, key: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", **{key: images})  # type: ignore[arg-type]
    benchmark = opened(unlabelled=tmp_path / "a.npz", input=DECLARED)
    assert benchmark.data == "unlabelled"
    assert sum(benchmark.counts.values()) == 9
    found = torch.cat([benchmark.images("validation"), benchmark.images("test")]).numpy()
    expected = images.transpose(0, 3, 1, 2)
    assert sorted(image.tobytes() for image in found) == sorted(i.tobytes() for i in expected)


def test_no_data_at_all_is_possible() -> None:
    benchmark = opened(name="theirs", input={**DECLARED, "class_names": list("abcdefg")})
    assert benchmark.data == "none"
    assert benchmark.counts == {}
    assert benchmark.class_names == tuple("abcdefg")
    assert benchmark.inputs.mean == (0.1, 0.2, 0.3)
    benchmark.prepare(lambda done, of: None)
    with pytest.raises(DataError, match=r"has no images; give benchmark.unlabelled"):
        benchmark.images("test")
    with pytest.raises(DataError, match="has no labelled images"):
        benchmark.load("test")


def test_class_names_alone_say_how_many_there_are() -> None:
    given = {key: value for key, value in DECLARED.items() if key != "classes"}
    assert opened(input={**given, "class_names": ["a", "b", "c"]}).inputs.num_classes == 3


@pytest.mark.parametrize("missing", ["size", "mean", "std", "classes"])
@pytest.mark.parametrize("source", ["none", "folder"])
def test_without_labels_everything_must_be_declared(
    tree: Tree, missing: str, source: str, one_line: Callable[[BaseException], str]
) -> None:
    given = {key: value for key, value in DECLARED.items() if key != missing}
    where = {} if source == "none" else {"unlabelled": tree()}
    with pytest.raises(UsageError, match=rf"benchmark\.input needs {missing}: without") as caught:
        opened(**where, input=given)
    one_line(caught.value)


def test_everything_that_is_missing_is_said_at_once(tree: Tree) -> None:
    with pytest.raises(
        UsageError, match=r"benchmark.input needs size, mean, std, classes: without"
    ):
        opened(unlabelled=tree())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"mean": [0.5, 0.5], "std": [0.5, 0.5]}, "mean has 2 values; give one per channel"),
        ({"mean": [0.5] * 4, "std": [0.5] * 4}, "mean has 4 values; give one per channel"),
        ({"std": [0.5]}, "input std has 1 values for 3 channels"),
        ({"channels": 1}, "input mean has 3 values for 1 channels"),
        ({"class_names": ["a", "b"]}, "2 class_names for 7 classes"),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(
    change: dict[str, Any], problem: str, one_line: Callable[[BaseException], str]
) -> None:
    with pytest.raises(UsageError, match=problem) as caught:
        opened(input={**DECLARED, **change})
    one_line(caught.value)
