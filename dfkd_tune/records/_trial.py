"""A trial: its configuration, its epochs, and where it stands."""

from typing import Any, Literal

from pydantic import Field

from dfkd_tune.records._record import SCHEMA_VERSION, Record

TrialState = Literal[
    "running", "interrupted", "complete", "stopped", "diverged", "collapsed", "failed"
]
"""running: training or waiting to go on; interrupted: ended by a person or a time budget, goes on
when resumed; complete: the whole budget; stopped: ended early by the scheduler; diverged: a
non-finite loss; collapsed: its synthesis made the same few images again and again; failed: an
error."""

LOST_STATES: frozenset[TrialState] = frozenset({"diverged", "collapsed"})
"""Ended by its own training, without a result: trying again would end alike."""

FINAL_STATES: frozenset[TrialState] = frozenset(
    {"complete", "stopped", "diverged", "collapsed", "failed"}
)


TrialOrigin = Literal["recipe", "warm_start", "sampler", "given", "child"]
"""Where a configuration comes from: the experiment's own, a finished sweep's, the sampler's
proposal, a comparison's list, or another trial's whose weights were taken over."""


class NetworkSize(Record):
    """What a student costs."""

    parameters: int
    macs: int = Field(description="multiply-accumulates of one image's forward pass")
    latency_ms: float | None = Field(
        default=None,
        description="median forward pass of one image on the CPU that proposed the trial, with "
        "its threads",
    )


class Parent(Record):
    """Where a trial begins that took over the weights of another one."""

    trial: str = Field(
        description="whose weights and configuration, but for loss weights and rates"
    )
    epoch: int = Field(description="of the state that was taken over; its own epochs follow")
    student_steps: int = Field(description="trained before it, by those whose weights it has")
    place_of: str = Field(description="the trial that ended for it")


class TrialRecord(Record):
    """`trial.json`: one configuration to distil."""

    schema_version: int = SCHEMA_VERSION
    trial: str = Field(description="name, such as t0007, counted in order of proposal")
    number: int
    origin: TrialOrigin
    parameters: dict[str, Any] = Field(description="searched values by key, such as kd.weight")
    configuration: dict[str, Any] = Field(description="the whole DistillationConfig")
    student_size: NetworkSize
    total_student_steps: int
    threads: int = Field(description="CPU threads the trial computes with; decides rounding")
    device: str
    variant: str = Field(default="", description="of a comparison: what is changed in it")
    parent: Parent | None = Field(default=None, description="of PBT: what it begins from")
    created: str

    @property
    def inherited_steps(self) -> int:
        """Student steps that it counts, and that others trained."""
        return 0 if self.parent is None else self.parent.student_steps


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
    feature_distance: float | None = Field(
        default=None,
        description="mean distance of two images' penultimate features of unit length, in [0, 2]",
    )
    kept_agreement: float | None = Field(
        default=None,
        description="of student and teacher on images of this and earlier epochs, a fraction",
    )
    collapse_signs: tuple[str, ...] = Field(
        default=(), description="what looks like a collapse: classes, features, forgetting"
    )
    seconds: Seconds
    images_per_second: float = Field(description="synthetic images that passed through training")
    peak_memory_mib: float
    session: str
    node: str = Field(default="", description="name of the machine; empty in older records")
    cohort: str | None = Field(
        default=None,
        description="the first of the trials with which it shared its process; empty where alone; "
        "None in older records, which do not say",
    )
    time: str


class ErrorRecord(Record):
    """What ended or interrupted a trial."""

    type: str
    message: str
    traceback: str = ""


class RestoreRecord(Record):
    """A trial that went on from a checkpoint, or had to start again."""

    session: str
    time: str
    from_epoch: int = Field(description="0: from the start")
    note: str = ""
    error: ErrorRecord | None = Field(default=None, description="what had ended it before")


class StatusRecord(Record):
    """`status.json`: where a trial stands."""

    state: TrialState
    reason: str = ""
    error: ErrorRecord | None = None
    restores: tuple[RestoreRecord, ...] = ()
    given_up: tuple[str, ...] = Field(
        default=(),
        description="what was left unwritten for want of space, one line for each file, the newest",
    )
    paused_at: int | None = Field(
        default=None, description="of PBT: newest epoch at which it waited for the others"
    )
    updated: str
