"""Every state a run folder can be in gives a report and a summary that tell the truth."""

import fcntl
import json
import re
from pathlib import Path
from typing import Any

import pytest

from dfkd_tune.errors import RunFolderError, UsageError
from dfkd_tune.records import ErrorRecord, RunFolder
from reports import collect_run, summarise, write_report
from reports.collect import is_locked
from reports.compute.training import learning_curves

Maker = Any


def page(folder: RunFolder) -> str:
    return write_report([folder.path]).html.read_text(encoding="utf-8")


def test_complete_sweep(realistic: RunFolder) -> None:
    summary = summarise(realistic.path)
    assert summary.state == "complete"
    assert summary.state_words == "Complete: 12 of 12 trials finished."
    assert summary.counts == {
        "complete": 6,
        "stopped": 4,
        "diverged": 1,
        "failed": 1,
        "collapsed": 0,
        "running": 0,
        "interrupted": 0,
        "unreadable": 0,
    }
    assert summary.best is not None
    assert summary.relative_accuracy is not None
    assert summary.relative_accuracy.value == pytest.approx(100 * 413 / 440)
    verdict = summary.verdict.replace("\N{NO-BREAK SPACE}", " ")
    assert verdict.startswith(
        f"The best student, {summary.best.trial} (cnn \N{MULTIPLICATION SIGN}"
    )
    for part in (
        "23,456 parameters",
        "reaches 93.9 % (95 % interval 91.",
        "91.8 % against the teacher's 97.8 % on 450 images",
        "chosen among 6 complete trials by accuracy on the validation split",
        "one seed",
    ):
        assert part in verdict


def test_running_and_killed_differ_by_the_lock(make_run: Maker, spec: Any) -> None:
    run = make_run(
        [spec(values=(0.5,)), spec(values=(0.2,), state="running")],
        state="running",
        planned=8,
    )
    run.lock_file.touch()
    with run.lock_file.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        summary = summarise(run.path)
        assert summary.state == "running"
        assert summary.state_words == "Running: 1 of 8 trials finished."
        assert summary.leaderboard[1].progress == "running at step 50 of 500"
        with run.lock_file.open("rb") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
    summary = summarise(run.path)
    assert summary.state == "killed"
    assert summary.state_words == (
        "Partial, 1 of 8 trials finished; not running any more: run the same command to go on."
    )
    assert summary.leaderboard[1].progress == "not finished, at step 50 of 500"
    assert "not running any more: run the same command to go on" in page(run)


