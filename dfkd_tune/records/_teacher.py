"""The teacher's card."""

from typing import Any, Literal

from pydantic import Field

from dfkd_tune.records._record import SCHEMA_VERSION, Record


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
