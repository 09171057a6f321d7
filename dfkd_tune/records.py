"""The contract of what a run folder holds: written by trials and sweeps, read by reports.

```
<run>/
  run.json                 RunRecord: what this folder is, and how far it is
  experiment.json          the experiment as resolved, every default filled in
  sessions.jsonl           SessionRecord, one line per start of the command
  lock                     held (flock) while a command works in this folder
  teacher/card.json        TeacherCard
  teacher/weights.safetensors
  audit/card.json          AuditCard, where the search objective is data_free
  audit/images.safetensors `images` (N, C, H, W), normalised, and `labels` (N,)
  trials/t0000/
    trial.json             TrialRecord: the configuration and where it came from
    metrics.jsonl          EpochRecord, one line per epoch; a repeated epoch replaces the older line
    status.json            StatusRecord: state, reason, error, restores
    checkpoints/epoch_000010/   the two newest complete states (see dfkd_tune.distillation)
    images/epoch_000010.png     a grid of synthetic images, one column per class
    student.safetensors    weights at the last epoch of a complete trial
    generator.safetensors
  selection.json           SelectionRecord: the trial chosen on validation, its test numbers
  report/                  report.html, trials.csv, curves.csv, summary.json, best_config.json
  ray/                     Ray's scratch; never read back
```

All files are plain JSON, JSON Lines, PNG or safetensors. A JSON file is replaced atomically, and a
JSON Lines file only grows, so that a reader never meets half a record but for the last line of a
JSONL, which it passes over. Readers ignore fields that they do not know.
Accuracies are fractions in [0, 1]; relative accuracies are percent; times are UTC in ISO 8601.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dfkd_tune.errors import RunFolderError, StorageError

SCHEMA_VERSION = 1

TrialState = Literal["running", "interrupted", "complete", "stopped", "diverged", "failed"]
"""running: training or waiting to go on; interrupted: ended by a person or a time budget, goes on
when resumed; complete: the whole budget; stopped: ended early by the scheduler; diverged: a
non-finite loss; failed: an error."""

FINAL_STATES: frozenset[TrialState] = frozenset({"complete", "stopped", "diverged", "failed"})

RunState = Literal["running", "complete", "interrupted", "failed"]


class Record(BaseModel):
    """Base of all records: frozen, and tolerant of fields from newer versions."""

    # JSON of Python's own dialect: NaN and Infinity stay what they are.
    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="constants")


class RunRecord(Record):
    """`run.json`. `kind` sweep: many trials; distill: one trial outside a search."""

    schema_version: int = SCHEMA_VERSION
    kind: Literal["sweep", "distill"]
    name: str
    state: RunState
    experiment_hash: str = Field(description="of all that decides which trials this run may hold")
    created: str
    updated: str
    session: str = Field(description="id of the start that owns the folder now")
    message: str = Field(default="", description="why it is in this state, in words")


class SessionRecord(Record):
    """One line of `sessions.jsonl`: a start of the command, with the machine it ran on."""

    session: str
    started: str
    command: str = Field(description="shell-quoted, as typed")
    resumed: bool
    environment: dict[str, Any] = Field(
        description="python, platform, packages {name: version}, hardware {cpu, cpu_cores, "
        "memory_gib, gpus: [name]}, git_commit"
    )


class SplitScore(Record):
    """How a classifier did on one split of real data."""

    accuracy: float
    correct: int
    images: int


class TeacherCard(Record):
    """`teacher/card.json`: what the teacher is and how good."""

    schema_version: int = SCHEMA_VERSION
    benchmark: str
    architecture: str
    width: float
    parameters: int
    source: Literal["trained", "file"]
    origin: str = Field(description="the command's own training, or the weights file as given")
    arguments: dict[str, Any] = Field(
        default_factory=dict, description="of the factory of a network that is not ours"
    )
    stages: tuple[str, ...] = Field(default=(), description="as named; empty: found by themselves")
    inputs: dict[str, Any] = Field(
        default_factory=dict, description="channels, height, width, mean, std, num_classes"
    )
    recipe: dict[str, Any] = Field(default_factory=dict)
    precision: str = Field(default="float32", description="that it was trained in")
    hardware: dict[str, Any] = Field(default_factory=dict)
    recipe_hash: str
    weights_sha256: str
    data_hash: str = Field(
        description="of the train split's images and labels; empty where there are none"
    )
    scores: dict[str, SplitScore] = Field(
        default_factory=dict,
        description="by split name, where there are labels; `test` appears only in selection.json "
        "and in the card of a teacher that the `teacher` command made",
    )
    seconds: float
    versions: dict[str, str] = Field(default_factory=dict)
    created: str


class NetworkSize(Record):
    """What a student costs."""

    parameters: int
    macs: int = Field(description="multiply-accumulates of one image's forward pass")
    latency_ms: float | None = Field(
        default=None,
        description="median forward pass of one image on the CPU that proposed the trial, with "
        "its threads",
    )


class TrialRecord(Record):
    """`trial.json`: one configuration to distil."""

    schema_version: int = SCHEMA_VERSION
    trial: str = Field(description="name, such as t0007, counted in order of proposal")
    number: int
    origin: Literal["recipe", "sampler", "given"]
    parameters: dict[str, Any] = Field(description="searched values by key, such as kd.weight")
    configuration: dict[str, Any] = Field(description="the whole DistillationConfig")
    student_size: NetworkSize
    total_student_steps: int
    threads: int = Field(description="CPU threads the trial computes with; decides rounding")
    device: str
    created: str


class Seconds(Record):
    """Where an epoch's wall time went."""

    synthesis: float
    student: float
    evaluation: float
    total: float


