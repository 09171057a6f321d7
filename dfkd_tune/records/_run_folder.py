"""The folder of one run."""

import json
from pathlib import Path
from typing import Any, Self

from dfkd_tune.errors import RunFolderError
from dfkd_tune.records._gpu_share import GpuShareRecord
from dfkd_tune.records._patience import wait_for
from dfkd_tune.records._pool import PoolRecord
from dfkd_tune.records._population import ComparisonRecord
from dfkd_tune.records._reading import read_content, read_lines, read_record
from dfkd_tune.records._run import RunRecord, SessionRecord
from dfkd_tune.records._selected_images import SelectedImagesRecord
from dfkd_tune.records._selection import SelectionRecord
from dfkd_tune.records._teacher import TeacherCard
from dfkd_tune.records._trial_folder import TrialFolder
from dfkd_tune.records._writing import TRIALS
from dfkd_tune.records._yardsticks import YardsticksRecord


class RunFolder:
    """Paths and records of one run.

    Args:
        path: of the folder.
        patient: wait for a folder that has gone, as a sweep and its trials do; a report does not.
    """

    def __init__(self, path: Path, *, patient: bool = False) -> None:
        self.path = path
        self.within = path if patient else None
        self.run_file = path / "run.json"
        self.experiment_file = path / "experiment.json"
        self.sessions_file = path / "sessions.jsonl"
        self.lock_file = path / "lock"
        self.teacher_card_file = path / "teacher" / "card.json"
        self.teacher_weights = path / "teacher" / "weights.safetensors"
        self.audit_card_file = path / "audit" / "card.json"
        self.audit_images = path / "audit" / "images.safetensors"
        self.gpu_share_file = path / "gpu_share.json"
        self.trials_path = path / TRIALS
        self.population_file = path / "population.jsonl"
        self.pool_file = path / "pool.json"
        self.selection_file = path / "selection.json"
        self.selected_path = path / "selected"
        self.selected_images_file = self.selected_path / "images.json"
        self.yardsticks_file = path / "yardsticks.json"
        self.report_path = path / "report"
        self.ray_path = path / "ray"

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an existing run folder.

        Raises:
            RunFolderError: if the path does not exist or is not a run folder of a known version.
        """
        if not path.is_dir():
            raise RunFolderError(f"{path} is not a folder; give the folder of a run")
        folder = cls(path)
        if not folder.run_file.exists():
            inner = sorted(p.parent.name for p in path.glob("*/run.json"))
            hint = f"; it holds the runs {', '.join(inner)}" if inner else ""
            raise RunFolderError(
                f"{path} is not a run folder (no run.json){hint}; "
                f"give a folder that `dfkd-tune sweep` or `dfkd-tune distill` wrote"
            )
        folder.run()
        return folder

    def run(self) -> RunRecord:
        """What this folder is."""
        return read_record(self.run_file, RunRecord, self.within)

    def experiment(self) -> dict[str, Any]:
        """The experiment as resolved.

        Raises:
            RunFolderError: if the file is missing or damaged.
        """
        try:
            value = json.loads(read_content(self.experiment_file, self.within))
        except (OSError, ValueError) as error:
            raise RunFolderError(f"cannot read {self.experiment_file}: {error}") from error
        if not isinstance(value, dict):
            raise RunFolderError(f"{self.experiment_file} is damaged: not a mapping")
        return value

    def sessions(self) -> list[SessionRecord]:
        """All starts of the command, oldest first."""
        return list(read_lines(self.sessions_file, SessionRecord))

    def teacher_card(self) -> TeacherCard | None:
        """The teacher's card, or None while there is none yet."""
        if not self.teacher_card_file.exists():
            return None
        return read_record(self.teacher_card_file, TeacherCard)

    def gpu_share(self) -> GpuShareRecord | None:
        """How many trials share a GPU; None where that was not measured."""
        if not self.gpu_share_file.exists():
            return None
        return read_record(self.gpu_share_file, GpuShareRecord)

    def selection(self) -> SelectionRecord | None:
        """The selected trial, or None while there is none yet."""
        if not self.selection_file.exists():
            return None
        return read_record(self.selection_file, SelectionRecord)

    def selected_images(self) -> SelectedImagesRecord | None:
        """What the selected trial's images are like; None where that was not looked at."""
        if not self.selected_images_file.exists():
            return None
        return read_record(self.selected_images_file, SelectedImagesRecord)

    def comparisons(self) -> list[ComparisonRecord]:
        """The comparisons of population based training, oldest first."""
        return list(read_lines(self.population_file, ComparisonRecord, self.within))

    def pool(self) -> PoolRecord | None:
        """How the students do on one another's images; None where that was not measured."""
        return read_record(self.pool_file, PoolRecord) if self.pool_file.exists() else None

    def yardsticks(self) -> YardsticksRecord | None:
        """What the student reaches with real images; None where that was not measured."""
        if not self.yardsticks_file.exists():
            return None
        return read_record(self.yardsticks_file, YardsticksRecord)

    def founders(self) -> list[TrialFolder]:
        """The trials that did not take the place of another one: those that were asked for."""
        return [folder for folder in self.trial_folders() if folder.trial().parent is None]

    def places_taken(self) -> set[str]:
        """The trials whose place was taken by a child of another one."""
        parents = (folder.trial().parent for folder in self.trial_folders())
        return {parent.place_of for parent in parents if parent is not None}

    def trial_folder(self, name: str) -> TrialFolder:
        """The folder of the trial of that name, whether it exists or not."""
        return TrialFolder(self.trials_path / name, self.within)

    def trial_folders(self) -> list[TrialFolder]:
        """All trials that have a configuration and a status, in order of proposal."""
        if self.within is not None:
            wait_for(self.within)
        folders = [self.trial_folder(path.name) for path in sorted(self.trials_path.glob("t*"))]
        return [f for f in folders if f.trial_file.exists() and f.status_file.exists()]
