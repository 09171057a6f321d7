"""What the selected student reaches with the real images: the yardsticks of relative accuracy."""

from pydantic import Field

from dfkd_tune.records._record import SCHEMA_VERSION, Record
from dfkd_tune.records._teacher import TeacherCard


class YardsticksRecord(Record):
    """`yardsticks.json`: networks of the selected student's shape, trained on the real images."""

    schema_version: int = SCHEMA_VERSION
    trial: str = Field(description="whose student's network they have")
    real: TeacherCard = Field(description="trained on images and labels")
    kd: TeacherCard = Field(description="trained on images by the teacher and labels")
    time: str
