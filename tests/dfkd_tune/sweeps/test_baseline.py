"""The random baseline of a sweep: what is equal, and what is not."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from run_folders import add_epochs, empty_run

from dfkd_tune.errors import RunFolderError
from dfkd_tune.records import RunFolder, write_json
from dfkd_tune.sweeps import experiment_of_run, random_baseline, resolve_experiment
from dfkd_tune.sweeps._machine import Allotment
from dfkd_tune.sweeps._search import RecordedSearch


def recorded(raw: dict[str, Any], path: Path, trials: int = 5) -> RunFolder:
    """A sweep whose trials are all complete."""
    resolved = resolve_experiment(raw, "tiny.yaml")
    run = empty_run(path)
    write_json(run.experiment_file, resolved.record())
    allotment = Allotment(cpus=1, gpus=0, max_concurrent=1, total_cpus=1, total_gpus=0)
    search = RecordedSearch(run, resolved, "s", allotment)
    for number in range(trials):
        proposed = search.suggest(str(number))
        assert isinstance(proposed, dict)
        folder = run.trial_folder(proposed["trial"])
        add_epochs(folder, [0.5 + 0.01 * number], 36)
        folder.set_status("complete")
        search.on_trial_complete(str(number))
    return run


def test_all_is_equal_but_how_points_are_drawn(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["search"] |= {"trials": 30, "seed": 4, "time_budget": "30m"}
    run = recorded(tiny, tmp_path / "sought")
    before, found = experiment_of_run(run, trials=5), random_baseline(run)
    search = before.experiment.search.model_copy(update={"sampler": "random", "time_budget": None})
    expected = before.experiment.model_copy(
        update={"name": "sought-random", "search": search.model_copy(update={"warm_start": ()})}
    )
    assert found.experiment == expected
    assert found == replace(before, experiment=expected, baseline_of=run.path)
    # As many as the sweep has begun, not as many as it might have.
    assert found.record()["equal_budget"] == {
        "trials": 5,
        "student_steps_per_trial": 36,
        "scheduler": search.scheduler.model_dump(mode="json"),
        "grace_student_steps": 6,
        "seed": 4,
    }
    assert found.record()["baseline_of"] == "sought"
    assert "baseline_of" not in before.record()
    assert random_baseline(run, "chance").experiment.name == "chance"


def test_a_baseline_begins_from_no_other_sweep(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["search"]["trials"] = 5
    source = recorded(tiny, tmp_path / "source")
    tiny["search"] |= {"warm_start": [str(source.path)]}
    run = recorded(tiny, tmp_path / "warm")
    assert run.experiment()["warm_points"]
    shutil.rmtree(source.path)
    assert random_baseline(run).warm_points == ()


def test_a_baseline_of_more_trials_is_still_one(tiny: dict[str, Any], tmp_path: Path) -> None:
    found = random_baseline(recorded(tiny, tmp_path / "sought", 2))
    run = empty_run(tmp_path / "sought-random")
    write_json(run.experiment_file, found.record())
    extended = experiment_of_run(run, trials=7)
    assert extended.baseline_of == tmp_path / "sought"
    assert extended.record()["baseline_of"] == "sought"
    assert extended.record()["equal_budget"]["trials"] == 7


def test_what_has_no_baseline_is_refused_in_a_line(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = recorded(tiny, tmp_path / "going", 2)
    run.trial_folder("t0001").set_status("interrupted")
    with pytest.raises(RunFolderError, match="1 of its 2 trials still to train"):
        random_baseline(run)
    with pytest.raises(RunFolderError, match="all of its trials still to train"):
        random_baseline(recorded(tiny, tmp_path / "new", 0))
    tiny["search"]["sampler"] = "random"
    with pytest.raises(RunFolderError, match="drawn at random themselves"):
        random_baseline(recorded(tiny, tmp_path / "random", 2))