class EpochRecord(Record):
    """One line of `metrics.jsonl`."""

    epoch: int = Field(description="counted from 1")
    total_epochs: int
    stage: Literal["generator", "student", "alternating"]
    student_steps: int = Field(description="since the trial's start")
    generator_steps: int
    value: float | None = Field(
        default=None,
        description="of the search objective, a fraction; None where not evaluated",
    )
    validation: dict[str, float] = Field(
        description="accuracy, agreement with the teacher, kl (nats) on the validation split; "
        "without accuracy where its images have no labels; audit_agreement and audit_kl on the "
        "audit set; empty where this epoch was not evaluated"
    )
    losses: dict[str, float] = Field(
        description="epoch means of the weighted terms, such as student/kd; raw x weight"
    )
    learning_rates: dict[str, float] = Field(description="generator, student; at the epoch's end")
    class_entropy: float | None = Field(
        default=None, description="of the teacher's mean prediction on synthetic images, nats"
    )
    seconds: Seconds
    images_per_second: float = Field(description="synthetic images that passed through training")
    peak_memory_mib: float
    session: str
    time: str


class RestoreRecord(Record):
    """A trial that went on from a checkpoint, or had to start again."""

    session: str
    time: str
    from_epoch: int = Field(description="0: from the start")
    note: str = ""


class ErrorRecord(Record):
    """What ended or interrupted a trial."""

    type: str
    message: str
    traceback: str = ""


class StatusRecord(Record):
    """`status.json`: where a trial stands."""

    state: TrialState
    reason: str = ""
    error: ErrorRecord | None = None
    restores: tuple[RestoreRecord, ...] = ()
    updated: str


class TestOutcome(Record):
    """Paired outcome of student and teacher on the same test images."""

    __test__ = False

    images: int = Field(ge=1)
    both_correct: int
    student_only: int
    teacher_only: int
    neither: int

    @property
    def student_accuracy(self) -> float:
        """Fraction of images that the student classifies rightly."""
        return (self.both_correct + self.student_only) / self.images

    @property
    def teacher_accuracy(self) -> float:
        """Fraction of images that the teacher classifies rightly."""
        return (self.both_correct + self.teacher_only) / self.images

    @property
    def relative_accuracy(self) -> float:
        """100 x student / teacher, percent; NaN where the teacher has no image right."""
        teacher = self.both_correct + self.teacher_only
        return 100 * (self.both_correct + self.student_only) / teacher if teacher else float("nan")


