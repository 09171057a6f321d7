"""What the folder of a trial gives."""

from pathlib import Path

from record_examples import TIME, epoch_record

from dfkd_tune.records import FINAL_STATES, RestoreRecord, TrialFolder, append_record


def test_of_a_repeated_epoch_the_newest_is_kept_in_order(tmp_path: Path) -> None:
    trial = TrialFolder(tmp_path)
    assert trial.epochs() == []
    for epoch, accuracy in [(1, 0.1), (2, 0.2), (3, 0.3), (2, 0.4), (3, 0.5)]:
        append_record(trial.metrics_file, epoch_record(epoch, validation={"accuracy": accuracy}))
    found = [(r.epoch, r.validation["accuracy"]) for r in trial.epochs()]
    assert found == [(1, 0.1), (2, 0.4), (3, 0.5)]


def test_status_keeps_what_a_change_does_not_name(tmp_path: Path) -> None:
    trial = TrialFolder(tmp_path / "t0001")
    trial.set_status("running")
    restore = RestoreRecord(session="s", time=TIME, from_epoch=4)
    trial.set_status("running", restores=(restore,))
    trial.set_status("stopped", reason="rung")
    status = trial.status()
    assert (status.state, status.reason, status.restores) == ("stopped", "rung", (restore,))
    assert status.updated
    assert "running" not in FINAL_STATES
    assert "stopped" in FINAL_STATES


def test_image_grids_are_found_by_epoch(tmp_path: Path) -> None:
    trial = TrialFolder(tmp_path)
    trial.images.mkdir()
    for name in ("epoch_000010.png", "epoch_000002.png", "epoch_last.png", "other.png"):
        (trial.images / name).touch()
    assert list(trial.image_grids()) == [2, 10]
    assert trial.image_grids()[10] == trial.images / "epoch_000010.png"
