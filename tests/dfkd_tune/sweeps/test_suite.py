"""A suite: its sweeps, what is laid over which, and one real run of two of them."""

import copy
import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dfkd_tune.benchmarks import get_benchmark
from dfkd_tune.classifiers import NetworkConfig, build_classifier, save_weights
from dfkd_tune.distillation import METHODS
from dfkd_tune.errors import ExperimentError
from dfkd_tune.records import RunFolder
from dfkd_tune.sweeps import resolve_suite


@pytest.fixture
def bare() -> dict[str, Any]:
    """A benchmark without images: the input of digits."""
    inputs = get_benchmark("digits").inputs
    return {
        "name": "bare",
        "input": {
            "size": 8,
            "channels": 1,
            "mean": list(inputs.mean),
            "std": list(inputs.std),
            "classes": 10,
        },
    }


@pytest.fixture
def raw(tiny: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """A suite of one tiny sweep."""
    common = {k: v for k, v in tiny.items() if k not in {"name", "benchmark", "method"}}
    return {
        "name": "both",
        "storage": str(tmp_path),
        "benchmarks": ["digits"],
        "methods": ["cgdd"],
        "common": common,
    }


def _weights(path: Path) -> Path:
    config = NetworkConfig(architecture="convnet", width=0.5)
    save_weights(path, build_classifier(config, get_benchmark("digits").inputs, 0))
    return path


def _teacher_from(file: Path) -> dict[str, Any]:
    return {"architecture": "convnet", "width": 0.5, "weights": str(file)}


def message(raw: dict[str, Any]) -> str:
    with pytest.raises(ExperimentError) as caught:
        resolve_suite(raw, "my.yaml")
    return str(caught.value)


def test_one_sweep_of_each_combination(
    raw: dict[str, Any],
    bare: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(METHODS, "second", dataclasses.replace(METHODS["cgdd"], name="second"))
    raw["benchmarks"] = ["digits", bare]
    raw["methods"] = ["cgdd", "second"]
    raw["students"] = [
        {"architecture": "convnet", "width": 0.25},
        {"architecture": "resnet8", "width": 0.5},
    ]
    del raw["common"]["space"]["ranges"]["student.architecture"]
    del raw["common"]["space"]["ranges"]["student.width"]
    file = _weights(tmp_path / "mine.safetensors")
    raw["changes"] = {"bare": {"teacher": _teacher_from(file)}}
    suite = resolve_suite(raw, "my.yaml")
    assert [member.name for member in suite.members] == [
        f"{benchmark}-{method}-{student}"
        for benchmark in ("digits", "bare")
        for method in ("cgdd", "second")
        for student in ("convnetx0.25", "resnet8x0.5")
    ]
    assert suite.folder == tmp_path / "both"
    assert suite.begun() == []
    assert not suite.folder.exists(), "nothing is written"
    for member in suite.members:
        benchmark, method, student = member.name.split("-")
        resolved = member.resolved
        assert resolved.benchmark.name == benchmark
        assert resolved.experiment.method == method
        architecture, width = student.split("x0")
        assert resolved.base.student.architecture == architecture
        assert resolved.base.student.width == float(f"0{width}")
        assert resolved.objective.name == ("val_real" if benchmark == "digits" else "data_free")
        # Fixed: no dimension of the student is searched.
        assert not [key for key in resolved.first_points[0] if key.startswith("student.")]
        assert member.run == tmp_path / "both" / member.name
        assert member.file == tmp_path / "both" / "experiments" / f"{member.name}.yaml"
        assert resolved.benchmark.config.name == benchmark


def test_without_students_they_are_searched(raw: dict[str, Any]) -> None:
    (member,) = resolve_suite(raw, "my.yaml").members
    assert member.name == "digits-cgdd"
    assert "student.width" in member.resolved.first_points[0]


def test_changes_are_laid_over_the_common(raw: dict[str, Any]) -> None:
    raw["students"] = [{"architecture": "convnet", "width": w} for w in (0.25, 0.5)]
    del raw["common"]["space"]["ranges"]["student.architecture"]
    del raw["common"]["space"]["ranges"]["student.width"]
    raw["changes"] = {
        "digits": {"search": {"trials": 9, "startup_trials": 3}},
        "digits-cgdd-convnetx0.5": {"search": {"trials": 11}, "resources": {"retries": 7}},
    }
    before = copy.deepcopy(raw)
    first, second = (m.resolved.experiment for m in resolve_suite(raw, "my.yaml").members)
    assert (first.search.trials, second.search.trials) == (9, 11)
    assert first.search.startup_trials == second.search.startup_trials == 3
    assert first.search.scheduler == second.search.scheduler
    assert second.resources.retries == 7
    assert first.resources.retries != 7
    assert raw == before, "what was given is left alone"


def test_a_change_may_name_the_input_of_a_benchmark(raw: dict[str, Any]) -> None:
    raw["changes"] = {"digits": {"benchmark": {"input": {"size": 12}}}}
    (member,) = resolve_suite(raw, "my.yaml").members
    assert member.resolved.benchmark.name == "digits"
    assert member.resolved.benchmark.inputs.shape == (1, 12, 12)


def test_paths_are_absolute_in_the_experiment_files(
    raw: dict[str, Any], bare: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    monkeypatch.chdir(tmp_path)
    images = get_benchmark("digits").load("test").images[:40].permute(0, 2, 3, 1).numpy()
    np.savez(tmp_path / "mine.npz", images=images)
    raw["benchmarks"] = [{**bare, "name": "mine", "unlabelled": "mine.npz"}]
    raw["common"]["teacher"] = _teacher_from(_weights(tmp_path / "mine.safetensors"))
    raw["storage"] = "runs"
    (member,) = resolve_suite(raw, "my.yaml").members
    assert member.raw["benchmark"]["unlabelled"] == str(tmp_path / "mine.npz")
    assert member.run == tmp_path / "runs" / "both" / "mine-cgdd"
    assert member.resolved.objective.name == "unlabelled_real"


def test_changes_of_nothing_are_named(raw: dict[str, Any]) -> None:
    raw["changes"] = {"digit": {"search": {"trials": 1}}, "digits": {}}
    text = message(raw)
    assert text.startswith("my.yaml: changes.digit: no benchmark or sweep of this suite")
    assert "known: digits, digits-cgdd" in text


def test_problems_of_all_sweeps_come_in_one_message(
    raw: dict[str, Any], bare: dict[str, Any]
) -> None:
    raw["benchmarks"] = ["digits", bare]
    raw["changes"] = {
        "digits": {"search": {"trails": 3}},
        "bare": {"resources": {"cpus_per_trial": 0}},
        "nothing": {},
    }
    text = message(raw)
    assert text.startswith("my.yaml has errors:\n")
    assert "changes.nothing: " in text
    assert "digits-cgdd" in text
    assert "search.trails: unknown key; did you mean 'trials'?" in text
    assert "bare-cgdd" in text
    assert "resources.cpus_per_trial: " in text


@pytest.mark.parametrize("key", ["name", "storage", "method", "benchmark"])
def test_what_the_suite_decides_is_refused_for_all(raw: dict[str, Any], key: str) -> None:
    raw["common"] = {**raw.get("common", {}), key: "x"}
    text = message(raw)
    assert text.startswith("my.yaml: common: ")
    assert f"'{key}' is decided by the suite; take it out" in text


@pytest.mark.parametrize("key", ["name", "storage", "method"])
def test_what_the_suite_decides_is_refused_for_one(raw: dict[str, Any], key: str) -> None:
    raw["changes"] = {"digits": {key: "x"}}
    text = message(raw)
    assert text.startswith("my.yaml: changes: ")
    assert f"'digits.{key}' is decided by the suite; take it out" in text


def test_changes_of_a_benchmark_say_what_differs(raw: dict[str, Any]) -> None:
    raw["changes"] = {"digits": {"benchmark": "cifar10"}}
    assert "'digits.benchmark' must be a mapping of what differs" in message(raw)


@pytest.mark.parametrize("twice", [{"benchmarks": ["digits"] * 2}, {"methods": ["cgdd"] * 2}])
def test_two_sweeps_of_one_name_are_refused(raw: dict[str, Any], twice: dict[str, Any]) -> None:
    text = message({**raw, "benchmarks": ["digits"], "changes": {}, **twice})
    assert "2 sweeps have only 1 different names" in text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"benchmarks": []}, "benchmarks: "),
        ({"methods": []}, "methods: "),
        ({"methods": ["cgd"]}, "no method 'cgd'; did you mean 'cgdd'?"),
        ({"benchmarks": ["digit"]}, "there is no benchmark 'digit'"),
        ({"benchmrks": ["digits"]}, "benchmrks: unknown key; did you mean 'benchmarks'?"),
        ({"name": "../escape"}, "name: "),
        ({"side_by_side": 0}, "side_by_side: "),
    ],
)
def test_a_wrong_value_is_named(
    raw: dict[str, Any], changes: dict[str, Any], expected: str
) -> None:
    text = message({**raw, **changes})
    assert text.startswith("my.yaml: "), "one problem is one line"
    assert expected in text
    assert "\n" not in text


