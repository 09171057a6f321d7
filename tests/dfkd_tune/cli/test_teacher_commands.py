"""`teacher inspect` and `teacher train`: what they print, and what they take from a file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from dfkd_tune.benchmarks import BenchmarkConfig, open_benchmark
from dfkd_tune.cli._main import run
from dfkd_tune.cli._target import read_target

Outcome = tuple[int, str, str]


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Run a command line; gives the exit code, and what it said on both streams."""

    def call(*args: object) -> Outcome:
        monkeypatch.setattr("sys.argv", ["dfkd-tune", *(str(arg) for arg in args)])
        code = run(debug=False)
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def succeeds(outcome: Outcome) -> str:
    assert outcome[0] == 0, outcome[2]
    return outcome[1]


def refused(outcome: Outcome, *parts: str) -> None:
    """One line, with these parts, and exit code 2."""
    code, _, text = outcome
    assert code == 2, text
    assert text.startswith("error: ")
    assert text.strip().count("\n") == 0, text
    for part in parts:
        assert part in text, text


def test_inspect_prints_stages_and_cost(command: Any) -> None:
    text = succeeds(command("teacher", "inspect", "resnet34", "--size", 32))
    assert "resnet34 x 1 on 3 x 32 x 32, 10 classes" in text
    for stage, shape in enumerate(("64 x 32 x 32", "128 x 16 x 16", "256 x 8 x 8", "512 x 4 x 4")):
        row = next(line for line in text.splitlines() if f"layer{stage + 1}" in line)
        assert row.split()[0] == str(stage)
        assert shape in row
    assert "penultimate vector: 512 numbers, the input of fc" in text
    assert "BatchNorm layers: 36, 8,512 channels" in text
    assert "parameters: 21,282,122" in text
    assert "method cgdd: can serve it as published" in text


def test_inspect_as_json(command: Any) -> None:
    options = ("--size", 28, "--channels", 1, "--classes", 7, "--width", 0.5, "--json")
    found = json.loads(succeeds(command("teacher", "inspect", "resnet8", *options)))
    assert found["stages"] == [
        {"name": f"stage{number}", "shape": {"channels": 8 * scale, "height": side, "width": side}}
        for number, scale, side in ((1, 1, 28), (2, 2, 14), (3, 4, 7))
    ]
    assert found["penultimate"] == {"name": "classifier", "size": 32}
    assert found["batch_norms"][0] == {"name": "bn", "channels": 8}
    assert found["methods"]["cgdd"] == "can serve it as published"
    assert found["parameters"] > 0


def test_inspect_says_what_cannot_be_served(command: Any) -> None:
    text = succeeds(command("teacher", "inspect", "lenet5", "--size", 28, "--channels", 1))
    assert "BatchNorm layers: 0" in text
    (line,) = [line for line in text.splitlines() if line.startswith("method cgdd: ")]
    assert "its recipe matches BatchNorm statistics, which this network does not keep" in line
    assert "settings.generator_objective.bn_statistics.weight to 0" in line


def test_inspect_takes_network_and_input_from_a_file(
    command: Any, tiny: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(tiny))
    text = succeeds(command("teacher", "inspect", file))
    assert "convnet x 0.5 on 1 x 8 x 8, 10 classes" in text
    assert not (tmp_path / "runs").exists()


