"""What a sweep does when memory or storage fails its trials."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import run_folders as folders
import yaml

from dfkd_tune.records import ErrorRecord, RestoreRecord, RunFolder
from dfkd_tune.sweeps import Allotment, resolve_experiment
from dfkd_tune.sweeps._machine import larger_share
from dfkd_tune.sweeps._recorded_trials import short_of_memory
from dfkd_tune.sweeps._scheduler import make_scheduler
from dfkd_tune.sweeps._search import RecordedSearch
from reports import write_report
from trainables import UNSETTLED

QUARTER = Allotment(cpus=1, gpus=0.25, max_concurrent=8, total_cpus=8, total_gpus=2)
OUT = ErrorRecord(type="OutOfGpuMemoryError", message="out of GPU memory", traceback="first")


@pytest.mark.parametrize(
    ("gpus", "larger", "at_once"),
    [(0.25, 0.5, 4), (0.4, 0.8, 2), (0.6, 1.0, 2), (1.0, None, 0), (2.0, None, 0), (0, None, 0)],
)
def test_a_larger_share_is_twice_as_large_and_never_more_than_a_gpu(
    gpus: float, larger: float | None, at_once: int
) -> None:
    found = larger_share(Allotment(cpus=1, gpus=gpus, max_concurrent=8, total_cpus=8, total_gpus=2))
    if larger is None:
        assert found is None
    else:
        assert found is not None
        assert (found.gpus, found.max_concurrent) == (larger, at_once)


def test_a_trial_without_gpu_memory_waits_for_the_larger_share(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    resolved, run = resolve_experiment(tiny, "tiny"), folders.empty_run(tmp_path)
    search = RecordedSearch(run, resolved, "s", QUARTER)
    first, second = search.suggest("a"), search.suggest("b")
    assert first is not None
    assert second is not None
    assert first["larger_share"]
    folder = run.trial_folder("t0000")
    folder.set_status("running", error=OUT)
    search.on_trial_complete("a", {UNSETTLED: True})
    assert folder.status().state == "running"
    assert "t0000" in search.live
    # A driver that is killed now, and started again, knows which trial has to have more.
    assert short_of_memory(run) == ["t0000"]
    again = RecordedSearch(run, resolved, "s", QUARTER)
    assert list(again.waiting) == ["t0001"]
    larger = larger_share(QUARTER)
    assert larger is not None
    more = RecordedSearch(run, resolved, "s", larger, larger=True)
    config = more.suggest("c")
    assert config is not None
    assert (config["trial"], config["larger_share"]) == ("t0000", False)
    # No other one, but this may come back, if its node is lost.
    assert more.suggest("d") is None
    # As it is once it has begun again: the error stands with its restore.
    restore = RestoreRecord(session="s", time="", from_epoch=0, error=OUT)
    folder.set_status("running", error=None, restores=(restore,))
    assert short_of_memory(run) == ["t0000"]
    folder.set_status("complete")
    assert short_of_memory(run) == []
    # With whole GPUs there is no larger share to wait for.
    folder.set_status("running")
    whole = Allotment(cpus=1, gpus=1, max_concurrent=2, total_cpus=8, total_gpus=2)
    assert list(RecordedSearch(run, resolved, "s", whole).waiting) == ["t0000", "t0001"]


@pytest.mark.parametrize("scheduler", ["asha", "median"])
def test_a_scheduler_takes_no_value_from_a_trial_that_cannot_go_on_now(
    tiny: dict[str, Any], scheduler: str
) -> None:
    tiny["search"]["scheduler"] = {"name": scheduler}
    made, trial = (
        make_scheduler(resolve_experiment(tiny, "tiny")),
        SimpleNamespace(config={"trial": "t0000"}, trial_id="x"),
    )
    made.on_trial_add(None, trial)  # type: ignore[arg-type]
    before = json.dumps(vars(made), default=repr)
    told = {"student_steps": 36, "value": 0.0, UNSETTLED: True}
    assert made.on_trial_result(None, trial, told) == "CONTINUE"  # type: ignore[arg-type]
    made.on_trial_complete(None, trial, told)  # type: ignore[arg-type]
    assert json.dumps(vars(made), default=repr) == before


# ------------------------------------------------------------------ with Ray

NEEDS_MORE = """
from pathlib import Path
import torch
from torch import nn

class Large(nn.Module):
    def __init__(self, times):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10),
        )
        self.steps, self.times = 0, times

    def forward(self, x):
        # Six steps are an epoch: in the third, so many times.
        self.steps += self.training
        tries = Path(__file__).with_name("tries")
        tried = len(tries.read_text()) if tries.exists() else 0
        if self.steps > 14 and tried < self.times:
            tries.write_text("x" * (tried + 1))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self.body(x)

def once():
    return Large(1)

def always():
    return Large(100)
"""

PROGRAM = """
import sys, tempfile, threading, time
from pathlib import Path
import ray, yaml
from rich.console import Console
from dfkd_tune.records import RunFolder
from dfkd_tune.sweeps import Allotment, prepare_environment, resolve_experiment, run_sweep
import dfkd_tune.sweeps._allot_here as allot_here
from dfkd_tune.errors import CannotRecordError
from disks import small_disk
from vanishing import Vanishing

# Ray counts a GPU that is not there, and the trials compute on the CPU.
Allotment.device = property(lambda self: "cpu")
allot_here.gpu_count = lambda: 1

