"""Writing: whole or not at all, and one clear error where it cannot be."""

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from record_examples import TIME, run_record

from dfkd_tune.errors import StorageError
from dfkd_tune.records import append_record, now, write_bytes_atomically, write_json, write_record


def test_an_atomic_write_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.json"
    for content in (b"first, and longer", b"second"):
        write_bytes_atomically(path, content)
        assert path.read_bytes() == content
        assert list(path.parent.iterdir()) == [path]


def test_a_reader_of_the_old_file_keeps_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes_atomically(path, b"old")
    with path.open("rb") as reader:
        write_bytes_atomically(path, b"new content")
        assert reader.read() == b"old"


def test_a_write_that_fails_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "file"
    (path / "inner").mkdir(parents=True)  # a folder cannot be replaced by a file
    with pytest.raises(StorageError, match="cannot write"):
        write_bytes_atomically(path, b"x")
    assert list(tmp_path.iterdir()) == [path]


def test_json_is_readable_text_with_its_own_letters(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"name": "größer", "value": math.inf})
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert "größer" in text
    assert text.endswith("\n")
    assert json.loads(text) == {"name": "größer", "value": math.inf}


def test_json_is_indented_as_python_does_it(tmp_path: Path) -> None:
    value = {"a": [], "b": {}, "c": [[], {}, [1.5e-7, None]], "d": "ä\n</script>\u2028"}
    for each in (value, {**value, "e": math.nan}):
        write_json(tmp_path / "x.json", each)
        expected = json.dumps(each, indent=2, ensure_ascii=False)
        assert (tmp_path / "x.json").read_text(encoding="utf-8") == expected + "\n"


WRITES: dict[str, Callable[[Path], None]] = {
    "record": lambda path: write_record(path, run_record()),
    "json": lambda path: write_json(path, {}),
    "line": lambda path: append_record(path, run_record()),
    "bytes": lambda path: write_bytes_atomically(path, b""),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path: Path, write: str) -> None:
    (tmp_path / "file").write_text("in the way")
    path = tmp_path / "file" / "below.json"
    with pytest.raises(StorageError) as caught:
        WRITES[write](path)
    assert str(path) in str(caught.value)
    assert "choose another storage" in str(caught.value)


def test_time_is_utc_to_the_millisecond() -> None:
    text = now()
    assert text.endswith("+00:00")
    assert len(text) == len(TIME)
    seconds = (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()
    assert 0 <= seconds < 60
