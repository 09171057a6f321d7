"""What a search will take: by hand, by a scheduler of our own, and by a real distillation."""

import io
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from run_folders import add_epochs, empty_run

from dfkd_tune.classifiers import build_classifier
from dfkd_tune.distillation import Progress, distil
from dfkd_tune.records import RunFolder, write_json, write_record
from dfkd_tune.sweeps import (
    Allotment,
    ResolvedExperiment,
    disk_of,
    expected_share,
    pace_of,
    random_baseline,
    resolve_experiment,
    trials_left,
)
from dfkd_tune.sweeps._estimate import whole_trial_seconds
from dfkd_tune.sweeps._search import RecordedSearch
from trainables import teacher_network_config

ALLOTMENT = Allotment(cpus=1, gpus=0, max_concurrent=2, total_cpus=2, total_gpus=0)


def timed(**seconds: float) -> Any:
    return SimpleNamespace(seconds=seconds)


def schedule_of(raw: dict[str, Any], **changes: Any) -> Any:
    raw["settings"]["schedule"] |= changes
    return resolve_experiment(raw, "tiny.yaml", searched=False).base


def test_a_trials_seconds_follow_from_those_of_its_steps(tiny: dict[str, Any]) -> None:
    base = schedule_of(
        tiny, epochs=10, generator_epochs=2, iterations_per_epoch=20, generator_steps=6
    )
    schedule = base.schedule.model_copy(update={"student_steps": 8})
    base = base.model_copy(update={"schedule": schedule})
    short = base.model_copy(
        update={
            "schedule": base.schedule.model_copy(update={"generator_steps": 2, "student_steps": 2})
        }
    )
    epochs = [
        timed(synthesis=9.0, total=9.9),
        timed(synthesis=0.4, student=0.5, total=1.1),
        timed(synthesis=0.5, student=0.2, total=0.8),
    ]
    # 0.2 s a generator step, 0.1 s a student step, 0.1 s an epoch for all else.
    expected = (2 + 10) * 20 * 6 * 0.2 + 10 * 20 * 8 * 0.1 + 12 * 0.1
    assert whole_trial_seconds(base, short, epochs) == pytest.approx(expected)
    staged = {"schedule": base.schedule.model_copy(update={"mode": "two_stage"})}
    expected = 2 * 20 * 6 * 0.2 + 10 * 20 * 8 * 0.1 + 12 * 0.1
    assert whole_trial_seconds(base.model_copy(update=staged), short, epochs) == pytest.approx(
        expected
    )


def asha_share(trials: int, at_once: int, epochs: int, rungs: list[int], seed: int) -> float:
    """ASHA by its paper, one epoch of each running trial after another."""
    source = random.Random(seed)
    waiting = [[source.random(), 0] for _ in range(trials)]
    seen: dict[int, list[float]] = {rung: [] for rung in rungs}
    running: list[list[float]] = []
    used = 0
    while waiting or running:
        while waiting and len(running) < at_once:
            running.append(waiting.pop(0))
        trial = running.pop(0)
        trial[1] += 1
        used += 1
        value, epoch = trial[0], int(trial[1])
        goes_on = epoch < epochs
        if goes_on and epoch in seen:
            others = seen[epoch]
            goes_on = not others or value >= np.percentile(others, 50)
            others.append(value)
        if goes_on:
            running.append(trial)
    return used / (trials * epochs)


def test_the_share_that_asha_trains_is_that_of_the_algorithm(tiny: dict[str, Any]) -> None:
    tiny["search"]["trials"] = 12
    resolved = resolve_experiment(tiny, "tiny.yaml")
    expected = np.mean([asha_share(12, 3, 6, [1, 2, 4], seed) for seed in range(10)])
    assert expected_share(resolved, 3) == pytest.approx(expected)
    assert 0.3 < expected < 0.8


@pytest.mark.parametrize("name", ["asha", "hyperband", "median", "none"])
def test_a_share_is_of_the_whole(tiny: dict[str, Any], name: str) -> None:
    tiny["search"] = {"trials": 10, "scheduler": {"name": name, "grace_epochs": 1}}
    share = expected_share(resolve_experiment(tiny, "tiny.yaml"), 2)
    assert (share == 1) is (name == "none")
    assert 1 / 6 < share <= 1
    tiny["search"]["trials"] = 1
    assert expected_share(resolve_experiment(tiny, "tiny.yaml"), 2) == 1


def test_many_long_trials_are_judged_by_some_of_them(tiny: dict[str, Any]) -> None:
    tiny["settings"]["schedule"]["epochs"] = 1000
    tiny["search"]["trials"] = 5000
    assert 0 < expected_share(resolve_experiment(tiny, "tiny.yaml"), 8) < 0.5


