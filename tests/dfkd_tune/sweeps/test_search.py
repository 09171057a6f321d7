"""Optuna behind Ray: what it is told, what it proposes, and what survives a restart."""

from pathlib import Path
from typing import Any

import optuna
import pytest
import run_folders as folders
from optuna.trial import TrialState

from dfkd_tune.sweeps import Allotment, ResolvedExperiment, resolve_experiment
from dfkd_tune.sweeps._search import RecordedSearch, rebuild_study

ALLOTMENT = Allotment(cpus=1, gpus=0, max_concurrent=2, total_cpus=2, total_gpus=0)


@pytest.fixture
def resolved(tiny: dict[str, Any]) -> ResolvedExperiment:
    tiny["search"]["trials"] = 6
    return resolve_experiment(tiny, "tiny.yaml")


def new_search(path: Path, resolved: ResolvedExperiment) -> RecordedSearch:
    return RecordedSearch(folders.RunFolder(path), resolved, "s", ALLOTMENT)


def states(search: RecordedSearch) -> list[TrialState]:
    return [trial.state for trial in search.study.trials]


def test_a_stopped_trial_is_pruned_with_its_values(
    tmp_path: Path, resolved: ResolvedExperiment
) -> None:
    run = folders.empty_run(tmp_path)
    search = new_search(tmp_path, resolved)
    config = search.suggest("a")
    assert config is not None
    folder = run.trial_folder(config["trial"])
    folders.add_epochs(folder, [0.2, 0.3], 6)
    search.on_trial_complete("a", {"value": 0.3, "student_steps": 12})
    assert folder.status().state == "stopped"
    assert "12 of 36 student steps" in folder.status().reason
    trial = search.study.trials[0]
    assert trial.state == TrialState.PRUNED
    assert trial.intermediate_values == {6: 0.2, 12: 0.3}


def test_a_complete_trial_counts_with_its_last_value(
    tmp_path: Path, resolved: ResolvedExperiment
) -> None:
    run = folders.empty_run(tmp_path)
    search = new_search(tmp_path, resolved)
    config = search.suggest("a")
    assert config is not None
    folder = run.trial_folder(config["trial"])
    folders.add_epochs(folder, [0.2, 0.9, 0.8], 12)
    folders.end(folder, "complete")
    search.on_trial_complete("a", {"value": 0.8})
    assert states(search) == [TrialState.COMPLETE]
    assert search.study.best_value == 0.8


def test_a_diverged_trial_leaves_no_zombie_and_ranks_last(
    tmp_path: Path, resolved: ResolvedExperiment
) -> None:
    run = folders.empty_run(tmp_path)
    search = new_search(tmp_path, resolved)
    config = search.suggest("a")
    assert config is not None
    folder = run.trial_folder(config["trial"])
    folders.add_epochs(folder, [0.9], 6)
    folders.end(folder, "diverged")
    search.on_trial_complete("a", {"value": 0.0, "diverged": True})
    assert states(search) == [TrialState.PRUNED]
    assert search.study.trials[0].intermediate_values == {}


def test_a_dead_worker_fails_its_trial_with_a_word(
    tmp_path: Path, resolved: ResolvedExperiment
) -> None:
    run = folders.empty_run(tmp_path)
    search = new_search(tmp_path, resolved)
    config = search.suggest("a")
    assert config is not None
    search.on_trial_complete("a", None, error=True)
    status = run.trial_folder(config["trial"]).status()
    assert status.state == "failed"
    assert status.error is not None
    assert "without a word" in status.error.message
    assert states(search) == [TrialState.FAIL]


def test_the_first_trial_is_the_recipe_exactly(
    tmp_path: Path, resolved: ResolvedExperiment
) -> None:
    run = folders.empty_run(tmp_path)
    search = new_search(tmp_path, resolved)
    search.suggest("a")
    record = run.trial_folder("t0000").trial()
    assert record.origin == "recipe"
    assert record.configuration == resolved.base.model_dump(mode="json")
    assert record.parameters == dict(resolved.first_points[0])
    assert search.study.trials[0].params == dict(resolved.first_points[0])
    search.suggest("b")
    assert run.trial_folder("t0001").trial().origin == "sampler"


def test_it_ends_when_the_budget_is_used(tmp_path: Path, resolved: ResolvedExperiment) -> None:
    folders.empty_run(tmp_path)
    search = new_search(tmp_path, resolved)
    given = [search.suggest(str(i)) for i in range(7)]
    assert [config["trial"] for config in given[:6] if config] == [f"t{i:04d}" for i in range(6)]
    assert given[6] == RecordedSearch.FINISHED


def test_a_restart_rebuilds_the_study_without_ghosts(
    tmp_path: Path, resolved: ResolvedExperiment
) -> None:
    run = folders.empty_run(tmp_path)
    search = new_search(tmp_path, resolved)
    for i in range(5):
        search.suggest(str(i))
    for i, state in enumerate(("complete", "stopped", "diverged", "failed")):
        folder = run.trial_folder(f"t{i:04d}")
        folders.add_epochs(folder, [0.1 * i + 0.1, 0.1 * i + 0.2], 6)
        folders.end(folder, state)
        search.on_trial_complete(str(i), None, error=state == "failed")
    before = search.study.trials

    again = new_search(tmp_path, resolved)
    assert states(again) == [
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.PRUNED,
        TrialState.FAIL,
        TrialState.RUNNING,
    ]
    after = again.study.trials
    assert [t.params for t in after] == [t.params for t in before]
    assert [t.distributions for t in after] == [t.distributions for t in before]
    assert [t.values for t in after[:1]] == [t.values for t in before[:1]]
    assert after[1].intermediate_values == before[1].intermediate_values
    # The unfinished trial goes on first, under its own name and number; then comes a new one.
    config = again.suggest("x")
    assert config is not None
    assert config["trial"] == "t0004"
    following = again.suggest("y")
    assert following is not None
    assert following["trial"] == "t0005"
    folders.end(run.trial_folder("t0004"), "complete")
    folders.add_epochs(run.trial_folder("t0004"), [0.5], 36)
    again.on_trial_complete("x", {"value": 0.5})
    assert TrialState.RUNNING not in states(again)[:5]


def test_a_proposal_depends_on_seed_number_and_history_alone(
    tmp_path: Path, resolved: ResolvedExperiment
) -> None:
    def propose(path: Path, restart: bool) -> list[dict[str, Any]]:
        run = folders.empty_run(path)
        search = new_search(path, resolved)
        for i in range(6):
            if restart:
                search = new_search(path, resolved)
            search.suggest(str(i))
            folder = run.trial_folder(f"t{i:04d}")
            folders.add_epochs(folder, [0.1 * i], 36)
            folders.end(folder, "complete")
            search.on_trial_complete(str(i), {"value": 0.1 * i})
        return [f.trial().parameters for f in run.trial_folders()]

    once = propose(tmp_path / "once", restart=False)
    assert propose(tmp_path / "restarted", restart=True) == once
    assert len({str(parameters) for parameters in once}) == 6


def test_an_unfinished_trial_keeps_its_parameters_on_a_rebuild(
    tmp_path: Path, resolved: ResolvedExperiment
) -> None:
    run = folders.empty_run(tmp_path)
    search = new_search(tmp_path, resolved)
    for i in range(3):
        search.suggest(str(i))
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study, live = rebuild_study(run, resolved.space)
    assert sorted(live) == ["t0000", "t0001", "t0002"]
    for folder, trial in zip(run.trial_folders(), study.trials, strict=True):
        assert trial.params == folder.trial().parameters
