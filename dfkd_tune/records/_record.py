"""What all records share."""

from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION = 1


class Record(BaseModel):
    """Base of all records: frozen, and tolerant of fields from newer versions."""

    # JSON of Python's own dialect: NaN and Infinity stay what they are.
    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="constants")
