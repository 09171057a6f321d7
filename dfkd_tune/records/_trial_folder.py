"""The folder of one trial."""

from pathlib import Path
from typing import Any

from dfkd_tune.records._patience import wait_for
from dfkd_tune.records._reading import read_lines, read_record
from dfkd_tune.records._selection import TestOutcome
from dfkd_tune.records._trial import EpochRecord, StatusRecord, TrialRecord, TrialState
from dfkd_tune.records._writing import now, write_record


class TrialFolder:
    """Paths and records of one trial.

    Args:
        path: of the folder.
        within: the run folder, where one that has gone is to be waited for.
    """

    def __init__(self, path: Path, within: Path | None = None) -> None:
        self.path = path
        self.within = within
        self.trial_file = path / "trial.json"
        self.metrics_file = path / "metrics.jsonl"
        self.status_file = path / "status.json"
        self.checkpoints = path / "checkpoints"
        self.images = path / "images"
        self.student_weights = path / "student.safetensors"
        self.generator_weights = path / "generator.safetensors"
        self.hang_file = path / "hang.txt"
        self.kept_images = path / "kept_images.safetensors"
        self.test_file = path / "test.json"

    @property
    def name(self) -> str:
        """The trial's name, such as t0007."""
        return self.path.name

    def trial(self) -> TrialRecord:
        """The configuration."""
        return read_record(self.trial_file, TrialRecord, self.within)

    def status(self) -> StatusRecord:
        """Where the trial stands."""
        return read_record(self.status_file, StatusRecord, self.within)

    def set_status(self, state: TrialState, **changes: Any) -> None:
        """Change the state, keeping what `changes` does not name."""
        old = self.status() if self.begun() else StatusRecord(state=state, updated="")
        write_record(
            self.status_file, old.model_copy(update={"state": state, "updated": now(), **changes})
        )

    def begun(self) -> bool:
        """Whether the trial has a status."""
        if self.within is not None:
            # A storage that has gone has no statuses, and must not be taken for an empty one.
            wait_for(self.within)
        return self.status_file.exists()

    def epochs(self) -> list[EpochRecord]:
        """One record per epoch, in order; of an epoch trained again, the newest."""
        newest = {
            record.epoch: record
            for record in read_lines(self.metrics_file, EpochRecord, self.within)
        }
        return [newest[epoch] for epoch in sorted(newest)]

    def hang(self) -> str:
        """What its process was doing when its watchdog ended it; empty where that never was."""
        try:
            return self.hang_file.read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""

    def test(self) -> TestOutcome | None:
        """What the student did on the test split; None where it was not measured there."""
        return read_record(self.test_file, TestOutcome) if self.test_file.exists() else None

    def image_grids(self) -> dict[int, Path]:
        """The grids of synthetic images by epoch."""
        return {
            int(path.stem.removeprefix("epoch_")): path
            for path in sorted(self.images.glob("epoch_*.png"))
            if path.stem.removeprefix("epoch_").isdigit()
        }
