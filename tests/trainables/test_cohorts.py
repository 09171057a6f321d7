"""Trials of one process: each ends as it does alone, and by itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from dfkd_tune.classifiers import read_state_dict
from dfkd_tune.errors import CannotRecordError, DiskFullError
from dfkd_tune.records import EpochRecord, RunFolder, TrialFolder, write_record
from trainables import SavingConfig, SupersededError, run_cohort, run_trial

NAMES = ("t0000", "t0001", "t0002")
SIDES: tuple[dict[str, Any], ...] = (
    {},
    {"student_optimiser": {"learning_rate": 0.03}},
    {"student_objective": {"kd": {"weight": 1.0, "temperature": 2.0}}},
)


@pytest.fixture
def cohort(run: RunFolder) -> RunFolder:
    """Three trials that differ in the student's side."""
    first = run.trial_folder("t0000").trial()
    for number, (name, side) in enumerate(zip(NAMES, SIDES, strict=True)):
        configuration = dict(first.configuration)
        for section, values in side.items():
            configuration[section] = {**configuration[section], **values}
        record = first.model_copy(
            update={"trial": name, "number": number, "configuration": configuration}
        )
        run.trial_folder(name).set_status("running", reason="waiting to start")
        write_record(run.trial_folder(name).trial_file, record)
    return run


def train(run: RunFolder, names: tuple[str, ...] = NAMES, **options: Any) -> list[TrialFolder]:
    run_cohort(run, names, session="mine", saving=SavingConfig(), **options)
    return [run.trial_folder(name) for name in names]


def remade(run: RunFolder, name: str) -> TrialFolder:
    """A trial's folder with its configuration alone, under another name."""
    other = run.trial_folder(f"t1{name[2:]}")
    record = run.trial_folder(name).trial()
    other.set_status("running", reason="waiting to start")
    write_record(other.trial_file, record.model_copy(update={"trial": other.name}))
    return other


def same_student(one: TrialFolder, two: TrialFolder) -> None:
    first, second = (read_state_dict(f.student_weights) for f in (one, two))
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(value, second[name])


def test_each_records_what_it_would_alone(cohort: RunFolder) -> None:
    heard: list[dict[str, int]] = []
    folders = train(
        cohort,
        on_epochs=lambda rows: heard.append({name: row.epoch for name, row in rows.items()}),
    )
    assert heard == [dict.fromkeys(NAMES, epoch) for epoch in range(1, 7)]
    for folder in folders:
        own = remade(cohort, folder.name)
        run_trial(cohort, own.name, session="mine", saving=SavingConfig())
        assert folder.status().state == "complete"
        assert folder.status().restores == ()
        for row, alone in zip(folder.epochs(), own.epochs(), strict=True):
            assert row.validation == pytest.approx(alone.validation, rel=1e-4)
            assert row.losses == pytest.approx(alone.losses, rel=1e-4, abs=1e-6)
            assert (row.cohort, alone.cohort) == (NAMES[0], "")
            assert row.student_steps == alone.student_steps
            assert row.generator_steps == alone.generator_steps
        same_student(folder, own)


def test_one_that_is_stopped_trains_no_further(cohort: RunFolder) -> None:
    def stop(rows: Mapping[str, EpochRecord]) -> None:
        if rows["t0000"].epoch == 2:
            cohort.trial_folder("t0001").set_status("stopped", reason="ASHA")

    folders = train(cohort, on_epochs=stop)
    assert [len(folder.epochs()) for folder in folders] == [6, 2, 6]
    assert [f.status().state for f in folders] == ["complete", "stopped", "complete"]


def test_one_that_diverges_ends_alone(cohort: RunFolder) -> None:
    folder = cohort.trial_folder("t0001")
    record = folder.trial()
    optimiser = {**record.configuration["student_optimiser"], "learning_rate": 1e30}
    configuration = {**record.configuration, "student_optimiser": optimiser}
    write_record(folder.trial_file, record.model_copy(update={"configuration": configuration}))
    folders = train(cohort)
    assert [f.status().state for f in folders] == ["complete", "diverged", "complete"]
    assert [len(f.epochs()) for f in folders] == [6, 0, 6]


def test_one_that_an_error_ends_says_why_and_leaves_the_others(
    cohort: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dfkd_tune.distillation._student import StudentTraining

    step = StudentTraining.step

    def failing(training: StudentTraining, *given: Any) -> None:
        if training.config.student_optimiser.learning_rate == 0.03 and training.steps == 8:
            raise RuntimeError("a bug of this one")
        step(training, *given)

    monkeypatch.setattr(StudentTraining, "step", failing)
    folders = train(cohort)
    assert [f.status().state for f in folders] == ["complete", "running", "complete"]
    error = folders[1].status().error
    assert error is not None
    assert "a bug of this one" in error.message
    assert "a bug of this one" in error.traceback
    assert len(folders[1].epochs()) == 1
    # Alone, it goes on from its checkpoint.
    monkeypatch.undo()
    run_trial(cohort, "t0001", session="mine", saving=SavingConfig())
    assert [row.epoch for row in folders[1].epochs()] == [1, 2, 3, 4, 5, 6]
    assert "a bug of this one" in folders[1].status().restores[0].note


def test_after_a_kill_they_go_on_together_or_in_groups(cohort: RunFolder) -> None:
    def kill_at(epoch: int) -> Any:
        def on_epochs(rows: Mapping[str, EpochRecord]) -> None:
            if epoch in (row.epoch for row in rows.values()):
                raise KeyboardInterrupt

        return on_epochs

    with pytest.raises(KeyboardInterrupt):
        train(cohort, on_epochs=kill_at(3))
    # One of them is further than the others.
    with pytest.raises(KeyboardInterrupt):
        train(cohort, ("t0002",), on_epochs=kill_at(5))
    heard: list[tuple[int, list[str]]] = []
    folders = train(
        cohort,
        on_epochs=lambda rows: heard.append((next(iter(rows.values())).epoch, sorted(rows))),
    )
    assert heard == [
        (4, ["t0000", "t0001"]),
        (5, ["t0000", "t0001"]),
        (6, ["t0000", "t0001"]),
        (6, ["t0002"]),
    ]
    for folder in folders:
        assert [row.epoch for row in folder.epochs()] == [1, 2, 3, 4, 5, 6]
        own = remade(cohort, folder.name)
        run_trial(cohort, own.name, session="mine", saving=SavingConfig())
        same_student(folder, own)
    # All have ended: nothing is left to do.
    train(cohort, on_epochs=kill_at(1))


def test_a_newer_start_of_the_command_ends_them_all(cohort: RunFolder) -> None:
    def take_over(rows: Mapping[str, EpochRecord]) -> None:
        write_record(cohort.run_file, cohort.run().model_copy(update={"session": "other"}))

    with pytest.raises(SupersededError):
        train(cohort, on_epochs=take_over)
    assert [len(cohort.trial_folder(name).epochs()) for name in NAMES] == [1, 1, 1]


def test_a_record_that_cannot_be_written_ends_them_all(
    cohort: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path, _record: object) -> None:
        raise DiskFullError("no space")

    monkeypatch.setattr("trainables._recording.append_record", full)
    with pytest.raises(CannotRecordError, match="no space"):
        train(cohort)
    assert all(cohort.trial_folder(name).status().error is None for name in NAMES)
