"""Bad input gets one clear line and an exit code, never a traceback."""

import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from complete_trials import add_complete_trial, network
from run_folders import add_epochs, empty_run

from dfkd_tune.benchmarks import get_benchmark
from dfkd_tune.classifiers import NetworkConfig, build_classifier, save_weights
from dfkd_tune.cli._main import run

Outcome = tuple[int, str]


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Run a command line; gives the exit code and what it said on standard error."""

    def call(*args: object, debug: bool = False) -> Outcome:
        monkeypatch.setattr("sys.argv", ["dfkd-tune", *(str(arg) for arg in args)])
        code = run(debug)
        return code, capsys.readouterr().err

    return call


@pytest.fixture
def experiment(tiny: dict[str, Any], storage: Path, tmp_path: Path) -> Callable[..., Path]:
    """Write the tiny experiment, with changes, to a file."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump({**tiny, "storage": str(storage), **changes}))
        return path

    return write


def says(outcome: Outcome, code: int, *parts: str) -> None:
    """One line, with these parts, and this exit code."""
    assert outcome[0] == code, outcome[1]
    text = outcome[1].strip()
    assert text.startswith("error: ")
    assert "\n" not in text, text
    assert "Traceback" not in text
    for part in parts:
        assert part in text, text


def test_unknown_key(command: Any, experiment: Any) -> None:
    says(command("sweep", experiment(serach={})), 2, "serach: unknown key", "'search'")


def test_wrong_type(command: Any, experiment: Any) -> None:
    path = experiment(search={"trials": "many"})
    says(command("sweep", path), 2, "search.trials", "'many'")


def test_names_that_do_not_exist(command: Any, experiment: Any) -> None:
    says(command("sweep", experiment(benchmark="mnist5")), 2, "no benchmark 'mnist5'", "digits")
    says(command("sweep", experiment(method="cggd")), 2, "no method 'cggd'", "'cgdd'")
    path = experiment(settings={"student": {"architecture": "resnet9"}})
    says(command("sweep", path), 2, "no network 'resnet9'", "'resnet8'")
    says(command("teacher", "train", "digit"), 2, "no benchmark 'digit'", "'digits'")
    says(command("teacher", "train", "digits", "--arch", "resne8"), 2, "'resnet8'")


def test_missing_experiment(command: Any, tmp_path: Path) -> None:
    says(command("sweep", tmp_path / "none.yaml"), 2, "none.yaml does not exist")


def test_flags_that_are_wrong(command: Any, experiment: Any) -> None:
    path = experiment()
    says(command("sweep", path, "--trials", "0"), 2, "search.trials", "got 0")
    says(command("sweep", path, "--trials", "x"), 2, "--trials")
    says(command("sweep", path, "--time-budget", "soon"), 2, "search.time_budget", "'soon'")
    says(command("sweep", path, "--gpus-per-trial", "one"), 2, "--gpus-per-trial", "'one'")
    says(command("sweep", path, "--resume", "perhaps"), 2, "perhaps")
    says(command("sweep", path, "--nonsense"), 2, "--nonsense")


def _weights(tmp_path: Path, network: str = "convnet", width: float = 0.5) -> Path:
    config = NetworkConfig(architecture=network, width=width)
    path = tmp_path / "teacher.safetensors"
    save_weights(path, build_classifier(config, get_benchmark("digits").inputs, 0))
    return path


def test_teacher_files(command: Any, experiment: Any, tmp_path: Path) -> None:
    def teacher(path: Path) -> Outcome:
        given = {"architecture": "convnet", "width": 0.5, "weights": str(path)}
        outcome: Outcome = command("sweep", experiment(teacher=given))
        return outcome

    says(teacher(tmp_path / "none.safetensors"), 1, "none.safetensors does not exist")

    good = _weights(tmp_path)
    truncated = tmp_path / "truncated.safetensors"
    truncated.write_bytes(good.read_bytes()[:-1000])
    says(teacher(truncated), 1, "truncated.safetensors is damaged")

    touched = tmp_path / "touched"
    evil = tmp_path / "evil.pt"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (touched,)

    torch.save(Evil(), evil)
    says(teacher(evil), 1, "evil.pt", "could run code")
    plain = tmp_path / "plain.pt"
    plain.write_bytes(pickle.dumps(Evil()))
    says(teacher(plain), 1, "plain.pt")
    assert not touched.exists(), "the pickle must not have run"

    state = torch.load(_as_pt(good, tmp_path), weights_only=True)
    state["classifier.weight"] = state["classifier.weight"][:7]
    state["classifier.bias"] = state["classifier.bias"][:7]
    other = tmp_path / "seven.pt"
    torch.save(state, other)
    says(teacher(other), 1, "seven.pt is for 7 classes, the benchmark has 10")

    says(teacher(_weights(tmp_path, "resnet8")), 1, "does not fit the network")


def _as_pt(path: Path, folder: Path) -> Path:
    from safetensors.torch import load_file

    target = folder / "good.pt"
    torch.save(load_file(path), target)
    return target


