"""A cohort: one process for several trials, each of which the search sees by itself."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import run_folders as folders
from optuna.trial import TrialState
from ray.tune.schedulers import TrialScheduler
from small_methods import GENERATOR_SIDE

from dfkd_tune.distillation import DistillationConfig, shared_part
from dfkd_tune.errors import ExperimentError
from dfkd_tune.records import ErrorRecord, RunFolder
from dfkd_tune.sweeps import (
    Allotment,
    ResolvedExperiment,
    assignment_from_run,
    cohorts_of,
    first_difference,
    pace_of,
    resolve_experiment,
    run_distillation,
)
from dfkd_tune.sweeps._scheduler import RecordedAsha, make_scheduler
from dfkd_tune.sweeps._search import RecordedSearch
from dfkd_tune.sweeps._study import rebuild_study

ALLOTMENT = Allotment(cpus=1, gpus=0, max_concurrent=2, total_cpus=2, total_gpus=0)


@pytest.fixture
def raw(tiny: dict[str, Any]) -> dict[str, Any]:
    """The tiny experiment, of which only the student's side is searched, three at a time."""
    tiny["space"]["ranges"] |= GENERATOR_SIDE
    tiny["search"]["trials"] = 7
    tiny["resources"]["cohort"] = 3
    return tiny


@pytest.fixture
def resolved(raw: dict[str, Any]) -> ResolvedExperiment:
    return resolve_experiment(raw, "tiny.yaml")


def new_search(path: Path, resolved: ResolvedExperiment) -> RecordedSearch:
    return RecordedSearch(folders.RunFolder(path), resolved, "s", ALLOTMENT)


def names(config: Any) -> list[str]:
    return [config["trial"], *config["others"]]


def complete(run: RunFolder, name: str, value: float) -> None:
    folders.add_epochs(run.trial_folder(name), [value], 36)
    run.trial_folder(name).set_status("complete", reason="by a test")


def test_trials_that_share_their_images_come_together(
    tmp_path: Path, resolved: ResolvedExperiment
) -> None:
    folders.empty_run(tmp_path)
    search = new_search(tmp_path, resolved)
    given = [search.suggest(key) for key in "abc"]
    assert [names(config) for config in given] == [
        ["t0000", "t0001", "t0002"],
        ["t0003", "t0004", "t0005"],
        ["t0006"],
    ]
    assert search.suggest("d") is None, "there is no more, but a lost node may give one back"


def test_one_of_other_images_waits_for_a_process_of_its_own(
    tmp_path: Path, raw: dict[str, Any]
) -> None:
    raw["space"]["ranges"]["generator.width"] = {"choices": [8, 16]}
    run = folders.empty_run(tmp_path)
    search = new_search(tmp_path, resolve_experiment(raw, "tiny.yaml"))
    cohorts = []
    while (config := search.suggest(str(len(cohorts)))) is not None:
        cohorts.append(names(config))
    assert [name for cohort in cohorts for name in cohort] == [f"t{i:04d}" for i in range(7)]
    assert len(cohorts) > 3
    parts = []
    for cohort in cohorts:
        trials = [run.trial_folder(name).trial() for name in cohort]
        configs = [DistillationConfig.model_validate(trial.configuration) for trial in trials]
        (part,) = {shared_part(config) for config in configs}
        parts.append(part)
    # A cohort ends where the next trial could not join, or is full.
    for cohort, part, following in zip(cohorts, parts, parts[1:], strict=False):
        assert len(cohort) == 3 or part != following


def test_the_study_hears_of_each(tmp_path: Path, resolved: ResolvedExperiment) -> None:
    run = folders.empty_run(tmp_path)
    search = new_search(tmp_path, resolved)
    search.suggest("a")
    folders.add_epochs(run.trial_folder("t0001"), [0.3], 6)
    search.stop_member("t0001")
    assert run.trial_folder("t0001").status().state == "stopped"
    assert search.study.trials[1].state == TrialState.PRUNED
    assert search.study.trials[1].intermediate_values == {6: 0.3}
    complete(run, "t0000", 0.7)
    search.stop_member("t0000")
    search.stop_member("t0000")
    complete(run, "t0002", 0.8)
    search.on_trial_complete("a", {"members": [{"trial": "t0002"}], "value": 0.8})
    found = [trial.state for trial in search.study.trials]
    assert found == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE]
    assert [trial.value for trial in search.study.trials] == [0.7, 0.3, 0.8]
    assert not search.live


