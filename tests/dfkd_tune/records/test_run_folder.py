"""What the folder of a run gives, and what a reader says of foreign folders."""

import json
from pathlib import Path
from typing import Any

import pytest
from record_examples import CARD, GPU_SHARE, SELECTION, SESSION, STATUS, TRIAL, run_record

from dfkd_tune.errors import RunFolderError
from dfkd_tune.records import SCHEMA_VERSION, RunFolder, append_record, write_json, write_record


def make_run(path: Path, **changes: Any) -> RunFolder:
    write_record(RunFolder(path).run_file, run_record(**changes))
    return RunFolder(path)


def test_a_run_folder_gives_its_records(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    assert folder.teacher_card() is None
    assert folder.selection() is None
    assert folder.gpu_share() is None
    assert folder.sessions() == []
    assert folder.trial_folders() == []
    write_record(folder.teacher_card_file, CARD)
    write_record(folder.selection_file, SELECTION)
    write_record(folder.gpu_share_file, GPU_SHARE)
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
    assert opened.gpu_share() == GPU_SHARE
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
