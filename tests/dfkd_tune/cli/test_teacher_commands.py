"""`teacher inspect` and `teacher train`: what they print, and what they take from a file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dfkd_tune.cli._main import run

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
    assert [shape[1:] for _name, shape in found["stages"]] == [[28, 28], [14, 14], [7, 7]]
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


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (("--size", 2), ("--size", "at least 4 pixels")),
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
        (("resnet8", "--size", 0), ("input shape (3, 0, 0)",)),
        (("resnet8", "--channels", 0), ("input shape (0, 32, 32)",)),
        (("resnet8", "--classes", 1), ("num_classes is 1",)),
        (("resnet8", "--width", 17), ("--width is 17",)),
        (("none.yaml",), ("none.yaml does not exist",)),
    ],
)
def test_inspect_refuses_wrong_input(
    command: Any, arguments: tuple[object, ...], parts: tuple[str, ...]
) -> None:
    refused(command("teacher", "inspect", *arguments), *parts)