def test_what_a_failed_cohort_left_is_tried_alone(
    tmp_path: Path, resolved: ResolvedExperiment
) -> None:
    run = folders.empty_run(tmp_path)
    search = new_search(tmp_path, resolved)
    search.suggest("a")
    complete(run, "t0001", 0.7)
    search.on_trial_complete("a", None, error=True)
    assert search.study.trials[1].state == TrialState.COMPLETE
    alone = [search.suggest(key) for key in "bc"]
    assert [names(config) for config in alone] == [["t0000"], ["t0002"]]
    search.on_trial_complete("b", None, error=True)
    assert run.trial_folder("t0000").status().state == "failed", "it had its chance"
    following = search.suggest("d")
    assert names(following) == ["t0003", "t0004", "t0005"]


def test_a_process_that_dies_after_all_of_its_trials_have_ended_costs_none(
    tmp_path: Path, resolved: ResolvedExperiment
) -> None:
    run = folders.empty_run(tmp_path)
    search = new_search(tmp_path, resolved)
    for name in names(search.suggest("a")):
        complete(run, name, 0.7)
        search.stop_member(name)
    search.on_trial_complete("a", None, error=True)
    assert [trial.state for trial in search.study.trials] == [TrialState.COMPLETE] * 3
    assert names(search.suggest("b"))[0] == "t0003"


def test_a_trial_that_ran_out_of_gpu_memory_is_alone_with_its_larger_share(
    tmp_path: Path, resolved: ResolvedExperiment
) -> None:
    run = folders.empty_run(tmp_path)
    first = new_search(tmp_path, resolved)
    for name in names(first.suggest("a")):
        error = ErrorRecord(type="OutOfGpuMemoryError", message="m", traceback="t")
        run.trial_folder(name).set_status("running", reason="by a test", error=error)
    larger = RecordedSearch(RunFolder(tmp_path), resolved, "s", ALLOTMENT, larger=True)
    assert [names(larger.suggest(key)) for key in "bcd"] == [["t0000"], ["t0001"], ["t0002"]]


