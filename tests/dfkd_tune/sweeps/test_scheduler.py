"""ASHA counts student steps, and its rungs survive a restart."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import run_folders as folders
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from dfkd_tune.records import TrialRecord, now, write_record
from dfkd_tune.sweeps import ResolvedExperiment, resolve_experiment
from dfkd_tune.sweeps._scheduler import (
    RecordedAsha,
    RecordedMedian,
    RecordedScheduler,
    make_scheduler,
)

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


def tell(scheduler: RecordedScheduler, name: str, epoch: int, value: float) -> str:
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


def scheduler_of(tiny: dict[str, Any], **config: Any) -> RecordedScheduler:
    tiny["search"]["scheduler"] = {"grace_epochs": 1, **config}
    scheduler = make_scheduler(resolve_experiment(tiny, "tiny.yaml"))
    assert isinstance(scheduler, RecordedScheduler)
    return scheduler


def test_hyperband_puts_a_trial_into_the_same_bracket_at_every_start(
    tiny: dict[str, Any],
) -> None:
    def brackets() -> list[int]:
        scheduler = scheduler_of(tiny, name="hyperband", reduction_factor=2)
        assert isinstance(scheduler, RecordedAsha)
        for number in range(40):
            scheduler.on_trial_add(None, trial(f"t{number:04d}"))
        order = {id(bracket): index for index, bracket in enumerate(scheduler._brackets)}
        return [order[id(bracket)] for bracket in scheduler._trial_info.values()]

    before = np.random.get_state()[1].copy()  # type: ignore[union-attr]
    first = brackets()
    assert first == brackets()
    assert set(first) == {0, 1, 2}
    assert (np.random.get_state()[1] == before).all(), "the global state is left as it was"


def test_median_stops_below_the_median_of_the_others_by_hand(tiny: dict[str, Any]) -> None:
    """Means by the second epoch: .5, .6, .7; their median is .6."""
    scheduler = scheduler_of(tiny, name="median", least_trials=3)
    assert isinstance(scheduler, RecordedMedian)
    for name, values in {"t0000": (0.4, 0.6), "t0001": (0.5, 0.7), "t0002": (0.6, 0.8)}.items():
        scheduler.on_trial_add(None, trial(name))
        for epoch, value in enumerate(values, start=1):
            assert tell(scheduler, name, epoch, value) == TrialScheduler.CONTINUE
    for name, value, decision in (
        ("t0003", 0.61, TrialScheduler.CONTINUE),
        ("t0004", 0.59, TrialScheduler.STOP),
    ):
        scheduler.on_trial_add(None, trial(name))
        tell(scheduler, name, 1, value)
        assert tell(scheduler, name, 2, value) == decision


def test_median_never_pauses_a_trial(tiny: dict[str, Any]) -> None:
    """With too few others to compare with; Ray's own would ask for its controller, here None."""
    scheduler = scheduler_of(tiny, name="median", least_trials=3)
    scheduler.on_trial_add(None, trial("t0000"))
    decisions = [tell(scheduler, "t0000", epoch, 0.1) for epoch in range(1, 6)]
    assert decisions == [TrialScheduler.CONTINUE] * 5


def test_what_median_knows_survives_a_restart(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = folders.empty_run(tmp_path)
    live = scheduler_of(tiny, name="median", least_trials=2)
    for index, values in enumerate(([0.5, 0.6], [0.6, 0.65], [0.7, 0.8])):
        name = f"t{index:04d}"
        folders.add_epochs(add_trial(run, name), values, STEPS, begins_at=100 * index)
        live.on_trial_add(None, trial(name))
        for epoch, value in enumerate(values, start=1):
            tell(live, name, epoch, value)
    restarted = scheduler_of(tiny, name="median", least_trials=2)
    assert restarted.replay(run) == []
    for scheduler in (live, restarted):
        scheduler.on_trial_add(None, trial("t0003"))
    for epoch, value in enumerate((0.1, 0.2), start=1):
        decisions = [tell(scheduler, "t0003", epoch, value) for scheduler in (live, restarted)]
        assert decisions[0] == decisions[1]
    assert decisions == [TrialScheduler.STOP] * 2


def test_a_trial_that_reports_once_more_after_its_stop_is_stopped_still(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    """Its process records an epoch before it hears; a restart is told of both."""
    run = folders.empty_run(tmp_path)
    for index, values in enumerate(([0.5, 0.6], [0.6, 0.65], [0.7, 0.8], [0.1, 0.1, 0.1])):
        folders.add_epochs(add_trial(run, f"t{index:04d}"), values, STEPS, begins_at=100 * index)
    for name in ("asha", "hyperband", "median"):
        assert "t0003" in scheduler_of(tiny, name=name, reduction_factor=2).replay(run)
