"""Records: there and back, through crashes, and what a reader says of foreign folders."""

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dfkd_tune.errors import RunFolderError, StorageError
from dfkd_tune.records import (
    FINAL_STATES,
    SCHEMA_VERSION,
    EpochRecord,
    ErrorRecord,
    NetworkSize,
    Record,
    RestoreRecord,
    RunFolder,
    RunRecord,
    Seconds,
    SelectionRecord,
    SessionRecord,
    SplitScore,
    StatusRecord,
    TeacherCard,
    TestOutcome,
    TrialFolder,
    TrialRecord,
    append_record,
    now,
    read_lines,
    read_record,
    write_bytes_atomically,
    write_json,
    write_record,
)

TIME = "2025-01-02T03:04:05.678+00:00"


def run_record(**changes: Any) -> RunRecord:
    values = {"kind": "sweep", "name": "n", "state": "running", "experiment_hash": "h"}
    return RunRecord(**{**values, "created": TIME, "updated": TIME, "session": "s", **changes})


def epoch_record(epoch: int = 1, **changes: Any) -> EpochRecord:
    values: dict[str, Any] = {
        "epoch": epoch,
        "total_epochs": 9,
        "stage": "alternating",
        "student_steps": 10 * epoch,
        "generator_steps": 2 * epoch,
        "validation": {"accuracy": 0.5},
        "losses": {"student/kd": 0.25},
        "learning_rates": {"student": 0.1},
        "seconds": Seconds(synthesis=1, student=2, evaluation=0.5, total=3.5),
        "images_per_second": 12.5,
        "peak_memory_mib": 300,
        "session": "s",
        "time": TIME,
    }
    return EpochRecord(**{**values, **changes})


TRIAL = TrialRecord(
    trial="t0001",
    number=1,
    origin="sampler",
    parameters={"kd.weight": 0.5, "name": "ä ö"},
    configuration={"a": {"b": [1, 2]}},
    student_size=NetworkSize(parameters=5, macs=7),
    total_student_steps=100,
    threads=1,
    device="cpu",
    created=TIME,
)
CARD = TeacherCard(
    benchmark="digits",
    architecture="resnet8",
    width=1.0,
    parameters=3,
    source="file",
    origin="w.pt",
    recipe_hash="r",
    weights_sha256="w",
    data_hash="d",
    scores={"validation": SplitScore(accuracy=0.5, correct=1, images=2)},
    seconds=1.5,
    created=TIME,
)
OUTCOME = TestOutcome(images=10, both_correct=5, student_only=1, teacher_only=3, neither=1)
SELECTION = SelectionRecord(
    trial="t0001",
    rule="best",
    objective="val_real",
    candidates=3,
    validation={"accuracy": 0.5},
    teacher_validation_accuracy=0.9,
    student_sha256="x",
    test=OUTCOME,
    test_evaluations=1,
    session="s",
    time=TIME,
)
SESSION = SessionRecord(
    session="s", started=TIME, command="dfkd-tune", resumed=False, environment={"gpus": []}
)
STATUS = StatusRecord(
    state="failed",
    reason="why",
    error=ErrorRecord(type="E", message="m", traceback="a\nb"),
    restores=(RestoreRecord(session="s", time=TIME, from_epoch=3),),
    updated=TIME,
)
ALL: list[Record] = [run_record(), epoch_record(), TRIAL, CARD, SELECTION, SESSION, STATUS]


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


def test_of_a_repeated_epoch_the_newest_is_kept_in_order(tmp_path: Path) -> None:
    trial = TrialFolder(tmp_path)
    assert trial.epochs() == []
    for epoch, accuracy in [(1, 0.1), (2, 0.2), (3, 0.3), (2, 0.4), (3, 0.5)]:
        append_record(trial.metrics_file, epoch_record(epoch, validation={"accuracy": accuracy}))
    found = [(r.epoch, r.validation["accuracy"]) for r in trial.epochs()]
    assert found == [(1, 0.1), (2, 0.4), (3, 0.5)]


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


def test_outcome_gives_accuracies_by_hand() -> None:
    assert OUTCOME.student_accuracy == 0.6
    assert OUTCOME.teacher_accuracy == 0.8
    assert OUTCOME.relative_accuracy == 75
    lost = TestOutcome(images=2, both_correct=0, student_only=1, teacher_only=0, neither=1)
    assert math.isnan(lost.relative_accuracy)
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        TestOutcome(images=0, both_correct=0, student_only=0, teacher_only=0, neither=0)