# ------------------------------------------------------------------ a real one


def _run(file: Path) -> "subprocess.CompletedProcess[str]":
    call = "from dfkd_tune.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", call, "suite", str(file)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={**os.environ, "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.long
@pytest.mark.sweep
def test_two_sweeps_and_one_report(
    raw: dict[str, Any],
    bare: dict[str, Any],
    teacher_storage: Path,
    tmp_path: Path,
) -> None:
    (weights,) = teacher_storage.glob("teachers/*/weights.safetensors")
    raw["benchmarks"] = ["digits", bare]
    raw["common"]["teacher"] = _teacher_from(weights)
    raw["common"]["search"] |= {"trials": 2, "audit": {"images": 12, "steps": 2}}
    raw["common"]["settings"]["schedule"] |= {"epochs": 2, "iterations_per_epoch": 2}
    file = tmp_path / "both.yaml"
    file.write_text(yaml.safe_dump(raw))
    names = ("digits-cgdd", "bare-cgdd")

    done = _run(file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    runs = [RunFolder(tmp_path / "both" / name) for name in names]
    for run in runs:
        assert run.run().state == "complete"
        assert len(run.trial_folders()) == 2
        assert (run.report_path / "report.html").exists()
        assert (tmp_path / "both" / "experiments" / f"{run.path.name}.yaml").exists()
    kept = {path.parent.parent for path in tmp_path.rglob("*/teachers/*/card.json")}
    assert not kept, "a teacher is kept beside the suites, for other sweeps"
    assert len(list((tmp_path / "teachers").glob("*/card.json"))) == 2
    digits, alone = (run.trial_folders()[0].epochs()[-1].validation for run in runs)
    assert "accuracy" in digits
    assert set(alone) == {"audit_agreement", "audit_kl"}
    report = (tmp_path / "both" / "report" / "report.html").read_text()
    assert all(name in report for name in names)
