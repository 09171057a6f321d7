"""What the quick commands print."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from run_folders import empty_run

from dfkd_tune.benchmarks import BENCHMARKS
from dfkd_tune.classifiers import CLASSIFIERS
from dfkd_tune.cli import _listing
from dfkd_tune.cli._main import run
from dfkd_tune.distillation import METHODS
from dfkd_tune.records import RunFolder
from dfkd_tune.sweeps import first_difference
from search_spaces import SPACES


@pytest.fixture
def output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run a command line that must succeed; gives what it printed on standard output."""

    def call(*args: object) -> str:
        monkeypatch.setattr("sys.argv", ["dfkd-tune", *(str(arg) for arg in args)])
        code = run(debug=False)
        said = capsys.readouterr()
        assert code == 0, said.err
        return said.out

    return call


@pytest.mark.parametrize(
    ("kind", "key", "expected"),
    [
        ("methods", "method", set(METHODS)),
        ("benchmarks", "benchmark", set(BENCHMARKS)),
        ("students", "student", set(CLASSIFIERS)),
        ("spaces", "space", set(SPACES)),
        ("samplers", "sampler", {"tpe", "gp", "cmaes", "nsga2", "random", "grid"}),
    ],
)
def test_lists(
    output: Any, monkeypatch: pytest.MonkeyPatch, kind: str, key: str, expected: set[str]
) -> None:
    # Every network is built to be listed: once is enough for both.
    monkeypatch.setattr(_listing, "_student_row", functools.cache(_listing._student_row))
    rows = json.loads(output("list", kind, "--json"))
    assert {row[key] for row in rows} == expected
    text = output("list", kind)
    assert all(name in text for name in expected)


@pytest.mark.parametrize("name", sorted(SPACES))
def test_a_space_is_shown_whole(output: Any, name: str) -> None:
    rows = json.loads(output("show", "space", name, "--json"))
    assert [row["searches"] for row in rows] == [d.name for d in SPACES[name].dimensions]
    assert all(row["source"] and row["range"] and row["scale"] and row["recipe"] for row in rows)
    conditions = {row["searches"]: row["only where"] for row in rows}
    assert all(
        bool(conditions[d.name]) is bool(d.condition or d.method) for d in SPACES[name].dimensions
    )


def test_a_space_shows_what_the_recipe_has(output: Any) -> None:
    rows = {r["searches"]: r for r in json.loads(output("show", "space", "dfkd_fgvc", "--json"))}
    rate = rows["student_optimiser.learning_rate"]
    assert (rate["recipe"], rate["scale"]) == ("0.01", "logarithmic")
    lines = output("show", "space", "dfkd_fgvc").splitlines()
    assert any(line.startswith("student_optimiser.learning_rate ") for line in lines)


def test_generators_are_listed_with_their_conditionings(output: Any) -> None:
    rows = json.loads(output("list", "generators", "--json"))
    names = {row["generator"] for row in rows}
    assert {"upsample", "dcgan", "embed_concat", "conditional_bn"} <= names


def test_the_schema_of_the_summary_is_printed(output: Any) -> None:
    schema = json.loads(output("show", "schema", "summary"))
    assert schema["title"] == "summary.json of a dfkd-tune report"


def test_the_records_are_exported_by_either_flag(output: Any, tmp_path: Path) -> None:
    run = empty_run(tmp_path / "run")
    told = json.loads(output("export", run.path, "--tensorboard", tmp_path / "a", "--json"))
    assert told == {"folder": str(tmp_path / "a" / "run"), "trials": 0, "epochs": 0}
    arguments = ("--format", "tensorboard", "--output", tmp_path / "b")
    assert output("export", run.path, *arguments).startswith("0 epochs of 0 trials: tensorboard ")


def test_version(output: Any) -> None:
    from dfkd_tune import __version__

    assert output("--version").strip() == f"dfkd-tune {__version__}"


def test_a_dry_run_writes_nothing(output: Any, tiny: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump({**tiny, "storage": str(tmp_path / "runs")}))
    plan = json.loads(output("sweep", file, "--dry-run", "--json", "--trials", "7"))
    assert plan["trials"] == 7
    assert "36 student steps in 6 epochs; may be stopped after 6" in plan["a trial"]
    assert "weighed against" not in plan
    assert "if every trial trains its whole budget (7 times 6 epochs, " in plan["duration"]
    assert "if asha stops trials" in plan["duration"]
    assert "timed now" in plan["duration is from"]
    assert "in the end" in plan["disk"]
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_says_what_is_weighed(output: Any, tiny: dict[str, Any], tmp_path: Path) -> None:
    del tiny["search"]["scheduler"]
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump({**tiny, "storage": str(tmp_path / "runs")}))
    plan = json.loads(output("sweep", file, "--dry-run", "--json", "--against", "macs"))
    assert plan["weighed against"] == "MACs"
    assert plan["a trial"] == "36 student steps in 6 epochs"