def test_storage_that_cannot_be_written(command: Any, experiment: Any, tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    path = experiment(storage=str(blocker / "runs"))
    says(command("sweep", path), 1, "cannot write to the storage", "--storage")
    says(command("teacher", "train", "digits", "--storage", blocker / "runs"), 1, "cannot write")


def test_more_than_the_machine_has(command: Any, experiment: Any, storage: Path) -> None:
    path = experiment()
    says(command("sweep", path, "--cpus-per-trial", "999"), 1, "999 CPUs per trial", "lower")
    says(command("sweep", path, "--gpus-per-trial", "99"), 1, "99 GPUs per trial", "lower")
    says(command("sweep", path, "--gpus-per-trial", "1.5"), 2, "1.5", "whole number")
    says(command("sweep", path, "--gpus-per-trial", "-1"), 2, "got -1", "whole number")
    assert not (storage / "tiny").exists(), "nothing is written before the check"


def test_settings_for_a_gpu_where_trials_get_none(
    command: Any, experiment: Any, tiny: dict[str, Any], storage: Path
) -> None:
    settings = {**tiny["settings"], "cuda_graphs": True}
    path = experiment(settings=settings, resources={"gpus_per_trial": 0})
    for words in (["sweep", path], ["sweep", path, "--dry-run"], ["distill", path]):
        says(command(*words), 2, "settings.cuda_graphs", "needs a CUDA GPU", "set it to false")
    assert list(storage.glob("tiny*")) == [path], "nothing is written before the check"


def _foreign_run(storage: Path, identity: str = "other") -> None:
    run_folder = storage / "tiny"
    run_folder.mkdir()
    (run_folder / "run.json").write_text(
        json.dumps(
            {
                "schema_version": 1,
                "kind": "sweep",
                "name": "tiny",
                "state": "complete",
                "experiment_hash": identity,
                "created": "2026-01-01T00:00:00.000+00:00",
                "updated": "2026-01-01T00:00:00.000+00:00",
                "session": "s",
            }
        )
    )


def test_run_folders_that_do_not_suit(command: Any, experiment: Any, storage: Path) -> None:
    path = experiment()
    says(command("sweep", path, "--resume", "must"), 1, "no run in", "to resume")
    _foreign_run(storage)
    says(command("sweep", path), 1, "a run of another experiment", "--name")
    says(command("sweep", path, "--resume", "never"), 1, "--resume never")
    (storage / "tiny" / "run.json").unlink()
    (storage / "tiny" / "letter.txt").write_text("dear")
    says(command("sweep", path), 1, "is not empty and no run folder")
    assert (storage / "tiny" / "letter.txt").read_text() == "dear"


@pytest.mark.parametrize("verb", ["report", "status", "distill"])
def test_folders_that_are_no_run(command: Any, tmp_path: Path, verb: str) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    says(command(verb, empty), 1, "is not a run folder")


@pytest.mark.parametrize("verb", ["report", "status"])
def test_folders_that_are_not_there(command: Any, tmp_path: Path, verb: str) -> None:
    says(command(verb, tmp_path / "none"), 1, "none")


def test_a_damaged_run_file(command: Any, storage: Path) -> None:
    _foreign_run(storage)
    (storage / "tiny" / "run.json").write_bytes(struct.pack("<d", 1.5))
    says(command("report", storage / "tiny"), 1, "run.json is damaged")


def test_a_comparison_of_one_run(command: Any, tmp_path: Path) -> None:
    run = empty_run(tmp_path / "run").path
    says(command("report", run, "--compare"), 2, "give two run folders or more")
    says(command("report", run, run), 2, "needs an output folder")


def test_a_cluster_that_is_not_there(command: Any, experiment: Any) -> None:
    address = "127.0.0.1:9"
    says(command("sweep", experiment(), "--address", address), 1, "cannot reach", address)


def test_distill_flags(command: Any, experiment: Any) -> None:
    says(command("distill", experiment(), "--trial", "t0001"), 2, "--trial goes with the folder")


def test_simulate_without_a_curve(command: Any, experiment: Any, tmp_path: Path) -> None:
    run = empty_run(tmp_path / "run")
    folder = add_complete_trial(run, network(0), steps=2)
    add_epochs(folder, [0.5, 0.75], 1)
    free = experiment(search={"objective": "data_free"})
    outcome = command("simulate", free, "--curves", run.path)
    says(outcome, 2, str(run.path), "no complete trial with agreement", "audit set", "no curve")


def test_debug_shows_the_traceback(command: Any, tmp_path: Path) -> None:
    code, text = command("report", tmp_path, debug=True)
    assert code == 1
    assert "Traceback" in text


def test_a_cost_and_what_does_not_go_with_it(command: Any, experiment: Any, tmp_path: Path) -> None:
    path = experiment(search={"trials": 2})
    says(command("sweep", path, "--dry-run", "--against", "size"), 2, "--against", "'size'", "macs")
    asha = experiment(search={"scheduler": {"name": "asha"}})
    outcome = command("sweep", asha, "--dry-run", "--against", "parameters")
    says(outcome, 2, "search.scheduler.name: asha", "set it to none")
    weighed = experiment(search={"against": "parameters"})
    says(command("simulate", weighed, "--curves", tmp_path), 2, "search.against", "take it out")


def test_what_to_export_is_asked_for(command: Any, tmp_path: Path) -> None:
    run, out = empty_run(tmp_path / "run").path, tmp_path / "out"
    says(command("export", run), 2, "--format is missing; give safetensors, onnx or torch")
    says(command("export", run, "--format", "onnx"), 2, "--output is missing")
    both = ("--tensorboard", out, "--format", "torch", "--output", out)
    says(command("export", run, *both), 2, "--tensorboard DIR stands for --format tensorboard")
    says(
        command("export", run, "--format", "torch,tensorboard", "--output", out),
        2,
        "--format tensorboard writes no student",
    )
    says(
        command("export", run, "--format", "torch,onx", "--output", out),
        2,
        "no format 'onx'; did you mean 'onnx'?",
    )
    says(
        command("export", run, "--format", "torch", "--output", out),
        1,
        "has no complete trial yet, and so no student to export",
    )
    assert not out.exists()


def test_an_unknown_schema_is_said(command: Any) -> None:
    says(command("show", "schema", "trials"), 2, "no schema 'trials'; Known: summary")