def test_train_takes_benchmark_and_teacher_from_a_file(
    command: Any, tiny: dict[str, Any], tmp_path: Path
) -> None:
    tiny["teacher"] = {"architecture": "convnet", "width": 0.125, "recipe": {"epochs": 2}}
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(tiny))
    storage = tmp_path / "runs"
    card = json.loads(succeeds(command("teacher", "train", file, "--storage", storage, "--json")))
    assert card["benchmark"] == "digits"
    assert (card["architecture"], card["width"]) == ("convnet", 0.125)
    assert card["recipe"]["epochs"] == 2
    assert set(card["scores"]) == {"train", "validation", "test"}
    weights = Path(card["weights"])
    assert weights.is_relative_to(storage)
    # Flags go before what the file says, and the rest of it stays.
    options = ("--epochs", 1, "--width", 0.25, "--storage", storage, "--json")
    changed = json.loads(succeeds(command("teacher", "train", file, *options)))
    assert changed["recipe"] == {**card["recipe"], "epochs": 1}
    assert (changed["architecture"], changed["width"]) == ("convnet", 0.25)
    # Weights without a card beside them: the network is the file's.
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes(weights.read_bytes())
    score = json.loads(succeeds(command("teacher", "evaluate", file, alone, "--json")))
    assert score == {"split": "validation", **card["scores"]["validation"]}


# ------------------------------------------------------------------ a person's own images

FAST = ("--arch", "convnet", "--width", 0.125, "--epochs", 1)


@pytest.fixture
def images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image_tree: Callable[[Path], Path]
) -> Path:
    """The current folder, with a folder of labelled images of 10 x 20 pixels: `birds`."""
    monkeypatch.setenv("DFKD_TUNE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    image_tree(tmp_path / "here" / "birds")
    return tmp_path / "here"


def test_train_and_evaluate_take_a_folder(command: Any, images: Path) -> None:
    arguments = ("birds", "--size", 8)
    card = json.loads(succeeds(command("teacher", "train", *arguments, *FAST, "--json")))
    assert card["benchmark"] == "birds"
    assert card["inputs"]["num_classes"] == 2
    assert (card["inputs"]["channels"], card["inputs"]["height"]) == (3, 8)
    weights = card["weights"]
    score = json.loads(succeeds(command("teacher", "evaluate", *arguments, weights, "--json")))
    assert score == {"split": "validation", **card["scores"]["validation"]}
    squash = (*arguments, *FAST, "--resize", "squash", "--json")
    squashed = json.loads(succeeds(command("teacher", "train", *squash)))
    assert squashed["data_hash"] != card["data_hash"]


def test_train_takes_an_npz(command: Any, images: Path) -> None:
    random = np.random.default_rng(0)
    content = {
        f"{split}_{key}": value
        for split in ("train", "test")
        for key, value in (
            ("images", random.integers(0, 256, (20, 8, 8), dtype=np.uint8)),
            ("labels", np.arange(20) % 2),
        )
    }
    np.savez(images / "blood cells.NPZ.npz", **content)  # type: ignore[arg-type]
    text = succeeds(command("teacher", "train", "blood cells.NPZ.npz", *FAST, "--json"))
    card = json.loads(text)
    assert card["benchmark"] == "blood-cells.NPZ"
    assert (card["inputs"]["channels"], card["inputs"]["width"]) == (1, 8)


@pytest.mark.parametrize(
    ("folder", "target", "name"),
    [
        ("digits", "./digits", "own-digits"),
        ("digits", "digits/", "own-digits"),
        ("cifar10", "../here/cifar10", "own-cifar10"),
        ("My birds (2)", "My birds (2)", "My-birds-2"),
        ("_birds.yaml", "_birds.yaml", "birds.yaml"),
        ("鳥", "鳥", "own"),
    ],
)
def test_a_benchmark_is_named_like_its_folder(
    images: Path, folder: str, target: str, name: str
) -> None:
    (images / "birds").rename(images / folder)
    config, teacher = read_target(target, None, 8, "squash")
    assert config.name == name
    assert config.absolute().labelled is not None
    assert config.input.size == 8
    assert config.resize == "squash"
    assert teacher == {}
    assert open_benchmark(config).counts == {"train": 18, "validation": 2, "test": 4}


def test_the_name_of_a_benchmark_goes_before_a_folder(images: Path) -> None:
    (images / "birds").rename(images / "digits")
    config, _ = read_target("digits", None, None)
    assert config == BenchmarkConfig(name="digits")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("birds",), ("--size is missing: birds holds image files", "such as --size 64")),
        (("birds", "--size", 2), ("--size is 2: give at least 4 pixels",)),
        (("birds", "--size", 8, "--root", "x"), ("--root is for a benchmark of ours", "birds")),
        (("birds", "--size", 8, "--download"), ("--download: 'birds' is no benchmark of ours",)),
        (("birds", "--size", 8, "--resize", "fit"), ("--resize is fit", "'crop' or 'squash'")),
        (("bird", "--size", 8), ("no benchmark 'bird'", "no folder of that name", "Known: ")),
        (("", "--size", 8), ("no benchmark ''",)),
    ],
)
def test_targets_that_do_not_suit_are_refused(
    command: Any, images: Path, arguments: tuple[object, ...], parts: tuple[str, ...]
) -> None:
    refused(command("teacher", "train", *arguments), *parts)
    assert [path.name for path in images.iterdir()] == ["birds"], "nothing is written"


