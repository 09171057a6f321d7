"""A search against its random baseline, by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from dfkd_tune.records import RunFolder, write_json
from reports import collect_run, summarise_baseline, write_report
from reports.compute.baseline import BaselineComparison, SearchPath, Step, search_path

Maker = Any


def name_baseline(run: RunFolder, sweep: str) -> None:
    write_json(run.experiment_file, {**run.experiment(), "baseline_of": sweep})


def path(*steps: tuple[str, int, float], trained: int, run: str = "r") -> SearchPath:
    found = tuple(Step(trial=name, student_steps=at, value=v) for name, at, v in steps)
    return SearchPath(run=run, trials=len(steps), student_steps=trained, steps=found)


def compared(ours: SearchPath, theirs: SearchPath) -> BaselineComparison:
    equal = min(ours.student_steps, theirs.student_steps)
    return BaselineComparison(search=ours, baseline=theirs, equal_steps=equal)


def test_steps_of_all_trials_add_up_in_the_order_of_time(make_run: Maker, spec: Any) -> None:
    """Trial n's epochs end in the minutes 10 n + 1, 10 n + 2, ...; here each has 50 steps."""
    run = make_run(
        [
            # Ends in minute 12, with one epoch of the next; the next's second comes after it.
            spec(values=(*[0.1] * 11, 0.6), total_epochs=12),
            # Stopped in minute 13; its value never counts.
            spec(values=(0.2, 0.3, 0.9), state="stopped", total_epochs=12),
            # Worse than the best so far.
            spec(values=(0.4, 0.5), total_epochs=2),
            # Complete without a value that is finite.
            spec(values=(0.4, float("nan")), total_epochs=2),
            spec(values=(0.7,), total_epochs=1),
        ]
    )
    found = search_path(collect_run(run.path))
    assert [(s.trial, s.student_steps, s.value) for s in found.steps] == [
        ("t0000", 50 * (12 + 1), 0.6),
        ("t0004", 50 * (12 + 3 + 2 + 2 + 1), 0.7),
    ]
    assert (found.run, found.trials, found.student_steps) == ("digits", 5, 1000)


def test_they_are_compared_where_both_have_trained_as_much() -> None:
    ours = path(("t0000", 100, 0.5), ("t0004", 300, 0.8), ("t0009", 900, 0.95), trained=1000)
    theirs = path(("t0000", 200, 0.5), ("t0002", 400, 0.75), trained=600)
    found = compared(ours, theirs)
    assert found.equal_steps == 600
    assert found.verdict.replace("\N{NO-BREAK SPACE}", " ") == (
        "At equal budget, 600 student steps of all trials together, the search's best complete "
        "trial has 80.0 % (t0004) and random search's 75.0 % (t0002): the search was better by 5.0 "
        "percentage points."
    )
    assert "after 300 student steps, 50.0" in found.reached
    back = compared(theirs, ours)
    assert "random search was better by 5.0 percentage points" in back.verdict
    assert "has not reached random search's best of 95.0" in back.reached


def test_no_better_and_nothing_to_compare_are_said() -> None:
    one, same = path(("t0000", 100, 0.5), trained=100), path(("t0000", 90, 0.5), trained=200)
    assert "neither was better" in compared(one, same).verdict
    none = path(trained=500)
    assert "only the search has a complete trial" in compared(one, none).verdict
    assert "only random search has a complete trial" in compared(none, one).verdict
    assert "neither has a complete trial" in compared(none, none).verdict
    assert compared(one, none).reached == ""
    # Complete, but only beyond what the other has trained.
    late = path(("t0000", 400, 0.9), trained=400)
    assert "only random search has a complete trial" in compared(late, one).verdict


@pytest.fixture
def pair(make_run: Maker, spec: Any) -> tuple[RunFolder, RunFolder]:
    run = make_run([spec(values=(0.5, 0.9), total_epochs=2)] * 2, name="ours")
    baseline = make_run([spec(values=(0.5, 0.7), total_epochs=2)] * 2, name="chance")
    name_baseline(baseline, "ours")
    return run, baseline


def test_the_report_of_the_sweep_shows_it(pair: tuple[RunFolder, RunFolder]) -> None:
    run, baseline = pair
    found = summarise_baseline(run.path)
    assert found is not None
    assert (found.search.run, found.baseline.run) == ("ours", "chance")
    files = write_report([run.path])
    page = files.html.read_text(encoding="utf-8")
    assert "Against random search" in page
    assert "the search was better by 20.0 percentage points" in page
    assert 'id="run-1-plot-baseline"' in page
    (content,) = json.loads(files.summary_json.read_text())["runs"]
    assert content["baseline"]["verdict"] == found.verdict
    assert content["baseline"]["baseline"]["steps"][0]["value"] == 0.7
    # The baseline has no baseline.
    assert summarise_baseline(baseline.path) is None
    assert "Against random search" not in write_report([baseline.path]).html.read_text("utf-8")


def test_others_beside_are_no_baseline(
    pair: tuple[RunFolder, RunFolder], tmp_path: Path, make_run: Maker, spec: Any
) -> None:
    run, baseline = pair
    name_baseline(make_run([spec(values=(0.99,), total_epochs=1)], name="alien"), "another")
    for name, text in (("broken", "{"), ("listed", "[1]"), ("empty", '{"baseline_of": "ours"}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "experiment.json").write_text(text)
    found = summarise_baseline(run.path)
    assert found is not None
    assert found.baseline.run == "chance"
    baseline.experiment_file.unlink()
    assert summarise_baseline(run.path) is None
