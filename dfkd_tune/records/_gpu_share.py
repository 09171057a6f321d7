"""How many trials share one GPU, and by what measurements."""

from pydantic import Field

from dfkd_tune.records._record import SCHEMA_VERSION, Record


class StudentNeed(Record):
    """What a student of one size needs of a device's memory."""

    architecture: str
    width: float
    peak_mib: float = Field(
        description="reserved at most in some steps of the recipe, the CUDA context not included; "
        "the whole memory where that did not suffice"
    )


class Throughput(Record):
    """How fast several trials train side by side on one device."""

    trials: int = Field(description="at once")
    steps_per_second: float = Field(description="student steps of all of them together")
    out_of_memory: bool = Field(default=False, description="so that not all of them could train")


class GpuShareRecord(Record):
    """`gpu_share.json`: what was measured before the first trial, and what was chosen by it."""

    schema_version: int = SCHEMA_VERSION
    device: str = Field(description="name of the GPU")
    memory_mib: float = Field(description="of the GPU")
    context_mib: float = Field(
        description="memory of a process beside what it reserves: its CUDA context, and libraries"
    )
    cpus_per_trial: int
    students: tuple[StudentNeed, ...] = Field(description="every size that may be proposed")
    typical: StudentNeed = Field(description="the one that was trained side by side")
    throughputs: tuple[Throughput, ...]
    trials: int = Field(description="that share one GPU")
    seconds: float = Field(description="that measuring took")
    time: str