class HeldOutAgreement(Record):
    """How often student and teacher choose the same class, on images without labels."""

    images: int = Field(ge=1)
    same: int

    @property
    def agreement(self) -> float:
        """Fraction of images on which both choose one class."""
        return self.same / self.images


class AuditCard(Record):
    """`audit/card.json`: images made from the teacher alone, before any trial."""

    schema_version: int = SCHEMA_VERSION
    images: int
    sha256: str = Field(description="of the file of images; the version of the audit set")
    teacher_sha256: str = Field(description="of the teacher's weights")
    inversions: list[dict[str, Any]] = Field(description="settings of each")
    teacher_accuracy: float = Field(
        description="fraction of images in which the teacher sees the preset label"
    )
    class_entropy: float = Field(description="of the teacher's mean prediction, nats")
    seconds: float
    created: str


class SelectionRecord(Record):
    """`selection.json`: the trial chosen on the validation split, and its one look at the test."""

    schema_version: int = SCHEMA_VERSION
    trial: str
    rule: str = Field(description="in words: what was compared, on which split, among which trials")
    objective: str = Field(description="name of the search objective, such as val_real")
    candidates: int = Field(description="complete trials that were compared")
    value: float | None = Field(default=None, description="of the search objective, a fraction")
    validation: dict[str, float] = Field(description="scores of the student at its last epoch")
    teacher_validation_accuracy: float | None = Field(
        default=None, description="None where there are no labels"
    )
    student_sha256: str
    test: TestOutcome | None = Field(default=None, description="None where there are no labels")
    held_out: HeldOutAgreement | None = Field(
        default=None, description="on unlabelled images that the choice has not seen"
    )
    test_evaluations: int = Field(description="how many students of this run met the test split")
    session: str
    time: str


AnyRecord = TypeVar("AnyRecord", bound=Record)


def now() -> str:
    """The present time in UTC, ISO 8601 to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def write_bytes_atomically(path: Path, content: bytes) -> None:
    """Replace a file so that a reader, or a crash, meets the old or the new content, never half.

    Raises:
        StorageError: if the folder cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}; free space or choose another storage"
        ) from error


