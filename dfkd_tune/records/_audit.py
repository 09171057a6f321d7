"""The card of an audit set."""

from typing import Any

from pydantic import Field

from dfkd_tune.records._record import SCHEMA_VERSION, Record


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
