"""Reading what a crash cut short, what is missing, and what is damaged."""

from pathlib import Path

import pytest
from record_examples import epoch_record

from dfkd_tune.errors import RunFolderError
from dfkd_tune.records import EpochRecord, RunRecord, append_record, read_lines, read_record


@pytest.mark.parametrize("cut", [1, 20, 100])
def test_a_line_cut_short_is_passed_over_and_the_next_begins_afresh(
    tmp_path: Path, cut: int
) -> None:
    path = tmp_path / "metrics.jsonl"
    for epoch in (1, 2, 3):
        append_record(path, epoch_record(epoch))
    path.write_bytes(path.read_bytes()[:-cut])
    whole = [1, 2, 3] if cut == 1 else [1, 2]  # the last byte is but the line's end
    assert [r.epoch for r in read_lines(path, EpochRecord)] == whole
    append_record(path, epoch_record(4))
    append_record(path, epoch_record(5))
    assert [r.epoch for r in read_lines(path, EpochRecord)] == [*whole, 4, 5]


def test_noise_between_lines_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_record(path, epoch_record(1))
    with path.open("ab") as file:
        file.write(b'\n\n\xff\xfe\x00\n[]\n{"epoch": 7}\n')
    append_record(path, epoch_record(2))
    assert [r.epoch for r in read_lines(path, EpochRecord)] == [1, 2]


def test_a_missing_file_holds_no_lines(tmp_path: Path) -> None:
    assert list(read_lines(tmp_path / "none.jsonl", EpochRecord)) == []


def test_a_missing_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="is missing"):
        read_record(tmp_path / "run.json", RunRecord)
    with pytest.raises(RunFolderError, match="cannot read"):
        read_record(tmp_path, RunRecord)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file"),
        (b'{"kind": "sweep", "na', "the file"),
        (b"\xff\xfe", "the file"),
        (b"[]", "the file"),
        (b'{"kind": "other"}', "kind"),
    ],
)
def test_a_damaged_record_is_named_with_the_place(
    tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(RunFolderError, match=f"damaged: {said}") as caught:
        read_record(tmp_path / "run.json", RunRecord)
    assert "\n" not in str(caught.value)