def copy_file_atomically(source: Path, target: Path) -> None:
    """Copy a file so that a reader, or a crash, meets the whole copy or none.

    Raises:
        StorageError: if the folder cannot be written.
    """
    partial = target.with_suffix(".partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, partial)
        partial.replace(target)
    except OSError as error:
        raise StorageError(
            f"cannot write {target}: {error.strerror or error}; "
            f"free space or choose another storage"
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, atomically, keys in their own order."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=True)
    write_bytes_atomically(path, (text + "\n").encode())


def write_record(path: Path, record: Record) -> None:
    """Write one record as a JSON file, atomically."""
    write_bytes_atomically(path, (record.model_dump_json(indent=2) + "\n").encode())


def read_record(path: Path, kind: type[AnyRecord]) -> AnyRecord:
    """Read one record from a JSON file.

    Raises:
        RunFolderError: if the file is missing or does not hold such a record.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise RunFolderError(f"{path} is missing; is this a run folder?") from error
    except OSError as error:
        raise RunFolderError(f"cannot read {path}: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise RunFolderError(f"{path} is damaged: {where}: {first['msg']}") from error


def append_record(path: Path, record: Record) -> None:
    """Append one line to a JSON Lines file; a half line left by a crash is closed off first."""
    line = record.model_dump_json() + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            if file.tell() > 0:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    line = "\n" + line
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}; free space or choose another storage"
        ) from error


def read_lines(path: Path, kind: type[AnyRecord]) -> Iterator[AnyRecord]:
    """Read the records of a JSON Lines file, passing over lines that a crash cut short.

    A missing file holds no records.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                yield kind.model_validate_json(line)
            except ValidationError:
                continue


class TrialFolder:
    """Paths and records of one trial."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trial_file = path / "trial.json"
        self.metrics_file = path / "metrics.jsonl"
        self.status_file = path / "status.json"
        self.checkpoints = path / "checkpoints"
        self.images = path / "images"
        self.student_weights = path / "student.safetensors"
        self.generator_weights = path / "generator.safetensors"

    @property
    def name(self) -> str:
        """The trial's name, such as t0007."""
        return self.path.name

    def trial(self) -> TrialRecord:
        """The configuration."""
        return read_record(self.trial_file, TrialRecord)

    def status(self) -> StatusRecord:
        """Where the trial stands."""
        return read_record(self.status_file, StatusRecord)

    def set_status(self, state: TrialState, **changes: Any) -> None:
        """Change the state, keeping what `changes` does not name."""
        old = self.status() if self.status_file.exists() else StatusRecord(state=state, updated="")
        write_record(
            self.status_file, old.model_copy(update={"state": state, "updated": now(), **changes})
        )

    def epochs(self) -> list[EpochRecord]:
        """One record per epoch, in order; of an epoch trained again, the newest."""
        newest = {record.epoch: record for record in read_lines(self.metrics_file, EpochRecord)}
        return [newest[epoch] for epoch in sorted(newest)]

    def image_grids(self) -> dict[int, Path]:
        """The grids of synthetic images by epoch."""
        return {
            int(path.stem.removeprefix("epoch_")): path
            for path in sorted(self.images.glob("epoch_*.png"))
            if path.stem.removeprefix("epoch_").isdigit()
        }


class _Versioned(Record):
    schema_version: int = SCHEMA_VERSION


def _schema_version(path: Path) -> int:
    """The version of a record, whatever else it holds."""
    return read_record(path, _Versioned).schema_version


class RunFolder:
    """Paths and records of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run_file = path / "run.json"
        self.experiment_file = path / "experiment.json"
        self.sessions_file = path / "sessions.jsonl"
        self.lock_file = path / "lock"
        self.teacher_card_file = path / "teacher" / "card.json"
        self.teacher_weights = path / "teacher" / "weights.safetensors"
        self.audit_card_file = path / "audit" / "card.json"
        self.audit_images = path / "audit" / "images.safetensors"
        self.trials_path = path / "trials"
        self.selection_file = path / "selection.json"
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
        version = _schema_version(folder.run_file)
        if version > SCHEMA_VERSION:
            raise RunFolderError(
                f"{path} was written by a newer dfkd-tune (records version {version}, "
                f"this one reads {SCHEMA_VERSION}); upgrade dfkd-tune"
            )
        folder.run()
        return folder

    def run(self) -> RunRecord:
        """What this folder is."""
        return read_record(self.run_file, RunRecord)

    def experiment(self) -> dict[str, Any]:
        """The experiment as resolved.

        Raises:
            RunFolderError: if the file is missing or damaged.
        """
        try:
            value = json.loads(self.experiment_file.read_bytes())
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

    def selection(self) -> SelectionRecord | None:
        """The selected trial, or None while there is none yet."""
        if not self.selection_file.exists():
            return None
        return read_record(self.selection_file, SelectionRecord)

    def trial_folder(self, name: str) -> TrialFolder:
        """The folder of the trial of that name, whether it exists or not."""
        return TrialFolder(self.trials_path / name)

    def trial_folders(self) -> list[TrialFolder]:
        """All trials that have a configuration and a status, in order of proposal."""
        folders = [TrialFolder(path) for path in sorted(self.trials_path.glob("t*"))]
        return [f for f in folders if f.trial_file.exists() and f.status_file.exists()]
