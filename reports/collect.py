"""Collect: from the files of a run folder to one frozen picture of it.

Only `run.json` must be readable. Whatever else is missing or damaged becomes an entry in
`problems`, so that a report of a broken run says what is broken instead of failing itself.
"""

import fcntl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dfkd_tune.epochs import EpochReader
from dfkd_tune.errors import RunFolderError
from dfkd_tune.records import (
    AuditCard,
    EpochTable,
    PoolRecord,
    RunFolder,
    RunRecord,
    SelectedImagesRecord,
    SelectionRecord,
    SessionRecord,
    StatusRecord,
    TeacherCard,
    TestOutcome,
    TrialFolder,
    TrialRecord,
    YardsticksRecord,
    epoch_table,
    read_record,
)

Value = TypeVar("Value")

NO_EPOCHS = epoch_table([])


@dataclass(frozen=True, kw_only=True)
class TrialData:
    """All that is known of one trial.

    Args:
        name: the trial's name, such as `t0007`.
        trial: its configuration; None where the file is damaged.
        status: where it stands; None where the file is damaged.
        epochs: one record per trained epoch, in order.
        image_grids: PNG files of synthetic images by epoch.
        student_weights: the student's weights file; None where there is none.
        test: of a comparison's trial on the test split; None where it was not measured.
        problems: what could not be read, in words.
    """

    name: str
    trial: TrialRecord | None
    status: StatusRecord | None
    epochs: EpochTable = NO_EPOCHS
    image_grids: Mapping[int, Path] = field(default_factory=dict)
    student_weights: Path | None = None
    test: TestOutcome | None = None
    problems: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """The state as recorded, or `unreadable` where configuration or status are damaged."""
        if self.trial is None or self.status is None:
            return "unreadable"
        return self.status.state

    @property
    def evaluated(self) -> EpochTable:
        """The epochs that have a value of the search objective."""
        return self.epochs.evaluated

    @cached_property
    def values(self) -> tuple[float, ...]:
        """All finite values of the search objective, in order; fractions."""
        values = self.evaluated.numbers("value")
        return tuple(values[np.isfinite(values)].tolist())

    @cached_property
    def seconds(self) -> float:
        """Wall seconds of all epochs that count; epochs trained again count once."""
        return float(self.epochs.numbers("seconds.total").sum())

    @cached_property
    def student_steps(self) -> int:
        """Student steps so far, with those that it took over from another trial."""
        steps = self.epochs.numbers("student_steps")
        return int(steps[-1]) if len(steps) else self.inherited_steps

    @property
    def inherited_steps(self) -> int:
        """Student steps that it counts, and that others trained."""
        return self.trial.inherited_steps if self.trial is not None else 0

    @property
    def trained_steps(self) -> int:
        """Student steps that it has trained itself."""
        return self.student_steps - self.inherited_steps


@dataclass(frozen=True, kw_only=True)
class RunData:
    """All that is known of one run.

    Args:
        path: the run folder.
        run: what the folder is.
        live: whether a command works in the folder now.
        experiment: the experiment as resolved; empty where it cannot be read.
        sessions: all starts of the command, oldest first.
        teacher: the teacher's card; None while there is none.
        selection: the selected trial and what it was measured on; None while there is none.
        trials: all trials in order of proposal.
        audit: the card of the audit set; None where the run has none.
        pool: how the students do on one another's images; None where that was not measured.
        yardsticks: what the student reaches with real images; None where it was not measured.
        selected_images: what the selected trial's images are like; None where it is not known.
        problems: what could not be read, in words; without those of single trials.
        computed: what `once` has computed of it.
    """

    path: Path
    run: RunRecord
    live: bool
    experiment: Mapping[str, Any]
    sessions: tuple[SessionRecord, ...]
    teacher: TeacherCard | None
    selection: SelectionRecord | None
    trials: tuple[TrialData, ...]
    audit: AuditCard | None = None
    pool: PoolRecord | None = None
    yardsticks: YardsticksRecord | None = None
    selected_images: SelectedImagesRecord | None = None
    problems: tuple[str, ...] = ()
    computed: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def found_selection(self) -> SelectionRecord | None:
        """The selection, where its trial is in the run folder; else its numbers are of no row."""
        if self.selection is None or self.find_trial(self.selection.trial) is None:
            return None
        return self.selection

    def find_trial(self, name: str) -> TrialData | None:
        """The trial of that name, or None."""
        return next((trial for trial in self.trials if trial.name == name), None)


