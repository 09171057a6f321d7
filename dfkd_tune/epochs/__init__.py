"""The epochs of many trials: read, and as rows of a table."""

from dfkd_tune.epochs._reader import EpochReader, WrittenRows
from dfkd_tune.epochs._rows import (
    CURVE_COLUMNS,
    csv_contents,
    csv_header,
    metric_columns,
    row_parts,
)

__all__ = [
    "CURVE_COLUMNS",
    "EpochReader",
    "WrittenRows",
    "csv_contents",
    "csv_header",
    "metric_columns",
    "row_parts",
]