def test_a_cohort_comes_back_whole_when_its_node_is_lost(
    tmp_path: Path, resolved: ResolvedExperiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders.empty_run(tmp_path)
    search = new_search(tmp_path, resolved)
    lost: set[str] = set()
    for name in ("lost_nodes", "silent_nodes"):
        monkeypatch.setattr(f"dfkd_tune.sweeps._recorded_trials.{name}", lambda: frozenset(lost))
    first = search.suggest("a")
    lost.add("node")
    search.on_trial_complete("a", None, error=True)
    assert search.suggest("b") == first


def test_a_restart_hands_out_the_same_trials(tmp_path: Path, raw: dict[str, Any]) -> None:
    raw["space"]["ranges"]["generator.width"] = {"choices": [8, 16]}
    folders.empty_run(tmp_path)
    resolved = resolve_experiment(raw, "tiny.yaml")
    search = new_search(tmp_path, resolved)
    before = [names(search.suggest("a"))]
    begun = len(list(RunFolder(tmp_path).trial_folders()))
    again = new_search(tmp_path, resolved)
    after = [names(again.suggest("b"))]
    assert after == before
    # One that was held back is not lost.
    if begun > len(before[0]):
        assert names(again.suggest("c"))[0] == f"t{begun - 1:04d}"


def test_a_cohort_gets_as_many_parts_of_a_gpu(tmp_path: Path, resolved: ResolvedExperiment) -> None:
    folders.empty_run(tmp_path)
    allotment = Allotment(cpus=1, gpus=0.25, max_concurrent=4, total_cpus=4, total_gpus=1)
    search = RecordedSearch(RunFolder(tmp_path), resolved, "s", allotment)
    shares = [search.suggest(key)["resources"]["GPU"] for key in "abc"]  # type: ignore[index]
    assert shares == [0.75, 0.75, 0.25]


def test_asha_decides_for_each(resolved: ResolvedExperiment) -> None:
    scheduler = make_scheduler(resolved)
    assert isinstance(scheduler, RecordedAsha)
    stopped: list[str] = []
    scheduler.stop_member = stopped.append
    cohort: Any = SimpleNamespace(
        config={"trial": "t0000", "others": ("t0001", "t0002")}, trial_id="ray"
    )
    scheduler.on_trial_add(None, cohort)

    def tell(steps: int, **values: float) -> str:
        members = [
            {"trial": name, "student_steps": steps, "value": v} for name, v in values.items()
        ]
        top = {"student_steps": steps, "value": max(values.values()), "members": members}
        return scheduler.on_trial_result(None, cohort, top)

    assert tell(6, t0000=0.5, t0001=0.4, t0002=0.6) == TrialScheduler.CONTINUE
    assert stopped == ["t0001"]
    assert tell(12, t0000=0.5, t0002=0.6) == TrialScheduler.CONTINUE
    assert stopped == ["t0001"]
    last = {"trial": "t0002", "student_steps": 36, "value": 0.9}
    scheduler.on_trial_complete(None, cohort, {"members": [last]})
    rungs = {milestone: dict(known) for milestone, known in scheduler._brackets[0]._rungs}
    assert rungs[6] == {"t0000": 0.5, "t0001": 0.4, "t0002": 0.6}
    assert rungs[24] == {"t0002": 0.9}


def test_pbt_has_no_cohorts(raw: dict[str, Any]) -> None:
    raw["search"]["scheduler"] = {"name": "pbt", "grace_epochs": 1}
    with pytest.raises(ExperimentError, match=r"resources\.cohort: pbt compares trials that pause"):
        resolve_experiment(raw, "tiny.yaml")


def test_a_plan_tells_whether_trials_can_share_their_images(raw: dict[str, Any]) -> None:
    found = cohorts_of(resolve_experiment(raw, "tiny"))
    assert found is not None
    assert (found.size, found.words) == (3, "up to 3 trials share their images in one process")
    raw["search"]["trials"] = 2
    fewer = cohorts_of(resolve_experiment(raw, "tiny"))
    assert fewer is not None
    assert fewer.size == 2
    raw["space"]["ranges"]["generator.width"] = {"choices": [8, 16]}
    apart = cohorts_of(resolve_experiment(raw, "tiny"))
    assert apart is not None
    assert apart.size == 1
    assert apart.words.endswith("fix in space.ranges: generator.width")
    del raw["resources"]["cohort"]
    assert cohorts_of(resolve_experiment(raw, "tiny")) is None


def test_a_cohort_is_timed_as_one(raw: dict[str, Any]) -> None:
    raw["settings"]["schedule"] |= {"student_steps": 1, "generator_steps": 1}
    together = pace_of(resolve_experiment(raw, "tiny"), ALLOTMENT)
    del raw["resources"]["cohort"]
    alone = pace_of(resolve_experiment(raw, "tiny"), ALLOTMENT)
    assert together is not None
    assert alone is not None
    assert together.seconds > 0
    assert "by a cohort of 3, on this machine" in together.basis
    assert "cohort" not in alone.basis


@pytest.mark.sweep
def test_a_sweep_of_cohorts_ends_as_any_other(
    sweep: Any, raw: dict[str, Any], storage: Path
) -> None:
    raw["storage"] = storage
    result = sweep(raw)
    run = result.run
    assert result.exit_code == 0
    states = {folder.name: folder.status().state for folder in run.trial_folders()}
    assert sorted(states) == [f"t{i:04d}" for i in range(7)]
    assert set(states.values()) == {"complete", "stopped"}
    for folder in run.trial_folders():
        epochs = folder.epochs()
        assert [row.epoch for row in epochs] == list(range(1, len(epochs) + 1))
        assert folder.status().restores == ()
        if states[folder.name] == "complete":
            assert epochs[-1].student_steps == 36
        else:
            assert epochs[-1].student_steps in (6, 12, 24), "stopped at a rung"
    study, live = rebuild_study(run, resolve_experiment(raw, "tiny").space)
    assert not live
    assert [t.state.name == "PRUNED" for t in study.trials] == [
        state == "stopped" for state in states.values()
    ]
    # The winner alone, outside Ray: the same metrics, digit for digit.
    assignment = assignment_from_run(run, None, "winner", None)
    repeated = run_distillation(assignment, command="x", on_epoch=lambda _record: None)
    assert assignment.original is not None
    assert first_difference(repeated, assignment.original) is None
