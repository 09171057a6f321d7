"""When the selected trial is looked at, and when anew."""

import io
from pathlib import Path

import pytest
from complete_trials import NETWORK, add_complete_trial, network
from disks import small_disk
from rich.console import Console
from run_folders import add_epochs, empty_run

from dfkd_tune.benchmarks import Benchmark, get_benchmark
from dfkd_tune.classifiers import file_sha256, save_weights
from dfkd_tune.records import RunFolder, TeacherCard, now, write_json, write_record
from dfkd_tune.sweeps._selected_images import ensure_selected_images
from dfkd_tune.sweeps._selection import select
from trainables import SEARCH_OBJECTIVES

QUIET = Console(file=io.StringIO())


def make_run(path: Path) -> RunFolder:
    """A run of the digits with one complete trial, and no selection yet."""
    run = empty_run(path)
    write_json(run.experiment_file, {"search": {"objective": "val_real"}})
    save_weights(run.teacher_weights, network(99))
    card = TeacherCard(
        benchmark="digits",
        architecture=NETWORK.architecture,
        width=NETWORK.width,
        parameters=1,
        source="file",
        origin="w",
        recipe_hash="r",
        weights_sha256=file_sha256(run.teacher_weights),
        data_hash="",
        scores={},
        seconds=0.0,
        created=now(),
    )
    write_record(run.teacher_card_file, card)
    add_trial(run, 0.5)
    return run


def add_trial(run: RunFolder, value: float) -> None:
    folder = add_complete_trial(run, network(len(run.trial_folders())))
    add_epochs(folder, [value], 1)


def choose(run: RunFolder, benchmark: Benchmark) -> None:
    select(run, benchmark, SEARCH_OBJECTIVES["val_real"], "s")


@pytest.fixture
def digits() -> Benchmark:
    return get_benchmark("digits")


def contents(run: RunFolder) -> dict[str, tuple[int, bytes]]:
    files = run.selected_path.iterdir()
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_once_for_a_student_and_anew_for_another(tmp_path: Path, digits: Benchmark) -> None:
    run = make_run(tmp_path / "run")
    ensure_selected_images(run, digits, QUIET)
    assert not run.selected_path.exists(), "nothing is selected yet"
    choose(run, digits)
    ensure_selected_images(run, digits, QUIET)
    first = contents(run)
    assert set(first) == {
        "images.json",
        "attention_synthetic.png",
        "attention_real.png",
        "closest_pair.png",
    }
    # Another trial that is not chosen, then one that is.
    add_trial(run, 0.4)
    choose(run, digits)
    ensure_selected_images(run, digits, QUIET)
    assert contents(run) == first
    add_trial(run, 0.9)
    choose(run, digits)
    ensure_selected_images(run, digits, QUIET)
    record, selection = run.selected_images(), run.selection()
    assert record is not None
    assert selection is not None
    assert record.trial == selection.trial == "t0002"
    assert record.student_sha256 == selection.student_sha256


@pytest.mark.parametrize("lost", ["images.json", "attention_real.png"])
def test_what_is_lost_or_damaged_is_made_again(
    tmp_path: Path, digits: Benchmark, lost: str
) -> None:
    run = make_run(tmp_path / "run")
    choose(run, digits)
    before = run.selection_file.read_bytes()
    ensure_selected_images(run, digits, QUIET)
    pictures = {n: content for n, (_, content) in contents(run).items() if n.endswith(".png")}
    if lost.endswith(".json"):
        (run.selected_path / lost).write_text("{ half")
    else:
        (run.selected_path / lost).unlink()
    ensure_selected_images(run, digits, QUIET)
    again = {n: content for n, (_, content) in contents(run).items() if n.endswith(".png")}
    assert again == pictures, "the same student gives the same pictures"
    assert run.selected_images() is not None
    assert run.selection_file.read_bytes() == before, "the choice and its look stay as they are"


def test_without_space_it_is_given_up(tmp_path: Path, digits: Benchmark) -> None:
    told = io.StringIO()
    with small_disk(tmp_path / "disk", 4096) as disk:
        run = make_run(disk.path / "run")
        choose(run, digits)
        disk.fill(1)
        ensure_selected_images(run, digits, Console(file=told))
        assert run.selected_images() is None
        disk.free()
        ensure_selected_images(run, digits, QUIET)
        assert run.selected_images() is not None
    assert "no pictures of t0000" in told.getvalue()
    assert "space" in told.getvalue()
