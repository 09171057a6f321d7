"""ASHA counts student steps, and its rungs survive a restart."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import run_folders as folders
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from dfkd_tune.records import TrialRecord, now, write_record
from dfkd_tune.sweeps import ResolvedExperiment, resolve_experiment
from dfkd_tune.sweeps._scheduler import RecordedAsha, make_scheduler

STEPS = 6  # student steps of an epoch of the tiny experiment


@pytest.fixture
def resolved(tiny: dict[str, Any]) -> ResolvedExperiment:
    return resolve_experiment(tiny, "tiny.yaml")


def asha(resolved: ResolvedExperiment) -> RecordedAsha:
    scheduler = make_scheduler(resolved)
    assert isinstance(scheduler, RecordedAsha)
    return scheduler


def trial(name: str) -> Any:
    return SimpleNamespace(config={"trial": name}, trial_id=f"ray-{id(object())}")


def rungs(scheduler: RecordedAsha) -> list[tuple[float, dict[str, float]]]:
    return [(milestone, dict(recorded)) for milestone, recorded in scheduler._brackets[0]._rungs]


def tell(scheduler: RecordedAsha, name: str, epoch: int, value: float) -> str:
    return scheduler.on_trial_result(
        None, trial(name), {"student_steps": epoch * STEPS, "value": value}
    )


def add_trial(run: Any, name: str) -> Any:
    folder = run.trial_folder(name)
    folder.set_status("running", reason="by a test")
    write_record(
        folder.trial_file,
        TrialRecord(
            trial=name,
            number=int(name[1:]),
            origin="sampler",
            parameters={},
            configuration={},
            student_size={"parameters": 1, "macs": 1},
            total_student_steps=36,
            threads=1,
            device="cpu",
            created=now(),
        ),
    )
    return folder


def test_rungs_are_in_student_steps_and_begin_after_the_grace(
    resolved: ResolvedExperiment,
) -> None:
    milestones = sorted(milestone for milestone, _ in rungs(asha(resolved)))
    assert milestones == [6, 12, 24]


def test_the_worse_trial_is_stopped_at_a_rung(resolved: ResolvedExperiment) -> None:
    scheduler = asha(resolved)
    for name in ("t0000", "t0001"):
        scheduler.on_trial_add(None, trial(name))
    assert tell(scheduler, "t0000", 1, 0.5) == TrialScheduler.CONTINUE
    assert tell(scheduler, "t0001", 1, 0.4) == TrialScheduler.STOP


def test_no_scheduler_never_stops(tiny: dict[str, Any]) -> None:
    tiny["search"]["scheduler"] = {"name": "none"}
    scheduler = make_scheduler(resolve_experiment(tiny, "tiny.yaml"))
    assert type(scheduler) is FIFOScheduler


def test_rungs_survive_a_restart(tmp_path: Path, resolved: ResolvedExperiment) -> None:
    run = folders.empty_run(tmp_path)
    live = asha(resolved)
    curves = {"t0000": [0.5, 0.6, 0.7, 0.8], "t0001": [0.6, 0.65], "t0002": [0.1]}
    for index, (name, values) in enumerate(curves.items()):
        folders.add_epochs(add_trial(run, name), values, STEPS, begins_at=100 * index)
        live.on_trial_add(None, trial(name))
        for epoch, value in enumerate(values, start=1):
            tell(live, name, epoch, value)
    folders.end(run.trial_folder("t0002"), "stopped")

    restarted = asha(resolved)
    assert restarted.replay(run) == []
    assert rungs(restarted) == rungs(live)
    # A trial that goes on gets a new id from Ray, and is the same trial all the same.
    restarted.on_trial_add(None, trial("t0001"))
    live_decision, decision = (tell(s, "t0001", 3, 0.1) for s in (live, restarted))
    assert decision == live_decision
    assert rungs(restarted) == rungs(live)


def test_a_forgotten_stop_is_made_up_for(tmp_path: Path, resolved: ResolvedExperiment) -> None:
    run = folders.empty_run(tmp_path)
    folders.add_epochs(add_trial(run, "t0000"), [0.9], STEPS)
    folders.add_epochs(add_trial(run, "t0001"), [0.1], STEPS, begins_at=50)
    assert asha(resolved).replay(run) == ["t0001"]


def test_rows_are_replayed_in_the_order_of_time(
    tmp_path: Path, resolved: ResolvedExperiment
) -> None:
    run = folders.empty_run(tmp_path)
    folders.add_epochs(add_trial(run, "t0000"), [0.1], STEPS, begins_at=50)
    folders.add_epochs(add_trial(run, "t0001"), [0.9], STEPS)
    assert asha(resolved).replay(run) == ["t0000"]