@pytest.mark.parametrize(
    ("target", "part"),
    [
        ("./bird", "bird does not exist; check the path"),
        ("~nobody/birds", "~nobody/birds does not exist; check the path"),
        ("bird.npz", "bird.npz does not exist; check the path"),
        ("birds/train", "has no folder 'train' (it has: ant, bee)"),
        ("birds/train/ant/0.png", "0.png is a file; give a folder of images"),
    ],
)
def test_images_that_are_not_there_are_refused(
    command: Any, images: Path, target: str, part: str
) -> None:
    code, _, text = command("teacher", "evaluate", target, "weights.safetensors", "--size", 8)
    assert code == 1, text
    assert text.strip().count("\n") == 0, text
    assert part in text


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (("--size", 2), ("--size is 2: give at least 4 pixels",)),
        (("--size", -1), ("--size is -1: give at least 4 pixels",)),
        (("--resize", "stretch"), ("--resize is stretch", "'crop' or 'squash'")),
        (("--size", "big"), ("'--size'", "integer")),
        (("--schedule", "linear"), ("--schedule is linear", "'one_cycle', 'cosine' or 'step'")),
        (("--precision", "float8"), ("--precision is float8", "'auto'")),
        (("--batch-size", 1), ("--batch-size is 1",)),
        (("--epochs", 0), ("--epochs is 0",)),
        (("--learning-rate", -1), ("--learning-rate is -1",)),
        (("--arch", "convnett"), ("no network 'convnett'", "'convnet'")),
        (("--width", 0), ("--width is 0",)),
    ],
)
def test_train_refuses_wrong_flags(
    command: Any, tmp_path: Path, flags: tuple[object, ...], parts: tuple[str, ...]
) -> None:
    storage = tmp_path / "runs"
    refused(command("teacher", "train", "digits", *flags, "--storage", storage), *parts)
    assert not storage.exists(), "nothing is written"


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("resnet43",), ("no network 'resnet43'", "'resnet34'")),
        (("resnet8", "--size", 0), ("--size is 0: give at least 4 pixels",)),
        (("resnet8", "--size", -1), ("--size is -1: give at least 4 pixels",)),
        (("resnet8", "--size", "big"), ("'--size'", "integer")),
        (("resnet8", "--channels", 0), ("--channels is 0", "1 or 3")),
        (("resnet8", "--channels", -1), ("--channels is -1", "1 or 3")),
        (("resnet8", "--channels", 2), ("--channels is 2", "1 or 3")),
        (("resnet8", "--classes", 0), ("--classes is 0", "greater than or equal to 2")),
        (("resnet8", "--classes", -1), ("--classes is -1", "greater than or equal to 2")),
        (("resnet8", "--classes", 1), ("--classes is 1", "greater than or equal to 2")),
        (("resnet8", "--width", 17), ("--width is 17",)),
        (("none.yaml",), ("none.yaml does not exist",)),
    ],
)
def test_inspect_refuses_wrong_input(
    command: Any, arguments: tuple[object, ...], parts: tuple[str, ...]
) -> None:
    refused(command("teacher", "inspect", *arguments), *parts)
