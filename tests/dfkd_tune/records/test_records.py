"""Records: there and back through files, and what they compute."""

import json
import math
from pathlib import Path

import pytest
from record_examples import (
    CARD,
    GPU_SHARE,
    OUTCOME,
    SELECTED_IMAGES,
    SELECTION,
    SESSION,
    STATUS,
    TRIAL,
    epoch_record,
    run_record,
)

from dfkd_tune.records import (
    EpochRecord,
    Record,
    RunRecord,
    TestOutcome,
    append_record,
    read_lines,
    read_record,
    write_json,
    write_record,
)

ALL: list[Record] = [
    run_record(),
    epoch_record(),
    TRIAL,
    CARD,
    SELECTION,
    SELECTED_IMAGES,
    SESSION,
    STATUS,
    GPU_SHARE,
]


@pytest.mark.parametrize("record", ALL, ids=lambda r: type(r).__name__)
def test_every_record_survives_file_and_line(record: Record, tmp_path: Path) -> None:
    write_record(tmp_path / "one.json", record)
    assert read_record(tmp_path / "one.json", type(record)) == record
    append_record(tmp_path / "many.jsonl", record)
    append_record(tmp_path / "many.jsonl", record)
    assert list(read_lines(tmp_path / "many.jsonl", type(record))) == [record, record]
    assert len((tmp_path / "many.jsonl").read_text().splitlines()) == 2


def test_nan_and_infinity_survive(tmp_path: Path) -> None:
    losses = {"nan": math.nan, "up": math.inf, "down": -math.inf}
    record = epoch_record(losses=losses, class_entropy=math.nan)
    append_record(tmp_path / "m.jsonl", record)
    write_record(tmp_path / "m.json", record)
    (line,) = read_lines(tmp_path / "m.jsonl", EpochRecord)
    for found in (line, read_record(tmp_path / "m.json", EpochRecord)):
        assert math.isnan(found.losses["nan"])
        assert (found.losses["up"], found.losses["down"]) == (math.inf, -math.inf)
        assert found.class_entropy is not None
        assert math.isnan(found.class_entropy)
    raw = json.loads((tmp_path / "m.jsonl").read_text())  # as Python and pandas read it
    assert math.isnan(raw["losses"]["nan"])


def test_records_are_frozen_and_ignore_fields_of_newer_versions(tmp_path: Path) -> None:
    data = {**json.loads(run_record().model_dump_json()), "added_later": 1}
    write_json(tmp_path / "run.json", data)
    assert read_record(tmp_path / "run.json", RunRecord) == run_record()
    with pytest.raises(ValueError, match="frozen"):
        run_record().name = "other"


def test_outcome_gives_accuracies_by_hand() -> None:
    assert OUTCOME.student_accuracy == 0.6
    assert OUTCOME.teacher_accuracy == 0.8
    assert OUTCOME.relative_accuracy == 75
    lost = TestOutcome(images=2, both_correct=0, student_only=1, teacher_only=0, neither=1)
    assert math.isnan(lost.relative_accuracy)
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        TestOutcome(images=0, both_correct=0, student_only=0, teacher_only=0, neither=0)
