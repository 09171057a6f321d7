"""Which benchmark, as an experiment file says it: a name, or a person's own data."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Resize = Literal["crop", "squash"]

LABELLED_SPLITS = ("train", "validation", "test")


class InputConfig(BaseModel):
    """What the classifier's input looks like, where the benchmark is silent or overruled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int | tuple[int, int] | None = Field(
        default=None, description="pixels: one side of a square, or [height, width]"
    )
    channels: Literal[1, 3] | None = Field(default=None, description="1 grey, 3 colour")
    mean: tuple[float, ...] | None = Field(
        default=None, description="one per channel, of pixels in [0, 1]"
    )
    std: tuple[float, ...] | None = Field(
        default=None, description="one per channel, of pixels in [0, 1]"
    )
    classes: int | None = Field(default=None, ge=2, description="width of the teacher's output")
    class_names: tuple[str, ...] | None = Field(default=None, description="in label order")

    @field_validator("size")
    @classmethod
    def _positive(cls, value: int | tuple[int, int] | None) -> int | tuple[int, int] | None:
        sides = (value,) if isinstance(value, int) else value
        if sides is not None and min(sides) < 4:
            raise ValueError("give at least 4 pixels")
        return value

    @property
    def sides(self) -> tuple[int, int] | None:
        """Height and width in pixels."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size


class BenchmarkConfig(BaseModel):
    """The `benchmark` of an experiment: its name alone, or a mapping of these keys.

    A name that `dfkd-tune list benchmarks` shows is one of the project's own. Any other is a
    person's: with `labelled` data, with `unlabelled` images only, or with neither.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default="own", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    root: Path | None = Field(
        default=None,
        description="folder of a benchmark of ours; $DFKD_TUNE_DATA/NAME or data/NAME by default",
    )
    labelled: Path | None = Field(
        default=None, description="ImageFolder tree (train/CLASS/FILE, test/CLASS/FILE), or .npz"
    )
    unlabelled: Path | None = Field(default=None, description="folder of images, or .npz")
    input: InputConfig = InputConfig()
    resize: Resize = Field(
        default="crop",
        description="crop: shorter side to the size, then the centre; squash: both sides",
    )
    validation_fraction: float = Field(
        default=0.1, gt=0, lt=1, description="of train, where there is no validation split"
    )

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_source(self) -> "BenchmarkConfig":
        given = [key for key in ("root", "labelled", "unlabelled") if getattr(self, key)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are given; give one of them")
        return self

    def absolute(self) -> "BenchmarkConfig":
        """The same with absolute paths, for processes that run elsewhere."""
        paths = {
            key: path.expanduser().absolute()
            for key in ("root", "labelled", "unlabelled")
            if (path := getattr(self, key)) is not None
        }
        return self.model_copy(update=paths)
