"""Optuna behind Ray: what it is told, what it proposes, and what survives a restart."""

import math
from pathlib import Path
from typing import Any

import optuna
import pytest
import run_folders as folders
from optuna.trial import TrialState

from dfkd_tune.errors import RunFolderError
from dfkd_tune.records import write_record
from dfkd_tune.sweeps import Allotment, ResolvedExperiment, resolve_experiment
from dfkd_tune.sweeps._search import RecordedSearch
from dfkd_tune.sweeps._study import rebuild_study

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
    assert given[6] is None, "one that still runs may come back"
    for i in range(6):
        folders.end(search.run.trial_folder(f"t{i:04d}"), "diverged")
        search.on_trial_complete(str(i), None)
    assert search.suggest("7") == RecordedSearch.FINISHED


def test_a_trial_comes_back_when_a_node_is_lost_but_not_for_ever(
    tmp_path: Path, resolved: ResolvedExperiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = folders.empty_run(tmp_path)
    search = new_search(tmp_path, resolved)
    lost: set[str] = set()
    for name in ("lost_nodes", "silent_nodes"):
        monkeypatch.setattr(f"dfkd_tune.sweeps._recorded_trials.{name}", lambda: frozenset(lost))
    first = search.suggest("a")
    lost.add("node")
    search.on_trial_complete("a", None, error=True)
    assert search.suggest("b") == first
    assert run.trial_folder("t0000").status().state == "running"
    assert len(search.study.trials) == 1
    search.on_trial_complete("b", None, error=True)
    assert run.trial_folder("t0000").status().state == "failed", "no other node was lost"


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


def two_at_once(path: Path, resolved: ResolvedExperiment, *, restart: bool) -> list[Any]:
    """Six trials, of which the next begins before the last has ended; gives their parameters."""
    run = folders.empty_run(path)
    search = new_search(path, resolved)
    given: dict[str, str] = {}
    for i in range(8):
        if restart:
            # A new start hands out the unfinished trials first.
            search = new_search(path, resolved)
            given = {name: f"{i}-{name}" for name in given}
            for name, trial_id in given.items():
                config = search.suggest(trial_id)
                assert config is not None
                assert config["trial"] == name
        if i < 6:
            config = search.suggest(str(i))
            assert config is not None
            given[config["trial"]] = str(i)
        if i > 0 and given:
            name, trial_id = next(iter(given.items()))
            del given[name]
            folder = run.trial_folder(name)
            folders.add_epochs(folder, [(0.3 * i) % 1.0], 36)
            folders.end(folder, "complete")
            search.on_trial_complete(trial_id, {})
    assert states(search) == [TrialState.COMPLETE] * 6
    return [f.trial().parameters for f in run.trial_folders()]


NARROW = {
    "generator.conditioning": "embed_concat",
    "generator.label_embedding_size": 50,
    "generator.width": 8,
    "generator_objective.preset_label.weight": 1.0,
    "generator_objective.bn_statistics.weight": 1.0,
    "generator_objective.activation.weight": 0.0,
    "generator_objective.information_entropy.weight": 0.0,
    "generator_objective.adversarial.weight": 0.0,
    "student_objective.kd.temperature": 4.0,
    "student_objective.preset_label.weight": 0.5,
    "student_objective.attention_transfer.weight": 10.0,
}
"""Few values to search: the Gaussian process takes seconds for a proposal of many."""


@pytest.mark.parametrize(
    ("sampler", "against", "fixed"),
    [
        ("tpe", None, {}),
        ("cmaes", None, {}),
        ("tpe", "parameters", {}),
        ("nsga2", "macs", {}),
        ("nsga2", "training_seconds", NARROW),
        ("gp", "parameters", NARROW),
        ("random", "latency", {}),
    ],
)
def test_a_rebuilt_study_proposes_the_same_with_two_trials_at_once(
    tmp_path: Path, tiny: dict[str, Any], sampler: str, against: str | None, fixed: dict[str, Any]
) -> None:
    startup = 4 if sampler == "gp" else 2
    tiny["search"] = {
        "trials": 6,
        "against": against,
        "sampler": sampler,
        "startup_trials": startup,
        "scheduler": {"name": "none"},
    }
    tiny["space"]["ranges"] |= fixed
    resolved = resolve_experiment(tiny, "tiny.yaml")
    whole = two_at_once(tmp_path / "whole", resolved, restart=False)
    assert two_at_once(tmp_path / "restarted", resolved, restart=True) == whole
    assert len({str(parameters) for parameters in whole}) == 6


def test_optuna_hears_value_and_cost_of_complete_trials_alone(
    tmp_path: Path, tiny: dict[str, Any]
) -> None:
    tiny["search"] |= {"against": "parameters", "scheduler": {"name": "none"}}
    resolved = resolve_experiment(tiny, "tiny.yaml")
    run = folders.empty_run(tmp_path)
    search = new_search(tmp_path, resolved)
    for i, state in enumerate(("complete", "stopped", "diverged", "failed")):
        search.suggest(str(i))
        folder = run.trial_folder(f"t{i:04d}")
        folders.add_epochs(folder, [0.5, 0.4], 18)
        folders.end(folder, state)
        search.on_trial_complete(str(i), {}, error=state == "failed")
    parameters = run.trial_folder("t0000").trial().student_size.parameters
    for each in (search, new_search(tmp_path, resolved)):
        assert [d.name for d in each.study.directions] == ["MAXIMIZE", "MINIMIZE"]
        assert states(each) == [
            TrialState.COMPLETE,
            TrialState.PRUNED,
            TrialState.PRUNED,
            TrialState.FAIL,
        ]
        first, *others = each.study.trials
        assert first.values == pytest.approx([0.4, math.log10(parameters)])
        assert all(trial.values is None for trial in others)
        assert [trial.number for trial in each.study.best_trials] == [0]


def test_one_network_has_one_latency(tmp_path: Path, resolved: ResolvedExperiment) -> None:
    run = folders.empty_run(tmp_path)
    search = new_search(tmp_path, resolved)
    for i in range(3):
        search.suggest(str(i))
    for _ in range(3):
        # Another start measures none of them again.
        new_search(tmp_path, resolved).propose()
    sizes: dict[str, set[Any]] = {}
    for folder in run.trial_folders():
        record = folder.trial()
        sizes.setdefault(str(record.configuration["student"]), set()).add(
            (record.student_size.parameters, record.student_size.latency_ms)
        )
    assert len(run.trial_folders()) == 6
    assert {len(each) for each in sizes.values()} == {1}
    assert len({each for found in sizes.values() for each in found}) == len(sizes) == 2


def test_a_trial_without_the_cost_is_named(tmp_path: Path, tiny: dict[str, Any]) -> None:
    tiny["search"] |= {"against": "latency", "scheduler": {"name": "none"}}
    resolved = resolve_experiment(tiny, "tiny.yaml")
    run = folders.empty_run(tmp_path)
    new_search(tmp_path, resolved).propose()
    folder = run.trial_folder("t0000")
    record = folder.trial()
    size = record.student_size.model_copy(update={"latency_ms": None})
    write_record(folder.trial_file, record.model_copy(update={"student_size": size}))
    folders.add_epochs(folder, [0.5], 36)
    folders.end(folder, "complete")
    with pytest.raises(RunFolderError, match="t0000 records no latency"):
        new_search(tmp_path, resolved)


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
