"""What is asked for against what there is; and progress in words."""

from pathlib import Path
from typing import Any

import pytest
from complete_trials import add_complete_trial, network
from run_folders import add_epochs, empty_run, end

from dfkd_tune.errors import ResourceError, UsageError
from dfkd_tune.sweeps import Allotment, allot, environment, resolve_experiment
from dfkd_tune.sweeps._allot_here import check_device
from dfkd_tune.sweeps._experiment_config import ResourcesConfig
from dfkd_tune.sweeps._progress import SweepProgress


@pytest.mark.parametrize(
    ("given", "cpus", "gpus", "expected"),
    [
        ({}, 2, 0, (1, 0, 2)),
        ({}, 16, 2, (1, 1.0, 2)),
        ({"gpus_per_trial": 0.25}, 16, 2, (1, 0.25, 8)),
        ({"gpus_per_trial": 0}, 16, 2, (1, 0, 16)),
        ({"cpus_per_trial": 3}, 16, 0, (3, 0, 5)),
        ({"max_concurrent": 2}, 16, 0, (1, 0, 2)),
        ({"cpus_per_trial": 4, "gpus_per_trial": 0.5}, 6, 4, (4, 0.5, 1)),
    ],
)
def test_allotment(
    given: dict[str, float], cpus: int, gpus: int, expected: tuple[int, float, int]
) -> None:
    result = allot(ResourcesConfig.model_validate(given), cpus, gpus)
    assert (result.cpus, result.gpus, result.max_concurrent) == expected
    assert result.device == ("cuda" if expected[1] else "cpu")


@pytest.mark.parametrize(
    ("given", "message"),
    [({"cpus_per_trial": 3}, "3 CPUs per trial"), ({"gpus_per_trial": 2}, "2 GPUs per trial")],
)
def test_too_much(given: dict[str, float], message: str) -> None:
    with pytest.raises(ResourceError, match=message):
        allot(ResourcesConfig.model_validate(given), 2, 1)


@pytest.mark.parametrize("gpus", [0.0, 0.5])
def test_settings_for_a_gpu_need_trials_that_get_one(tiny: dict[str, Any], gpus: float) -> None:
    allotment = Allotment(cpus=1, gpus=gpus, max_concurrent=2, total_cpus=2, total_gpus=1)
    check_device(resolve_experiment(tiny, "tiny.yaml"), allotment)
    tiny["settings"]["cuda_graphs"] = True
    resolved = resolve_experiment(tiny, "tiny.yaml")
    if gpus:
        check_device(resolved, allotment)
        return
    with pytest.raises(UsageError, match=r"settings\.cuda_graphs: needs a CUDA GPU"):
        check_device(resolved, allotment)


def test_the_environment_names_versions_and_hardware() -> None:
    found = environment()
    assert found["packages"]["torch"][0].isdigit()
    assert found["packages"]["optuna"].startswith("5.")
    assert found["hardware"]["cpu_cores"] >= 1
    assert found["git_commit"] is None or len(found["git_commit"].split("+")[0]) == 40


def test_progress_counts_what_a_folder_holds(tmp_path: Path) -> None:
    run = empty_run(tmp_path)
    states = ("complete", "stopped", "diverged", "running")
    for state, values in zip(states, ([0.5, 0.8], [0.9], [0.1], [0.2]), strict=True):
        folder = add_complete_trial(run, network(0), steps=20)
        folder.set_status("running", reason="x")
        add_epochs(folder, values, 10)
        end(folder, state)  # type: ignore[arg-type]
    progress = SweepProgress.of(run, 5, 20, 2, teacher_accuracy=0.8)
    line = progress.line()
    assert line.startswith("3/5 trials done · 1 running · 1 complete · 1 stopped early · 1 failed")
    # The stopped trial has a higher value, but only a complete one is best.
    assert "best t0000 80.0 % on validation, 100.0 % of the teacher" in line
    assert "50 % of the budget used" in line
    assert progress.seconds_left() is None, "nothing trained since this start"
    progress.steps["t0003"] += 5
    left = progress.seconds_left()
    assert left is not None
    assert left >= 0
