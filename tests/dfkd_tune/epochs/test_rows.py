"""Epochs as rows of CSV: what a reader of CSV finds are the numbers of the records."""

import csv
import io
import math
from typing import Any

import pytest
from record_examples import epoch_record

from dfkd_tune.epochs import csv_header, csv_rows, metric_columns
from dfkd_tune.records import EpochRecord, EpochTable, epoch_table


def read(trials: dict[str, list[EpochRecord]], run: str = "run") -> list[dict[str, str]]:
    tables: dict[str, EpochTable] = {name: epoch_table(held) for name, held in trials.items()}
    metrics = metric_columns(tables.values())
    content = csv_header(metrics) + b"".join(csv_rows(run, tables.items(), metrics))
    return [*csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True)]


def test_a_row_holds_the_numbers_of_its_epoch() -> None:
    records = [
        epoch_record(1, value=1 / 3, losses={"student/kd": 1e-300}),
        epoch_record(2, value=None, losses={"student/kd": 5e22, "generator/a": -0.0}),
        epoch_record(3, value=0.25, losses={}),
    ]
    rows = read({"t0000": records})
    for row, record in zip(rows, records, strict=True):
        assert (row["run"], row["trial"]) == ("run", "t0000")
        assert row["stage"] == record.stage
        for name in ("epoch", "student_steps", "generator_steps"):
            assert row[name] == str(getattr(record, name))
        numbers: dict[str, Any] = {
            **record.model_dump(include={"value", "images_per_second", "peak_memory_mib"}),
            **{f"seconds.{name}": value for name, value in record.seconds.model_dump().items()},
            **{f"loss.{name}": value for name, value in record.losses.items()},
            **{f"validation.{name}": value for name, value in record.validation.items()},
            **{f"learning_rate.{name}": v for name, v in record.learning_rates.items()},
        }
        found = {name: float(row[name]) for name in numbers if row[name]}
        assert found == {name: value for name, value in numbers.items() if value is not None}
    assert [row["loss.generator/a"] for row in rows] == ["", "-0.0", ""]
    assert "total_epochs" not in rows[0]


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinite_numbers_are_kept(value: float) -> None:
    losses = {"student/kd": value, "generator/a": 0.1}
    rows = read({"t0000": [epoch_record(1, losses=losses), epoch_record(2)]})
    assert float(rows[0]["loss.student/kd"]) == value
    assert rows[0]["loss.generator/a"] == "0.1"
    assert rows[1]["loss.generator/a"] == ""


def test_a_nan_is_an_empty_cell() -> None:
    (row,) = read({"t0000": [epoch_record(1, losses={"student/kd": math.nan}, value=math.nan)]})
    assert row["loss.student/kd"] == row["value"] == ""


def test_every_trial_has_the_columns_of_all() -> None:
    rows = read(
        {
            "t0000": [epoch_record(1, losses={"student/b": 0.5})],
            "t0001": [],
            "t0002": [epoch_record(1, losses={"student/a": 1.5}), epoch_record(2)],
        }
    )
    assert [row["trial"] for row in rows] == ["t0000", "t0002", "t0002"]
    assert [row["loss.student/a"] for row in rows] == ["", "1.5", ""]
    assert [row["loss.student/b"] for row in rows] == ["0.5", "", ""]


def test_texts_are_quoted_where_they_must_be() -> None:
    strange = 'a "name",\r\n\ud800'
    signs = ["classes", "forgetting"]
    rows = read({strange: [epoch_record(1, collapse_signs=signs), epoch_record(2)]}, run=strange)
    assert [row["collapse_signs"] for row in rows] == ["classes, forgetting", ""]
    assert {row["run"] for row in rows} == {row["trial"] for row in rows}
    assert rows[0]["run"] == 'a "name",\r\n?'


def test_a_header_quotes_what_needs_it() -> None:
    assert csv_header(['losses.a"b,c']).endswith(b',value,"loss.a""b,c"\n')