def test_a_dry_run_measures_images_of_ones_own_and_writes_nothing(
    output: Any,
    tiny: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    image_tree: Callable[[Path], Path],
) -> None:
    monkeypatch.setenv("DFKD_TUNE_CACHE", str(tmp_path / "cache"))
    tree = image_tree(tmp_path / "birds")
    benchmark = {"name": "birds", "labelled": str(tree), "input": {"size": 8}}
    file = tmp_path / "tiny.yaml"
    changes = {"benchmark": benchmark, "storage": str(tmp_path / "runs")}
    file.write_text(yaml.safe_dump({**tiny, **changes}))
    before = sorted(tmp_path.rglob("*"))
    json.loads(output("sweep", file, "--dry-run", "--json"))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_teacher_is_trained_once_and_evaluated(output: Any, tmp_path: Path) -> None:
    arguments = (
        "teacher",
        "train",
        "digits",
        "--arch",
        "convnet",
        "--width",
        "0.25",
        "--epochs",
        "3",
        "--storage",
        tmp_path,
        "--json",
    )
    first = json.loads(output(*arguments))
    again = json.loads(output(*arguments))
    assert again == first, "found in the cache, card and all"
    score = json.loads(output("teacher", "evaluate", "digits", first["weights"], "--json"))
    assert score == {"split": "validation", **first["scores"]["validation"]}
    assert score["accuracy"] > 0.5
    assert set(first["scores"]) == {"train", "validation", "test"}
    text = output("teacher", "evaluate", "digits", first["weights"], "--split", "test")
    assert text.startswith(f"test: {100 * first['scores']['test']['accuracy']:.1f} %")


@pytest.mark.sweep
def test_from_sweep_to_distill(
    output: Any, tiny: dict[str, Any], storage: Path, ray_session: None
) -> None:
    # One trial after the other, in one process that has started once.
    tiny["resources"]["max_concurrent"] = 1
    file = storage / "tiny.yaml"
    file.write_text(yaml.safe_dump({**tiny, "storage": str(storage)}))
    done = json.loads(output("sweep", file, "--trials", "2", "--json"))
    assert done["state"] == "complete"
    assert done["finished"] == done["planned"] == 2
    assert 0 < done["relative_accuracy"] < 110
    assert Path(done["report"]).exists()
    assert json.loads(output("status", storage / "tiny", "--json"))["verdict"] == done["verdict"]
    assert done["verdict"] in output("status", storage / "tiny")
    again = json.loads(output("distill", storage / "tiny", "--json"))
    assert "digit for digit" in again["compared"]
    recipe = json.loads(output("distill", file, "--epochs", "2", "--json"))
    assert recipe["name"] == "tiny-recipe"
    assert recipe["selected"] is False
    selection = RunFolder(storage / "tiny").selection()
    assert selection is not None
    chosen = selection.trial
    best = storage / "tiny" / "report" / "best_config.yaml"
    output("distill", best, "--storage", storage, "--json")
    repeated = RunFolder(storage / f"tiny-{chosen}-recipe")
    assert first_difference(repeated, storage / "tiny" / "trials" / chosen) is None
    arguments = ("--format", "torch,safetensors", "--output", storage / "student", "--json")
    exported = json.loads(output("export", storage / "tiny", *arguments))
    assert exported["trial"] == chosen
    weights = exported["files"]["student.safetensors"]
    assert weights["sha256"] == selection.student_sha256
    both = json.loads(
        output(
            "report",
            storage / "tiny",
            storage / "tiny-recipe",
            "--output",
            storage / "all",
            "--json",
        )
    )
    assert Path(both["report"]).exists()


@pytest.mark.parametrize(
    "command", ["sweep", "extend", "baseline", "suite", "ablate", "compare", "confirm"]
)
def test_every_search_hears_of_the_cluster(output: Any, command: str) -> None:
    """Rich wraps the help, so the words are looked for without its frame."""
    assert "RAY_ADDRESS" in output(command, "--help")


@pytest.mark.sweep
def test_doctor_finds_this_machine_fit(output: Any, tmp_path: Path, ray_session: None) -> None:
    checks = json.loads(output("doctor", "--storage", tmp_path / "runs", "--json"))
    assert {c["check"] for c in checks} >= {"python", "torch", "ray", "storage", "memory", "gpu"}
    assert all(c["ok"] for c in checks)
    assert not (tmp_path / "runs").exists(), "it leaves nothing behind"