def test_status_keeps_what_a_change_does_not_name(tmp_path: Path) -> None:
    trial = TrialFolder(tmp_path / "t0001")
    trial.set_status("running")
    restore = RestoreRecord(session="s", time=TIME, from_epoch=4)
    trial.set_status("running", restores=(restore,))
    trial.set_status("stopped", reason="rung")
    status = trial.status()
    assert (status.state, status.reason, status.restores) == ("stopped", "rung", (restore,))
    assert status.updated
    assert "running" not in FINAL_STATES
    assert "stopped" in FINAL_STATES


def test_image_grids_are_found_by_epoch(tmp_path: Path) -> None:
    trial = TrialFolder(tmp_path)
    trial.images.mkdir()
    for name in ("epoch_000010.png", "epoch_000002.png", "epoch_last.png", "other.png"):
        (trial.images / name).touch()
    assert list(trial.image_grids()) == [2, 10]
    assert trial.image_grids()[10] == trial.images / "epoch_000010.png"


def make_run(path: Path, **changes: Any) -> RunFolder:
    write_record(RunFolder(path).run_file, run_record(**changes))
    return RunFolder(path)


def test_a_run_folder_gives_its_records(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    assert folder.teacher_card() is None
    assert folder.selection() is None
    assert folder.sessions() == []
    assert folder.trial_folders() == []
    write_record(folder.teacher_card_file, CARD)
    write_record(folder.selection_file, SELECTION)
    append_record(folder.sessions_file, SESSION)
    write_json(folder.experiment_file, {"name": "n"})
    for name in ("t0010", "t0002", "t0003"):
        write_record(folder.trial_folder(name).trial_file, TRIAL)
    for name in ("t0010", "t0002"):
        write_record(folder.trial_folder(name).status_file, STATUS)
    opened = RunFolder.open(folder.path)
    assert opened.run() == run_record()
    assert opened.teacher_card() == CARD
    assert opened.selection() == SELECTION
    assert opened.sessions() == [SESSION]
    assert opened.experiment() == {"name": "n"}
    assert [trial.name for trial in opened.trial_folders()] == ["t0002", "t0010"]
    assert opened.trial_folder("t0002").trial() == TRIAL


@pytest.mark.parametrize("content", [None, "[]", "{", "3"])
def test_a_missing_or_damaged_experiment_is_named(tmp_path: Path, content: str | None) -> None:
    folder = make_run(tmp_path)
    if content is not None:
        folder.experiment_file.write_text(content)
    with pytest.raises(RunFolderError, match=r"experiment\.json"):
        folder.experiment()


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(RunFolderError, match="is not a folder"):
            RunFolder.open(path)


def test_an_empty_folder_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"no run\.json\); give a folder") as caught:
        RunFolder.open(tmp_path)
    assert "it holds the runs" not in str(caught.value)


def test_a_folder_of_runs_says_which_it_holds(tmp_path: Path) -> None:
    for name in ("second", "first"):
        make_run(tmp_path / name)
    (tmp_path / "other").mkdir()
    with pytest.raises(RunFolderError, match="it holds the runs first, second;"):
        RunFolder.open(tmp_path)


def test_a_run_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    make_run(tmp_path, schema_version=SCHEMA_VERSION + 1)
    with pytest.raises(RunFolderError, match="newer dfkd-tune"):
        RunFolder.open(tmp_path)


def test_a_run_of_a_newer_version_is_not_called_damaged(tmp_path: Path) -> None:
    """A newer version may know kinds and states that this one does not."""
    data = json.loads(run_record().model_dump_json())
    data |= {"schema_version": SCHEMA_VERSION + 1, "kind": "suite"}
    write_json(tmp_path / "run.json", data)
    with pytest.raises(RunFolderError, match="newer dfkd-tune"):
        RunFolder.open(tmp_path)


def test_time_is_utc_to_the_millisecond() -> None:
    text = now()
    assert text.endswith("+00:00")
    assert len(text) == len(TIME)
    seconds = (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()
    assert 0 <= seconds < 60