def test_probe_leaves_the_lock_free(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    assert not is_locked(lock)
    lock.touch()
    assert not is_locked(lock)
    with lock.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_interrupted_run(make_run: Maker, spec: Any) -> None:
    run = make_run(
        [spec(values=(0.2,), state="interrupted")],
        state="interrupted",
        message="the time budget is spent",
        planned=2,
    )
    summary = summarise(run.path)
    assert summary.state_words == (
        "Partial, 0 of 2 trials finished; interrupted (the time budget is spent): "
        "run the same command to go on."
    )
    assert summary.verdict == (
        "No verdict yet: 1 trial began and none is complete (1 interrupted)."
    )
    assert summary.best is None
    assert summary.relative_accuracy is None
    assert "no trial is complete; this one has trained most" in page(run)


def test_no_trial_and_no_teacher(make_run: Maker) -> None:
    run = make_run(teacher=False, state="running")
    summary = summarise(run.path)
    assert summary.verdict == "No verdict yet: no trial has begun."
    assert summary.teacher is None
    assert summary.budgets.trial_seconds is None
    files = write_report([run.path])
    assert files.best_config_json is None
    assert not (run.report_path / "best_config.json").exists()
    assert ">not run<" in files.html.read_text(encoding="utf-8")


def test_only_the_run_record(tmp_path: Path, make_run: Maker) -> None:
    run = make_run(teacher=False)
    run.experiment_file.unlink()
    run.sessions_file.unlink()
    html = page(run)
    assert "experiment.json" in html
    assert "No start of the command is recorded." in html


def test_all_trials_failed(make_run: Maker, spec: Any) -> None:
    error = ErrorRecord(type="ValueError", message="bad", traceback="Traceback: here")
    run = make_run([spec(state="failed", error=error)] * 3, state="failed", message="all failed")
    summary = summarise(run.path)
    assert summary.verdict == ("No verdict yet: 3 trials began and none is complete (all failed).")
    assert summary.state_words == "Failed (all failed): 3 of 3 trials finished."
    html = page(run)
    assert "Traceback: here" in html
    assert html.count("<summary><code>ValueError</code>") == 3


def test_one_trial_with_an_empty_metrics_file(make_run: Maker, spec: Any) -> None:
    run = make_run([spec(state="running")], state="running")
    summary = summarise(run.path)
    assert summary.leaderboard[0].last_value is None
    assert "No trial has been evaluated yet." in page(run)


@pytest.mark.parametrize("cut", [1, 40, 300])
def test_truncated_last_line(make_run: Maker, spec: Any, cut: int) -> None:
    """Without its newline alone a record is whole."""
    run = make_run([spec(values=(0.2, 0.3))])
    with run.sessions_file.open("ab") as file:
        file.write(run.sessions_file.read_bytes().replace(b"a processor", "ein Gerät".encode()))
    for jsonl in (run.sessions_file, run.trial_folder("t0000").metrics_file):
        jsonl.write_bytes(jsonl.read_bytes()[:-cut])
    assert summarise(run.path).leaderboard[0].last_value == (0.3 if cut == 1 else 0.2)
    assert len(collect_run(run.path).sessions) == (2 if cut == 1 else 1)
    assert "Unreadable records" not in page(run)


@pytest.mark.parametrize("name", ["status.json", "trial.json"])
def test_damaged_trial_is_reported_unreadable(make_run: Maker, spec: Any, name: str) -> None:
    run = make_run([spec(values=(0.5,)), spec(values=(0.7,))])
    (run.trial_folder("t0001").path / name).write_text('{"state": "com')
    summary = summarise(run.path)
    assert summary.counts["unreadable"] == 1
    assert summary.best is not None
    assert summary.best.trial == "t0000"
    html = page(run)
    assert "Unreadable records" in html
    assert f"{name} is damaged" in html


@pytest.mark.parametrize("name", ["experiment.json", "selection.json", "teacher/card.json"])
def test_damaged_run_files_do_not_stop_the_report(realistic: RunFolder, name: str) -> None:
    (realistic.path / name).write_text("[")
    assert len(collect_run(realistic.path).problems) == 1
    assert "Unreadable records" in page(realistic)


NEWER = [
    *("trials/t0004/trial.json", "selection.json", "teacher/card.json", "selected/images.json"),
    *("pool.json", "yardsticks.json", "audit/card.json"),
]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("name", NEWER)
def test_a_record_of_a_newer_version_is_named_and_not_read(
    realistic: RunFolder, name: str, known: bool
) -> None:
    """Whether its fields look as this version knows them or not."""
    file = realistic.path / name
    file.parent.mkdir(exist_ok=True)
    record = json.loads(file.read_text()) if known and file.exists() else {"of": "another shape"}
    file.write_text(json.dumps({**record, "schema_version": 2}))
    summary = summarise(realistic.path)
    assert summary.counts["unreadable"] == (name == NEWER[0])
    assert summary.selected is (name != "selection.json")
    html = page(realistic)
    assert "Unreadable records" in html
    assert f"{file} was written by a newer dfkd-tune (records version 2, this one reads 1)" in html
    # The selection still tells the accuracy of the teacher whose card cannot be read.
    assert ('<td>unknown <span class="soft">98.0' in html) is (name == "teacher/card.json")


def test_a_run_of_a_newer_version_is_one_clear_line(realistic: RunFolder) -> None:
    record = json.loads(realistic.run_file.read_text())
    realistic.run_file.write_text(json.dumps({**record, "schema_version": 2}))
    for function in (summarise, lambda path: write_report([path])):
        with pytest.raises(RunFolderError, match=r"newer dfkd-tune .* upgrade dfkd-tune$"):
            function(realistic.path)


def test_a_state_of_a_newer_version_is_unreadable(make_run: Maker, spec: Any) -> None:
    run = make_run([spec(values=(0.5,)), spec(values=(0.7,))])
    status = run.trial_folder("t0001").status_file
    status.write_text(status.read_text().replace('"complete"', '"paused"'))
    assert summarise(run.path).counts["unreadable"] == 1
    assert f"{status} is damaged: state: " in page(run)


def test_complete_trials_of_several_budgets(make_run: Maker, spec: Any) -> None:
    """They are ranked together, each by its own last value, and the page warns of it."""
    run = make_run(
        [
            spec(values=(0.2, 0.4, 0.6), total_epochs=3),
            spec(values=(0.1, 0.3, 0.4, 0.5, 0.65), total_epochs=5),
            spec(values=(0.5, 0.55), total_epochs=2, steps_per_epoch=600),
            spec(values=(0.3, 0.35), total_epochs=4, state="stopped"),
        ]
    )
    summary = summarise(run.path)
    assert summary.budgets.student_steps_per_trial == (150, 200, 250, 1200)
    assert summary.budgets.student_steps == 150 + 250 + 1200 + 100
    assert [row.trial for row in summary.leaderboard] == ["t0001", "t0000", "t0002", "t0003"]
    assert [curve.milestones for curve in learning_curves(collect_run(run.path))] == [
        (None, 0.2, 0.4, 0.6),
        (0.1, 0.3, 0.4, 0.65),
        (None, 0.5, 0.5, 0.55),
        (0.3, 0.35, None, None),
    ]
    assert "different budgets, from 150 to 1,200 student steps; complete trials are ranked" in page(
        run
    )


def test_foreign_image_files_do_not_stop_the_report(make_run: Maker, spec: Any) -> None:
    run = make_run([spec(values=(0.5,), images=(1, 2))])
    images = run.trial_folder("t0000").images
    (images / "epoch_000002.png").write_bytes(b"no image")
    html = page(run)
    assert html.count('<img src="data:image/png') == 1
    (images / "holiday.png").write_bytes(b"x")
    assert page(run).count('<img src="data:image/png') == 1


def test_selection_of_a_trial_that_is_gone(make_run: Maker, spec: Any, make_selection: Any) -> None:
    run = make_run([spec(values=(0.5,))], selection=make_selection("t0042"))
    summary = summarise(run.path)
    assert not summary.selected
    # What was measured is of another student than the best that is left.
    assert (summary.relative_accuracy, summary.student_test_accuracy) == (None, None)
    assert summary.verdict.endswith(
        "one seed, and the selected trial, t0042, is not in the run folder."
    )
    assert "93.9" not in re.sub(r"<script.*?</script>", "", page(run), flags=re.S)


def test_single_distillation(make_run: Maker, spec: Any) -> None:
    run = make_run([spec(values=(0.3, 0.49), origin="given")], kind="distill")
    summary = summarise(run.path)
    assert summary.kind == "distill"
    assert summary.planned == 1
    verdict = summary.verdict.replace("\N{NO-BREAK SPACE}", " ")
    assert verdict == (
        "The student of t0000 (cnn \N{MULTIPLICATION SIGN} 0.5, 23,456 parameters) has 49.0 % "
        "accuracy on the validation split (50.0 % of the teacher's); one seed, and the test split "
        "is untouched."
    )
    assert page(run)


def test_several_runs_need_an_output(make_run: Maker, spec: Any, tmp_path: Path) -> None:
    runs = [
        make_run([spec(values=(0.5,))], name="one").path,
        make_run(name="two", teacher=False).path,
    ]
    with pytest.raises(UsageError, match="needs an output folder"):
        write_report(runs)
    files = write_report(runs, tmp_path / "both")
    html = files.html.read_text(encoding="utf-8")
    assert "2 runs side by side" in html
    assert 'href="#run-2"' in html
    assert files.best_config_json is not None
    (entry,) = json.loads(files.best_config_json.read_text())
    assert (entry["run"], entry["trial"]) == ("one", "t0000")


def test_no_run_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="at least one run"):
        write_report([])


@pytest.mark.parametrize("function", [summarise, lambda path: write_report([path])])
def test_foreign_folder(tmp_path: Path, function: Any) -> None:
    with pytest.raises(RunFolderError, match="is not a run folder"):
        function(tmp_path)
    with pytest.raises(RunFolderError, match="is not a folder"):
        function(tmp_path / "nowhere")