def once(compute: Callable[[RunData], Value]) -> Callable[[RunData], Value]:
    """Compute something of a run the first time only, for what many parts of a report need."""

    @wraps(compute)
    def computed(run: RunData) -> Value:
        if compute not in run.computed:
            run.computed[compute] = compute(run)
        found: Value = run.computed[compute]
        return found

    return computed


def collect_run(path: Path, reader: EpochReader | None = None) -> RunData:
    """Read a run folder, however far it is and whatever is broken in it.

    Args:
        path: the run folder.
        reader: of its epochs; by default one of its own.

    Returns:
        Everything the folder's records hold.

    Raises:
        RunFolderError: if the path is no run folder of a known version.
    """
    if reader is None:
        with EpochReader() as own:
            return collect_run(path, own)
    folder = RunFolder.open(path)
    run = folder.run()
    problems: list[str] = []
    folders = folder.trial_folders()
    trials: list[TrialData] = []
    epochs = reader.read(
        path,
        run.name,
        [(trial.name, trial.metrics_file) for trial in folders],
        meanwhile=lambda: trials.extend(map(_collect_trial, folders)),
    )
    return RunData(
        path=path,
        run=run,
        live=is_locked(folder.lock_file),
        experiment=_read(folder.experiment, {}, problems),
        sessions=tuple(_read(folder.sessions, [], problems)),
        teacher=_read(folder.teacher_card, None, problems),
        selection=_read(folder.selection, None, problems),
        trials=tuple(map(_with_epochs, trials, epochs)),
        audit=_read(lambda: _audit_card(folder.audit_card_file), None, problems),
        pool=_read(folder.pool, None, problems),
        yardsticks=_read(folder.yardsticks, None, problems),
        selected_images=_read(folder.selected_images, None, problems),
        problems=tuple(problems),
    )


def is_locked(lock_file: Path) -> bool:
    """Whether a command holds the lock of a run folder.

    The probe asks for a shared lock without waiting and gives it back at once, so that it neither
    disturbs the holder nor keeps another command out.

    Args:
        lock_file: the file that a working command holds by `flock`.

    Returns:
        False where nobody holds it, or where the file does not exist or cannot be opened.
    """
    try:
        with lock_file.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            fcntl.flock(file, fcntl.LOCK_UN)
    except OSError:
        return False
    return False


def _audit_card(path: Path) -> AuditCard | None:
    """Read the card of an audit set; None where there is none."""
    return read_record(path, AuditCard) if path.exists() else None


def _with_epochs(trial: TrialData, epochs: EpochTable | OSError) -> TrialData:
    if isinstance(epochs, OSError):
        problem = f"{type(epochs).__name__}: {epochs}"
        return replace(trial, problems=(*trial.problems, problem))
    return replace(trial, epochs=epochs)


def _collect_trial(folder: TrialFolder) -> TrialData:
    """Read one trial but for its epochs, noting what cannot be read."""
    problems: list[str] = []
    weights = folder.student_weights
    return TrialData(
        name=folder.name,
        trial=_read(folder.trial, None, problems),
        status=_read(folder.status, None, problems),
        image_grids=_read(folder.image_grids, {}, problems),
        student_weights=weights if weights.is_file() else None,
        test=_read(folder.test, None, problems),
        problems=tuple(problems),
    )


def _read(reader: Callable[[], Value], otherwise: Value, problems: list[str]) -> Value:
    """Call a reader of records; note its failure and go on with another value."""
    try:
        return reader()
    except RunFolderError as error:
        problems.append(str(error))
    except (OSError, ValueError) as error:
        problems.append(f"{type(error).__name__}: {error}")
    return otherwise