def vanish(run):
    # In the middle of the first trial, from under the driver and its trial.
    while not run.trial_folder("t0000").epochs():
        time.sleep(0.02)
    away = Vanishing(run.path)
    away.go(2.0)
    away.timer.join()
    print("made anew" if away.made_anew else "came back")

def fill(run, disk):
    while not (run.trial_folder("t0000").checkpoints / "epoch_000003").exists():
        time.sleep(0.02)
    disk.fill(0)

def on_a_full_disk(resolved, run, console):
    # In the middle of the first trial nothing can be written any more; then there is space again.
    with small_disk(run.path.parent, 32 * 1024) as disk:
        threading.Thread(target=fill, args=(run, disk)).start()
        try:
            run_sweep(resolved, command="x", console=console)
        except CannotRecordError as error:
            print("ended:", error)
        print("state:", run.run().state, run.run().message)
        folder = run.trial_folder("t0000")
        numbers = [epoch.epoch for epoch in folder.epochs()]
        print("epochs:", numbers == list(range(1, 1 + len(numbers))))
        disk.free()
        print("again:", run_sweep(resolved, command="x", console=console).exit_code)
        print("then:", folder.status().state, len(folder.epochs()), len(folder.status().restores))

if __name__ == "__main__":
    prepare_environment(local=True)
    ray.init(address="local", num_cpus=2, num_gpus=1, include_dashboard=False,
             log_to_driver=False, _temp_dir=tempfile.mkdtemp(prefix="ray"))
    for file in sys.argv[1:]:
        resolved = resolve_experiment(yaml.safe_load(Path(file).read_text()), file)
        run = RunFolder(resolved.experiment.storage / resolved.experiment.name)
        console = Console(file=sys.stdout, width=200)
        if resolved.experiment.name == "full":
            on_a_full_disk(resolved, run, console)
            continue
        threading.Thread(target=vanish, args=(run,)).start()
        print(run_sweep(resolved, command="x", console=console).exit_code)
    ray.shutdown()
"""


@pytest.mark.sweep
@pytest.mark.long
@pytest.mark.timeout(600)
def test_sweeps_survive_memory_and_storage_that_fail(
    tiny: dict[str, Any], storage: Path, tmp_path: Path
) -> None:
    """Three sweeps under one Ray: of two a trial runs out of GPU memory, of one the disk is full.

    The GPU is simulated: torch's own error is raised without one, and Ray only counts its shares.
    Meanwhile their run folders go away for two seconds, and a disk is filled, for real.
    """
    (tmp_path / "nets.py").write_text(NEEDS_MORE)
    (tmp_path / "program.py").write_text(PROGRAM)
    plain = copy.deepcopy(tiny)
    plain |= {"name": "full", "storage": str(tmp_path / "disk"), "cache": str(storage)}
    plain["settings"]["schedule"] |= {"epochs": 60, "iterations_per_epoch": 10}
    plain["search"] = {"trials": 1, "scheduler": {"name": "none"}}
    plain["resources"] = {"gpus_per_trial": 0.25}
    files = [tmp_path / "full.yaml"]
    files[0].write_text(yaml.safe_dump(plain))
    for name in ("once", "always"):
        student = f"{tmp_path / 'nets.py'}:{name}"
        raw = tiny | {"name": name, "storage": str(storage)}
        raw["settings"]["student"] = {"architecture": student}
        raw["settings"]["student_objective"] = {"attention_transfer": {"weight": 0.0}}
        raw["space"]["ranges"] |= {
            "student.architecture": student,
            "student.width": 1.0,
            "student_objective.attention_transfer.weight": 0.0,
        }
        raw["search"] = {"trials": 1, "scheduler": {"name": "none"}}
        raw["resources"] = {"gpus_per_trial": 0.25}
        files.append(tmp_path / f"{name}.yaml")
        files[-1].write_text(yaml.safe_dump(raw))
    # Who is not root may mount in a name space of their own.
    within = [] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    ended = subprocess.run(
        [*within, sys.executable, str(tmp_path / "program.py"), *map(str, files)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "support")},
    )
    assert ended.returncode == 0, ended.stderr
    said = ended.stdout
    more = "t0000 ran out of GPU memory: once more, 2 at once, each with 1 CPU and 0.5 GPU"
    assert said.count(more) == 2
    assert said.count("came back") == 2
    assert "made anew" not in said

    assert "ended: disk full: cannot write" in said, said
    assert "state: interrupted disk full: cannot write" in said
    assert "epochs: True" in said
    assert "again: 0" in said
    assert "then: complete 60 1" in said

    once, always = (RunFolder(storage / name).trial_folder("t0000") for name in ("once", "always"))

    status = once.status()
    assert (status.state, status.error) == ("complete", None)
    (restore,) = status.restores
    assert restore.error is not None
    assert restore.error.type == "OutOfGpuMemoryError"
    assert restore.from_epoch == 2
    assert [epoch.epoch for epoch in once.epochs()] == list(range(1, 7))

    status = always.status()
    assert status.state == "failed"
    assert status.reason.startswith("out of GPU memory")
    assert len(status.restores) == 1, "tried twice, not more"
    for run in (storage / "once", storage / "always"):
        page = write_report([run]).html.read_text(encoding="utf-8")
        assert "in forward" in page, "the first traceback"
        assert "OutOfGpuMemoryError" in page
