"""The epochs of many trials by two processes: what one process reads and writes."""

import os
from pathlib import Path

import pytest
from record_examples import epoch_record

from dfkd_tune.epochs import EpochReader, csv_rows, metric_columns
from dfkd_tune.epochs import _reader as reader
from dfkd_tune.records import EpochTable, append_record


@pytest.fixture
def trials(tmp_path: Path) -> list[tuple[str, Path]]:
    """Eleven with two epochs each, the last of which have a loss more."""
    named = [(f"t{number:04d}", tmp_path / f"{number}.jsonl") for number in range(11)]
    for number, (_, file) in enumerate(named):
        losses = {"student/kd": 0.5} | ({"student/late": 1.0} if number > 8 else {})
        for epoch in (1, 2):
            value = number / 10 + epoch
            append_record(file, epoch_record(epoch, value=value, losses=losses))
    return named


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes for whatever there is to read."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(reader, "WORTH_A_PROCESS", 1)


def read(
    trials: list[tuple[str, Path]], using: EpochReader, run: Path = Path("run")
) -> list[EpochTable]:
    called: list[int] = []
    found = using.read(run, "run", trials, meanwhile=lambda: called.append(1))
    assert called == [1]
    tables = [table for table in found if isinstance(table, EpochTable)]
    assert len(tables) == len(trials)
    return tables


def rows(trials: list[tuple[str, Path]], tables: list[EpochTable]) -> bytes:
    named = [(name, table) for (name, _), table in zip(trials, tables, strict=True)]
    return b"".join(csv_rows("run", named, metric_columns(tables)))


def test_an_unreadable_file_gives_its_error(tmp_path: Path) -> None:
    with EpochReader() as using:
        missing, unreadable = using.read(
            tmp_path, "run", [("t0000", tmp_path / "none.jsonl"), ("t0001", tmp_path)]
        )
    assert isinstance(missing, EpochTable)
    assert len(missing) == 0
    assert isinstance(unreadable, IsADirectoryError)


@pytest.mark.parametrize("helper", [None, "raise SystemExit(3)", "import sys; sys.stdout.close()"])
def test_two_processes_read_what_one_reads(
    trials: list[tuple[str, Path]],
    monkeypatch: pytest.MonkeyPatch,
    helper: str | None,
    request: pytest.FixtureRequest,
) -> None:
    """Also where the other one does not work."""
    with EpochReader() as using:
        alone = read(trials, using)
        assert not using.written
    request.getfixturevalue("two")
    if helper is not None:
        monkeypatch.setattr(reader, "_HELPER", helper)
    with EpochReader() as using:
        together = read(trials, using)
        assert not using.written, "nobody asked for rows"
    for one, other in zip(alone, together, strict=True):
        assert list(one) == list(other)


@pytest.mark.usefixtures("two")
def test_the_other_process_writes_the_rows_of_its_trials(trials: list[tuple[str, Path]]) -> None:
    trials = trials[:9]  # which all have the same losses
    with EpochReader(rows=True) as using:
        tables = read(trials, using)
        (written,) = using.written.values()
        assert written.have(metric_columns(tables))
        assert b"".join(written.contents()) == rows(trials, tables)
        assert 0 < len(written.ours) < len(trials)
        assert written.file.read_bytes() == rows(
            trials[len(written.ours) :], tables[len(written.ours) :]
        )
        assert not written.have(["losses.student/other"])
    assert not written.file.exists()


@pytest.mark.usefixtures("two")
def test_rows_that_lack_a_column_are_not_used(trials: list[tuple[str, Path]]) -> None:
    with EpochReader(rows=True) as using:
        tables = read(trials, using)
        (written,) = using.written.values()
        assert not written.have(metric_columns(tables))


@pytest.mark.usefixtures("two")
def test_leaving_ends_the_other_process(trials: list[tuple[str, Path]]) -> None:
    with EpochReader(rows=True) as using:
        read(trials, using)
        (written,) = using.written.values()
    assert written.process.poll() is not None
    if written.process.returncode != 0:
        assert not written.have([])


@pytest.mark.usefixtures("two")
def test_where_nothing_can_be_handed_over_one_process_reads(
    trials: list[tuple[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reader, "TemporaryDirectory", full)
    with EpochReader(rows=True) as using:
        assert len(read(trials, using)) == len(trials)
        assert not using.written
