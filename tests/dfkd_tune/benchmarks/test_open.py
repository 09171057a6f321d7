"""From a configuration to a benchmark of ours, and which configurations there can be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from dfkd_tune.benchmarks import (
    BENCHMARKS,
    Benchmark,
    BenchmarkConfig,
    data_folder,
    get_benchmark,
    open_benchmark,
)
from dfkd_tune.errors import DataError, UnknownNameError, UsageError

Tree = Callable[..., Path]


def opened(**raw: Any) -> Benchmark:
    return open_benchmark(BenchmarkConfig.model_validate({"name": "own", **raw}))


def digits_tree(root: Path, classes: int = 10, size: int = 32) -> Path:
    """An ImageFolder tree with as many classes as CIFAR-10, each of one colour."""
    for split, count in (("train", 10), ("test", 2)):
        for number in range(classes):
            folder = root / split / f"class_{number}"
            folder.mkdir(parents=True)
            for index in range(count):
                colour = (20 * number, index, 99 if split == "train" else 200)
                Image.new("RGB", (size, size), colour).save(folder / f"{index}.png")
    return root


# ------------------------------------------------------------------ ours


def test_a_tree_of_images_serves_as_one_of_ours(tmp_path: Path) -> None:
    root = digits_tree(tmp_path / "cifar")
    benchmark = opened(name="cifar10", root=root)
    definition = BENCHMARKS["cifar10"]
    assert benchmark.data == "labelled"
    assert benchmark.title == definition.title
    assert benchmark.teacher == definition.teacher
    assert benchmark.teacher_recipe == definition.teacher_recipe
    assert benchmark.inputs.mean == definition.mean
    assert benchmark.declared_normalisation
    assert benchmark.class_names == tuple(f"class_{number}" for number in range(10))
    assert benchmark.counts == {"train": 90, "validation": 10, "test": 20}
    test = benchmark.load("test")
    assert test.images.shape == (20, 3, 32, 32)
    assert test.images[:, 0, 0, 0].tolist() == [20 * label for label in test.labels.tolist()]
    assert test.images[:, 2].unique().tolist() == [200]


def test_another_number_of_classes_is_refused(
    tmp_path: Path, one_line: Callable[[BaseException], str]
) -> None:
    root = digits_tree(tmp_path / "part", classes=4)
    with pytest.raises(DataError, match="has 4 classes, and 'cifar10' has 10; give a part") as e:
        opened(name="cifar10", root=root)
    assert str(root) in one_line(e.value)
    assert opened(labelled=root, input={"size": 32}).inputs.num_classes == 4


def test_the_size_may_be_another(tmp_path: Path) -> None:
    root = digits_tree(tmp_path / "cifar")
    benchmark = opened(name="cifar10", root=root, input={"size": [16, 24]})
    assert benchmark.inputs.shape == (3, 16, 24)
    assert benchmark.load("validation").images.shape == (10, 3, 16, 24)


@pytest.mark.parametrize(("size", "stored"), [(None, 256), (112, 128), (56, 64)])
def test_benchmarks_of_224_pixels_are_stored_with_a_margin(
    tmp_path: Path, size: int | None, stored: int
) -> None:
    for split in ("train", "test"):
        for number in range(100):
            folder = tmp_path / "aircraft" / split / f"{number:03}"
            folder.mkdir(parents=True)
            for index in range(4):
                Image.new("RGB", (20, 15)).save(folder / f"{index}.png")
    given = {} if size is None else {"size": size}
    benchmark = opened(
        name="aircraft", root=tmp_path / "aircraft", input=given, validation_fraction=0.25
    )
    assert benchmark.inputs.shape == (3, size or 224, size or 224)
    assert benchmark.images("validation").shape == (100, 3, stored, stored)


def test_the_folder_is_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = digits_tree(tmp_path / "data" / "cifar10")
    monkeypatch.chdir(tmp_path)
    assert data_folder(BenchmarkConfig(name="cifar10")) == root
    assert get_benchmark("cifar10").counts["test"] == 20
    open_benchmark.cache_clear()
    monkeypatch.chdir(tmp_path / "data")
    monkeypatch.setenv("DFKD_TUNE_DATA", str(tmp_path / "data"))
    assert get_benchmark("cifar10").counts["test"] == 20


def test_a_relative_root_is_made_absolute_for_other_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits_tree(tmp_path / "here")
    monkeypatch.chdir(tmp_path)
    config = opened(name="cifar10", root="here").config
    assert config.root == tmp_path / "here"
    assert BenchmarkConfig.model_validate_json(config.model_dump_json()) == config


def test_a_missing_folder_is_answered_with_the_layout(
    tmp_path: Path, one_line: Callable[[BaseException], str]
) -> None:
    for name, definition in BENCHMARKS.items():
        if definition.read is None:
            continue
        with pytest.raises(DataError, match=f"the images of '{name}' are not in ") as caught:
            opened(name=name, root=tmp_path / "none")
        message = one_line(caught.value)
        assert str(tmp_path / "none") in message
        assert definition.layout in message
        with pytest.raises(DataError) as caught:
            opened(name=name, root=tmp_path)
        assert str(tmp_path) in one_line(caught.value)


@pytest.mark.parametrize("key", ["labelled", "unlabelled"])
def test_ours_takes_a_root(tmp_path: Path, key: str) -> None:
    with pytest.raises(UsageError, match=rf"benchmark\.{key} is given, and 'cifar10' is a bench"):
        opened(name="cifar10", **{key: tmp_path})


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"classes": 9}, r"benchmark\.input\.classes is 9, and 'digits' has 10 classes"),
        ({"class_names": ["a"] * 10}, r"class_names are given, and 'digits' has its own"),
        ({"mean": [0.5, 0.5]}, "input mean has 2 values for 1 channels"),
        ({"std": [0.0]}, "input std .* must be positive"),
        ({"channels": 3}, "input mean has 1 values for 3 channels"),
    ],
)
def test_what_does_not_suit_ours_is_refused(
    given: dict[str, Any], problem: str, one_line: Callable[[BaseException], str]
) -> None:
    with pytest.raises(UsageError, match=problem) as caught:
        opened(name="digits", input=given)
    one_line(caught.value)


def test_digits_take_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"benchmark.root is given, and 'digits' needs no folder"):
        opened(name="digits", root=tmp_path)


def test_a_folder_without_rights_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_line: Callable[[BaseException], str]
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    # The rights themselves bind no superuser.
    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(DataError, match=r"Permission denied.*check its rights") as caught:
        opened(labelled=tmp_path / "images", input={"size": 4})
    assert str(tmp_path / "images") in one_line(caught.value)


def test_digits_may_be_seen_in_colour_and_larger() -> None:
    given = {"channels": 3, "size": 16, "mean": [0.3] * 3, "std": [0.4] * 3, "classes": 10}
    benchmark = opened(name="digits", input=given)
    images = benchmark.load("test").images
    assert images.shape == (359, 3, 16, 16)
    assert torch.equal(images[:, 0], images[:, 2])


# ------------------------------------------------------------------ the configuration itself


def test_a_name_alone_is_a_configuration() -> None:
    assert BenchmarkConfig.model_validate("digits") == BenchmarkConfig(name="digits")


def test_an_unknown_name_is_answered_with_what_was_meant(tmp_path: Path) -> None:
    for raw in ({}, {"root": tmp_path}):
        with pytest.raises(
            UnknownNameError, match="no benchmark 'cifar-10'; did you mean 'cifar10"
        ):
            opened(name="cifar-10", **raw)


@pytest.mark.parametrize(
    "raw",
    [
        {"root": "a", "labelled": "b"},
        {"labelled": "a", "unlabelled": "b"},
        {"name": "../up"},
        {"name": ""},
        {"input": {"size": 3}},
        {"input": {"size": [32, 2]}},
        {"input": {"channels": 2}},
        {"input": {"classes": 1}},
        {"input": {"colours": 3}},
        {"resize": "stretch"},
        {"validation_fraction": 0},
        {"validation_fraction": 1},
    ],
)
def test_what_can_never_be_right_is_no_configuration(raw: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        BenchmarkConfig.model_validate(raw)


def test_a_benchmark_is_opened_once(tree: Tree) -> None:
    config = BenchmarkConfig.model_validate({"labelled": tree(), "input": {"size": 4}})
    assert open_benchmark(config) is open_benchmark(config)
