"""An exported student is that of the run: read back by what others would read it with."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file

from dfkd_tune.benchmarks import get_benchmark
from dfkd_tune.classifiers import NetworkConfig, file_sha256
from dfkd_tune.errors import DfkdTuneError, RunFolderError, TeacherError, UsageError
from dfkd_tune.exports import FORMATS, ExportFormat, export_student, load_student
from dfkd_tune.exports._formats import Student
from dfkd_tune.records import RunFolder, write_json, write_record

from .conftest import CONVNET, select, trained

Make = Callable[..., RunFolder]
INPUTS = get_benchmark("digits").inputs


def images(count: int, seed: int = 7) -> torch.Tensor:
    return torch.randn(count, *INPUTS.shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "architecture", ["convnet", pytest.param("shufflenet_v2", marks=pytest.mark.long)]
)
def test_every_format_gives_the_logits_of_the_selected_student(
    make_run: Make, tmp_path: Path, architecture: str
) -> None:
    config = NetworkConfig(architecture=architecture, width=0.25)
    run = make_run(config)
    found = export_student(run.path, list(FORMATS), tmp_path / "out")
    assert found.trial == "t0001"
    assert {file.path.name for file in found.files} == {
        "student.safetensors", "student.pt2", "student.onnx",
    }  # fmt: skip
    assert all(file.sha256 == file_sha256(file.path) for file in found.files)
    assert all(0 <= file.difference < 1e-4 for file in found.files)
    # Another number of images than it was traced with.
    given, student = images(5), trained(config, seed=1)
    expected = student(given)
    assert not torch.allclose(expected, trained(config, seed=0)(given), atol=1e-2)
    assert torch.equal(load_student(found.folder)(given), expected)
    program = torch.export.load(found.folder / "student.pt2").module()
    assert torch.allclose(program(given), expected, atol=1e-5)
    onnx.checker.check_model(found.folder / "student.onnx", full_check=True)
    session = onnxruntime.InferenceSession(found.folder / "student.onnx")
    (logits,) = session.run(["logits"], {"images": given.numpy()})
    assert torch.allclose(torch.from_numpy(logits), expected, atol=1e-5)


def test_the_weights_are_those_of_the_run_byte_for_byte(make_run: Make, tmp_path: Path) -> None:
    run = make_run()
    found = export_student(run.path, ["safetensors"], tmp_path / "out")
    selection = run.selection()
    assert selection is not None
    assert found.files[0].sha256 == selection.student_sha256
    assert set(load_file(found.files[0].path)) == set(trained(CONVNET).state_dict())


def test_a_program_loads_without_this_project(make_run: Make, tmp_path: Path) -> None:
    export_student(make_run().path, ["torch"], tmp_path / "out")
    torch.save(images(3), tmp_path / "images.pt")
    script = """
