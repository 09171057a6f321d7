"""The epochs of many trials: read, and as rows of a table."""

from dfkd_tune.epochs._reader import EpochReader, WrittenRows
from dfkd_tune.epochs._rows import csv_header, csv_rows, metric_columns

__all__ = ["EpochReader", "WrittenRows", "csv_header", "csv_rows", "metric_columns"]
