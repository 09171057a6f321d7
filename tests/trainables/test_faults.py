"""What goes wrong in a trial is told in words, and costs no more than it must."""

import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from disks import SmallDisk, small_disk
from vanishing import Vanishing

from dfkd_tune.checkpoints import CheckpointStore
from dfkd_tune.errors import DiskFullError, OutOfGpuMemoryError, OutOfMemoryError
from dfkd_tune.records import EpochRecord, RunFolder, StatusRecord, TrialFolder
from reports import write_report
from trainables import SavingConfig, run_trial
from trainables._faults import TRAINING, what_ended

EPOCHS = 6


def train(run: RunFolder, on_epoch: Callable[[EpochRecord], None] = lambda _e: None) -> TrialFolder:
    run_trial(run, "t0000", session="mine", saving=SavingConfig(), on_epoch=on_epoch)
    return run.trial_folder("t0000")


def after(epoch: int, action: Callable[[], object]) -> Callable[[EpochRecord], None]:
    """Do something after an epoch."""

    def on_epoch(record: EpochRecord) -> None:
        if record.epoch == epoch:
            action()

    return on_epoch


def fail(error: Exception) -> Callable[[], None]:
    def raise_it() -> None:
        raise error

    return raise_it


def epochs(folder: TrialFolder) -> list[int]:
    return [record.epoch for record in folder.epochs()]


def test_a_trial_waits_for_a_run_folder_that_comes_back(run: RunFolder) -> None:
    away, patient = Vanishing(run.path), RunFolder(run.path, patient=True)
    folder = train(patient, after(2, lambda: away.go(2.0)))
    assert not away.made_anew
    assert folder.status().state == "complete"
    assert epochs(folder) == list(range(1, EPOCHS + 1))
    assert folder.status().restores == ()
    assert sorted(path.name for path in folder.checkpoints.iterdir()) == [
        "epoch_000004",
        "epoch_000005",
    ]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 16 * 1024) as disk:
        yield disk


def test_on_a_full_disk_checkpoints_are_given_up_before_records(
    run: RunFolder, disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First there is space for records alone, then for nothing, then again for all."""
    storage = disk.path / "run"
    shutil.copytree(run.path, storage)
    run = RunFolder(storage, patient=True)

    tried = {epoch: threading.Event() for epoch in range(1, EPOCHS + 1)}
    save = CheckpointStore.save

    def noted(store: CheckpointStore, epoch: int, state: Any) -> Path:
        try:
            return save(store, epoch, state)
        finally:
            tried[epoch].set()

    monkeypatch.setattr(CheckpointStore, "save", noted)

    def on_epoch(record: EpochRecord) -> None:
        # A checkpoint is written beside the training: one that is given up makes space again.
        if record.epoch < EPOCHS:
            assert tried[record.epoch].wait(60)
        if record.epoch == 2:
            disk.fill(60)
        if record.epoch == 4:
            disk.fill(0)

    with pytest.raises(DiskFullError, match=r"disk full: cannot write .*metrics\.jsonl"):
        train(run, on_epoch)
    folder = run.trial_folder("t0000")
    assert epochs(folder) == [1, 2, 3, 4]
    status = folder.status()
    assert status.state == "running"
    assert any(re.match("disk full: .*checkpoints/", line) for line in status.given_up)
    assert {path.name for path in folder.checkpoints.iterdir()} == {"epoch_000001", "epoch_000002"}
    disk.free()
    train(run)
    assert folder.status().state == "complete"
    assert [restore.from_epoch for restore in folder.status().restores] == [2]
    assert epochs(folder) == list(range(1, EPOCHS + 1))
    assert "disk full: cannot write" in write_report([run.path]).html.read_text(encoding="utf-8")


class CutError(Exception):
    """Ends a trial."""


@pytest.mark.parametrize(("damaged", "from_epoch"), [(1, 4), (2, 0)])
def test_a_checkpoint_with_damaged_bytes_costs_its_epochs_alone(
    run: RunFolder, damaged: int, from_epoch: int
) -> None:
    with pytest.raises(CutError):
        train(run, after(5, fail(CutError("by a test"))))
    folder = run.trial_folder("t0000")
    for path in sorted(folder.checkpoints.iterdir(), reverse=True)[:damaged]:
        content = bytearray((path / "state.pt").read_bytes())
        content[len(content) // 2] ^= 0xFF
        (path / "state.pt").write_bytes(content)
    train(run)
    status = folder.status()
    assert (status.state, status.error) == ("complete", None)
    (restore,) = status.restores
    assert restore.from_epoch == from_epoch
    assert restore.note.startswith("CutError: by a test; ")
    assert restore.note.count("is unreadable (its content has changed") == damaged
    assert restore.error is not None
    assert "raise error" in restore.error.traceback
    page = write_report([run.path]).html.read_text(encoding="utf-8")
    assert "CutError" in page
    assert "is unreadable" in page


def test_out_of_gpu_memory_is_told_with_that_word(run: RunFolder) -> None:
    """Simulated: torch's own error, raised where there is no GPU."""
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore")
    with pytest.raises(OutOfGpuMemoryError, match="out of GPU memory; give each trial a larger"):
        train(run, after(2, fail(error)))
    found = run.trial_folder("t0000").status().error
    assert found is not None
    assert found.type == "OutOfGpuMemoryError"
    assert "Tried to allocate 2.00 GiB." in found.message
    assert "\n" not in found.message
    assert "torch.OutOfMemoryError: CUDA" in found.traceback


def test_out_of_memory_of_the_machine_is_told(run: RunFolder) -> None:
    """For real: more bytes are asked for than any machine has."""
    with pytest.raises(OutOfMemoryError, match=r"out of memory; run fewer .* can't allocate"):
        train(run, after(2, lambda: torch.empty(2**50)))
    found = run.trial_folder("t0000").status().error
    assert found is not None
    assert found.type == "OutOfMemoryError"
    train(run)
    (restore,) = run.trial_folder("t0000").status().restores
    assert restore.error == found
    assert restore.from_epoch == 2


def test_a_process_that_died_is_known_by_what_it_left() -> None:
    left = StatusRecord(state="running", reason=TRAINING, updated="")
    found = what_ended(left, 812.4)
    assert found is not None
    assert found.type == "WorkerDied"
    assert "had used 812 MiB" in found.message
    assert "max_concurrent" in found.message
    waited = left.model_copy(update={"reason": "waiting to go on"})
    assert what_ended(waited, None) is None
    assert what_ended(left.model_copy(update={"state": "interrupted"}), None) is None