import sys, torch
student = torch.export.load("out/student.pt2").module()
torch.save(student(torch.load("images.pt")), "logits.pt")
assert not any(name.startswith("dfkd_tune") for name in sys.modules)
"""
    # Not even to be found.
    command = [sys.executable, "-I", "-c", script]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=120)
    logits = torch.load(tmp_path / "logits.pt")
    assert torch.allclose(logits, trained(CONVNET, seed=1)(images(3)), atol=1e-5)


def test_the_description_says_what_the_student_takes(make_run: Make, tmp_path: Path) -> None:
    export_student(make_run().path, ["safetensors"], tmp_path / "out")
    told = json.loads((tmp_path / "out" / "student.json").read_text(encoding="utf-8"))
    assert (told["run"], told["trial"]) == ("run", "t0001")
    assert told["network"]["architecture"] == "convnet"
    assert told["inputs"]["mean"] == list(INPUTS.mean)
    assert told["class_names"][3] == "digit 3"
    (file,) = told["files"]
    assert told["files"][file]["sha256"] == told["weights_sha256"]


def test_the_best_complete_student_is_exported_while_none_is_selected(
    make_run: Make, tmp_path: Path
) -> None:
    run = make_run()
    run.selection_file.unlink()
    # Of equals, the earlier.
    assert export_student(run.path, ["safetensors"], tmp_path / "out").trial == "t0000"
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "the best complete one so far, none is selected yet" in card


def test_an_earlier_export_is_replaced_and_the_same_run_gives_the_same_bytes(
    make_run: Make, tmp_path: Path
) -> None:
    run, out = make_run(), tmp_path / "out"
    export_student(run.path, ["safetensors", "torch"], out)
    card = (out / "README.md").read_bytes()
    weights = (out / "student.safetensors").read_bytes()
    select(run, "t0000")
    export_student(run.path, ["safetensors"], out)
    assert {path.name for path in out.iterdir()} == {
        "README.md", "student.json", "student.safetensors",
    }  # fmt: skip
    assert (out / "student.safetensors").read_bytes() != weights
    assert (out / "README.md").read_bytes() != card
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    export_student(run.path, ["safetensors"], out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first


def test_a_file_with_other_logits_is_refused_and_nothing_is_written(
    make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It writes another student than it is given.
    other = Student(config=CONVNET, inputs=INPUTS, network=trained(CONVNET, seed=5))
    right = FORMATS["safetensors"]
    wrong = replace(right, write=lambda _, path: right.write(other, path))
    monkeypatch.setitem(FORMATS, "safetensors", wrong)  # type: ignore[arg-type]
    with pytest.raises(DfkdTuneError, match=r"student.safetensors gives other logits .* by up to"):
        export_student(make_run().path, ["safetensors"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("weights", "has changed since it was selected"),
        ("gone", "has lost the student of t0001"),
        ("comparison", "holds a comparison, in which nothing is chosen"),
        ("nothing", "has no complete trial yet"),
        ("inputs", "does not say what the student's input looks like"),
        ("network", "is of a network that this version does not know"),
    ],
)
def test_what_cannot_be_exported_is_said_in_a_line(
    make_run: Make, tmp_path: Path, damage: str, told: str
) -> None:
    run = make_run()
    trial = run.trial_folder("t0001")
    if damage == "weights":
        trial.student_weights.write_bytes(run.trial_folder("t0000").student_weights.read_bytes())
    elif damage == "gone":
        trial.student_weights.unlink()
    elif damage == "comparison":
        write_record(run.run_file, run.run().model_copy(update={"kind": "comparison"}))
        run.selection_file.unlink()
    elif damage == "nothing":
        run.selection_file.unlink()
        for each in run.trial_folders():
            each.set_status("failed")
    elif damage == "inputs":
        write_json(run.experiment_file, {"method": "cgdd"})
        run.teacher_card_file.unlink()
    else:
        configuration = {"student": {"architecture": "of_the_future"}}
        changed = trial.trial().model_copy(update={"configuration": configuration})
        write_record(trial.trial_file, changed)
    with pytest.raises(RunFolderError, match=told) as raised:
        export_student(run.path, ["safetensors"], tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_nothing_of_somebody_elses_is_replaced(make_run: Make, tmp_path: Path) -> None:
    run = make_run()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "README.md").write_text("mine")
    with pytest.raises(UsageError, match=r"holds other things, such as README.md; give a new"):
        export_student(run.path, ["safetensors"], mine)
    assert (mine / "README.md").read_text() == "mine"
    with pytest.raises(UsageError, match="is not a folder"):
        export_student(run.path, ["safetensors"], mine / "README.md")
    with pytest.raises(UsageError, match="lies in the run folder itself"):
        export_student(run.path, ["safetensors"], run.path / "report" / "student")


@pytest.mark.parametrize("name", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_named_before_anything_is_done(
    make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    run = make_run()
    monkeypatch.setitem(sys.modules, name, None)
    formats: list[ExportFormat] = ["safetensors", "onnx"]
    with pytest.raises(UsageError, match=rf"needs {name}, not installed here; pip install onnx "):
        export_student(run.path, formats, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_only_a_folder_of_an_export_is_loaded(make_run: Make, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no student.json of an exported student"):
        load_student(tmp_path)
    export_student(make_run().path, ["torch"], tmp_path / "out")
    with pytest.raises(TeacherError, match=r"student.safetensors does not exist"):
        load_student(tmp_path / "out")
