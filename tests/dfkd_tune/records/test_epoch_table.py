"""The epochs of a trial as columns: the same records as read one by one, whatever is broken."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from record_examples import epoch_record

from dfkd_tune.records import (
    EpochRecord,
    Seconds,
    TrialFolder,
    append_record,
    epoch_table,
    read_epoch_table,
)
from dfkd_tune.records import _epoch_table as columns


def line(**changes: Any) -> str:
    return json.dumps({**json.loads(epoch_record(3).model_dump_json()), **changes})


def same(table: Sequence[EpochRecord], records: Sequence[EpochRecord]) -> bool:
    # By their text: a NaN is not equal to itself.
    return [text(record) for record in table] == [text(record) for record in records]


def text(record: EpochRecord) -> str:
    return json.dumps(record.model_dump(), sort_keys=True)


def test_every_field_of_an_epoch_is_a_column() -> None:
    numbers = {name.partition(".")[0] for name in columns.NUMBERS}
    known = {*columns.INTEGERS, *columns.GROUPS, *columns.OTHERS, *numbers}
    assert known == set(EpochRecord.model_fields)
    assert {name for name in EpochRecord.model_fields if name in columns.OPTIONAL} == {
        name for name, field in EpochRecord.model_fields.items() if field.default is None
    } - {*columns.OTHERS}
    assert all(field.is_required() for field in Seconds.model_fields.values())


BROKEN = {
    "cut short": line()[:-20],
    "empty": "",
    "a list": "[]",
    "lacks a field": '{"epoch": 7}',
    "a number as text": line(epoch=7, value="0.25"),
    "true as a number": line(epoch=8, images_per_second=True),
    "a whole number with a point": line(epoch=5.0),
    "another stage": line(epoch=9, stage="pausing"),
    "null among losses": line(epoch=9, losses={"student/kd": None}),
    "unknown fields": line(
        epoch=6,
        colour="blue",
        seconds={
            **Seconds(synthesis=1, student=1, evaluation=1, total=1).model_dump(),
            "waiting": 4,
        },
    ),
    "not a number": line(epoch=4, losses={"student/kd": math.nan}, value=math.nan),
    "infinite": line(epoch=4, losses={"student/kd": math.inf}),
    "beyond a float": line(epoch=4).replace("12.5", "1e999"),
    "half a character": line(epoch=4, session="x").replace('"x"', '"\\ud800"'),
    "twice one key": line(epoch=4).replace('"epoch": 4', '"epoch": 9, "epoch": 4'),
    "no value": line(epoch=4, value=None, validation={}),
    "other losses": line(epoch=10, losses={"generator/adversarial": 1.5, "student/kd": 2.5}),
    "one loss": line(epoch=10, losses={"student/kd": 2.5}),
    "no losses": line(epoch=10, losses={}),
    "a loss with a strange name": line(epoch=10, losses={'"\\\n</script>': 2.5}),
    "twice one loss": line(epoch=10).replace('"student/kd"', '"student/kd": 9.0, "student/kd"'),
    "signs": line(epoch=10, collapse_signs=["classes", "forgetting"]),
}


@pytest.mark.parametrize("place", range(4), ids=["first", "amid", "last", "before bytes"])
@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_the_same_lines_count_as_when_read_one_by_one(
    tmp_path: Path, broken: str, place: int
) -> None:
    folder = TrialFolder(tmp_path)
    lines = [epoch_record(1), epoch_record(2, value=0.5), epoch_record(11, value=0.75)]
    written = [record.model_dump_json().encode() for record in lines]
    beside = b"\n\xff\xfe\x00" if place == 3 else b""
    written.insert((0, 1, 3, 2)[place], broken.encode() + beside)
    folder.metrics_file.write_bytes(b"".join(each + b"\n" for each in written))
    records = folder.epochs()
    table = read_epoch_table(folder.metrics_file)
    assert same(table, records)
    assert len(table) == len(records)
    assert same(table.evaluated, [r for r in records if r.value is not None])
    assert same([table[-1], table[0]], [records[-1], records[0]])
    assert same(table[1:], records[1:])
    # As columns: what one decoder reads is what another does.
    others = epoch_table(records)
    assert set(table.names) == set(others.names)
    for name in (*columns.INTEGERS, *others.names):
        np.testing.assert_array_equal(table.numbers(name), others.numbers(name))
        np.testing.assert_array_equal(table.absent(name), others.absent(name), err_msg=name)


def test_lines_of_a_run_are_read_by_the_names_at_its_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one by one, which takes twice as long."""
    monkeypatch.delattr(columns, "_tolerant_lines")
    path = tmp_path / "metrics.jsonl"
    losses = {"generator/adversarial": 1.5, "student/kd": 2.5}
    for epoch in range(1, 5):
        chosen = losses if epoch > 2 else {"generator/adversarial": 0.5}
        append_record(path, epoch_record(epoch, losses=chosen))
    table = read_epoch_table(path)
    assert table.numbers("losses.generator/adversarial").tolist() == [0.5, 0.5, 1.5, 1.5]
    assert table.absent("losses.student/kd").tolist() == [True, True, False, False]


def test_an_epoch_trained_again_counts_once_and_in_its_place(tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path)
    for epoch, value in ((1, 0.1), (2, 0.2), (3, 0.3), (2, 0.4), (3, 0.5), (1, 0.6)):
        append_record(folder.metrics_file, epoch_record(epoch, value=value))
    table = read_epoch_table(folder.metrics_file)
    assert table.numbers("epoch").tolist() == [1, 2, 3]
    assert table.numbers("value").tolist() == [0.6, 0.4, 0.5]


def test_counts_beyond_64_bits_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f"{line(epoch=1)}\n{line(epoch=2, generator_steps=2**63)}\n")
    assert read_epoch_table(path).numbers("epoch").tolist() == [1]


def test_columns_hold_the_numbers_of_the_records() -> None:
    records = [
        epoch_record(1, losses={"generator/a": 1.0}, value=None),
        epoch_record(2, losses={"generator/a": math.nan, "student/kd": 2.0}, value=0.5),
        epoch_record(3, losses={"student/kd": 3.0}, value=math.nan),
    ]
    table = epoch_table(records)
    np.testing.assert_array_equal(table.numbers("losses.student/kd"), [np.nan, 2.0, 3.0])
    np.testing.assert_array_equal(table.numbers("losses.generator/a"), [1.0, np.nan, np.nan])
    assert table.absent("losses.generator/a").tolist() == [False, False, True]
    np.testing.assert_array_equal(table.numbers("seconds.total"), [3.5, 3.5, 3.5])
    assert np.isnan(table.numbers("losses.none")).all()
    assert table.evaluated.numbers("epoch").tolist() == [2, 3]
    assert same(table, records)


def test_a_missing_file_holds_no_epochs(tmp_path: Path) -> None:
    table = read_epoch_table(tmp_path / "none.jsonl")
    assert len(table) == len(table.evaluated) == 0