def recorded(raw: dict[str, Any], path: Path) -> ResolvedExperiment:
    """A run of two trials: six epochs of one second each, then one; the second goes on."""
    raw |= {"storage": str(path.parent), "name": path.name}
    resolved = resolve_experiment(raw, "tiny.yaml")
    run = empty_run(path)
    record = run.run().model_copy(update={"experiment_hash": resolved.identity_hash()})
    write_record(run.run_file, record)
    write_json(run.experiment_file, resolved.record())
    search = RecordedSearch(run, resolved, "s", ALLOTMENT)
    for number, epochs in enumerate((6, 1)):
        proposed = search.suggest(str(number))
        assert isinstance(proposed, dict)
        add_epochs(run.trial_folder(proposed["trial"]), [0.5] * epochs, 6)
    run.trial_folder("t0000").set_status("complete")
    return resolved


def test_what_was_recorded_tells_how_long_a_trial_takes(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    resolved = recorded(tiny, tmp_path / "run")
    pace = pace_of(resolved, ALLOTMENT)
    assert pace is not None
    assert pace.seconds == 6
    assert pace.basis == f"7 epochs of 2 trials in {tmp_path / 'run'}, 1 s each"
    # Four trials, of which one has ended.
    assert trials_left(resolved) == 3


def test_a_baseline_takes_what_its_sweep_has_taken(tiny: dict[str, Any], tmp_path: Path) -> None:
    resolved = recorded(tiny, tmp_path / "run")
    run = RunFolder(resolved.experiment.storage / resolved.experiment.name)
    run.trial_folder("t0001").set_status("stopped")
    baseline = random_baseline(run)
    pace = pace_of(baseline, ALLOTMENT)
    assert pace is not None
    assert "7 epochs of 2 trials" in pace.basis
    assert trials_left(baseline) == 2


def test_a_run_of_another_experiment_tells_nothing(tiny: dict[str, Any], tmp_path: Path) -> None:
    recorded(tiny, tmp_path / "run")
    tiny["settings"]["seed"] = 5
    other = resolve_experiment(tiny, "tiny.yaml")
    assert trials_left(other) == 4
    threads = torch.get_num_threads()
    pace = pace_of(other, ALLOTMENT)
    assert pace is not None
    assert "6 student steps of the recipe on this machine, timed now" in pace.basis
    assert pace.seconds > 0
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("method", ["dfq", "cmi", "adi"])
def test_every_kind_of_synthesis_can_be_timed(tiny: dict[str, Any], method: str) -> None:
    tiny |= {"method": method, "space": {}}
    tiny["settings"] = {
        "student": {"architecture": "resnet8", "width": 0.25},
        "schedule": {"epochs": 2, "iterations_per_epoch": 2, "generator_steps": 3, "batch_size": 8},
    }
    resolved = resolve_experiment(tiny, "tiny.yaml", searched=False)
    pace = pace_of(resolved, ALLOTMENT)
    assert pace is not None
    assert 0 < pace.seconds < 120


def test_a_recipe_that_diverges_has_no_pace(tiny: dict[str, Any]) -> None:
    tiny["settings"]["student_optimiser"] = {"learning_rate": 1e30}
    tiny["space"]["ranges"]["student_optimiser.learning_rate"] = 1e30
    assert pace_of(resolve_experiment(tiny, "tiny.yaml"), ALLOTMENT) is None


def test_the_disk_is_that_of_a_real_trial(tiny: dict[str, Any]) -> None:
    """At least what its weights and checkpoints take, and not much more."""
    tiny["settings"]["image_bank"] = {"size": 40}
    tiny["search"]["trials"] = 3
    resolved = resolve_experiment(tiny, "tiny.yaml")
    base, inputs = resolved.base, resolved.benchmark.inputs
    config = base.model_copy(update={"schedule": base.schedule.model_copy(update={"epochs": 2})})
    told: list[tuple[int, int]] = []

    def size(*values: Any) -> int:
        file = io.BytesIO()
        torch.save(values, file)
        return file.tell()

    def hear(progress: Progress) -> None:
        assert progress.generator is not None
        networks = progress.student.state_dict(), progress.generator.state_dict()
        told.append((size(*networks, progress.kept), size(progress.state())))

    network = teacher_network_config(resolved.benchmark, resolved.experiment.teacher)
    distil(config, build_classifier(network, inputs, seed=0), inputs, report=hear)
    weights, checkpoint = told[-1]
    disk = disk_of(resolved)
    # Grids of images and a full store of kept ones on top of the weights.
    assert 3 * weights < disk.at_the_end < 3 * (weights + 2**18)
    checkpoints = disk.while_running - disk.at_the_end
    assert 0.7 * 6 * checkpoint < checkpoints < 1.5 * 6 * checkpoint
