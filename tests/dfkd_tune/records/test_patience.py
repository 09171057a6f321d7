"""A disk that is full and a storage that goes away: nothing recorded is harmed, and all goes on."""

import errno
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from disks import SmallDisk, small_disk
from record_examples import STATUS, TRIAL, epoch_record, run_record
from vanishing import Vanishing

from dfkd_tune.errors import DiskFullError, RunFolderError, StorageGoneError
from dfkd_tune.records import (
    EpochRecord,
    RunFolder,
    append_record,
    patiently,
    read_lines,
    write_bytes_atomically,
    write_record,
)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 512) as disk:
        yield disk


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run with one trial of one epoch, as a sweep holds it."""
    folder = RunFolder(tmp_path / "runs" / "tiny", patient=True)
    write_record(folder.run_file, run_record())
    trial = folder.trial_folder("t0001")
    write_record(trial.trial_file, TRIAL)
    write_record(trial.status_file, STATUS)
    append_record(trial.metrics_file, epoch_record(1))
    return folder


def test_a_line_that_finds_no_space_leaves_the_file_as_it_was(disk: SmallDisk) -> None:
    path = disk.path / "metrics.jsonl"
    append_record(path, epoch_record(1))
    before = path.read_bytes()
    disk.fill(0)
    long = epoch_record(2, losses={f"student/{i}": 0.1 for i in range(5000)})
    with pytest.raises(DiskFullError, match="disk full: cannot write") as caught:
        append_record(path, long)
    assert "\n" not in str(caught.value)
    assert "give the same command again" in str(caught.value)
    assert path.read_bytes() == before
    disk.free()
    append_record(path, long)
    assert list(read_lines(path, EpochRecord)) == [epoch_record(1), long]


def test_a_file_that_finds_no_space_keeps_its_old_content(disk: SmallDisk) -> None:
    path = disk.path / "status.json"
    write_bytes_atomically(path, b"old")
    disk.fill(8)
    with pytest.raises(DiskFullError, match=r"cannot write .*status\.json"):
        write_bytes_atomically(path, b"0" * 100_000)
    assert path.read_bytes() == b"old"
    assert [p for p in disk.path.iterdir() if p.name != "ballast"] == [path]
    disk.free()
    write_bytes_atomically(path, b"0" * 100_000)
    assert path.stat().st_size == 100_000


WRITES: dict[str, Callable[[RunFolder], None]] = {
    "epoch": lambda run: append_record(run.trial_folder("t0001").metrics_file, epoch_record(2)),
    "status": lambda run: run.trial_folder("t0001").set_status("complete"),
    "new trial": lambda run: run.trial_folder("t0002").set_status("running"),
    "images": lambda run: write_bytes_atomically(run.trial_folder("t0001").images / "1.png", b"x"),
    "run": lambda run: write_record(run.run_file, run.run(), anew=False),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_write_waits_for_a_run_folder_that_comes_back(run: RunFolder, write: str) -> None:
    away = Vanishing(run.path)
    away.go(0.6)
    WRITES[write](run)
    assert not away.made_anew
    folder = run.trial_folder("t0001")
    assert len(folder.epochs()) == (2 if write == "epoch" else 1)
    # What the status had before is kept: an absent folder was not taken for an empty one.
    assert folder.status().restores == STATUS.restores
    assert folder.status().state == ("complete" if write == "status" else STATUS.state)
    assert not list(run.path.rglob("*.partial"))


def test_a_sweep_waits_when_it_reads(run: RunFolder) -> None:
    away = Vanishing(run.path)
    for read in (
        lambda: [folder.name for folder in run.trial_folders()],
        lambda: [epoch.epoch for epoch in run.trial_folder("t0001").epochs()],
        lambda: run.trial_folder("t0001").status(),
        run.run,
    ):
        before = read()
        away.go(0.3)
        assert read() == before
        assert not away.made_anew


def test_a_report_does_not_wait(run: RunFolder) -> None:
    run.path.rename(run.path.with_name("aside"))
    with pytest.raises(RunFolderError, match="is missing"):
        RunFolder(run.path).run()
    assert RunFolder(run.path).trial_folders() == []


@pytest.mark.parametrize("write", WRITES)
def test_a_storage_that_stays_away_is_one_error_and_no_new_folder(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    monkeypatch.setattr("dfkd_tune.records._patience.PATIENCE_SECONDS", 0.4)
    run.path.rename(run.path.with_name("aside"))
    with pytest.raises(StorageGoneError, match="storage gone: cannot ") as caught:
        WRITES[write](run)
    assert "\n" not in str(caught.value)
    assert not run.path.exists()


@pytest.mark.parametrize(
    "number", [errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN]
)
def test_what_a_share_says_while_its_server_is_away_is_waited_for(
    tmp_path: Path, number: int
) -> None:
    """No server here: the system's errors are raised in its place."""
    answers = [OSError(number, "away"), OSError(number, "away"), None]

    def work() -> str:
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        return "done"

    assert patiently(work, tmp_path) == "done"
    assert answers == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOSPC, errno.EISDIR, errno.ENOENT])
def test_what_waiting_cannot_help_is_said_at_once(tmp_path: Path, number: int) -> None:
    tries = []

    def work() -> None:
        tries.append(1)
        raise OSError(number, "no")

    with pytest.raises(OSError, match="no"):
        patiently(work, tmp_path)
    assert len(tries) == (2 if number == errno.ENOENT else 1)
