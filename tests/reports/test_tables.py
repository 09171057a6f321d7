"""`curves.csv` by two processes: byte for byte what one writes."""

import os
from pathlib import Path
from typing import Any

import pytest

from dfkd_tune.epochs import EpochReader
from dfkd_tune.epochs import _reader as reader
from dfkd_tune.records import RunFolder, append_record
from reports import write_report
from reports.collect import collect_run
from reports.tables import curves_csv

Maker = Any


@pytest.fixture
def run(make_run: Maker, spec: Any) -> RunFolder:
    made: RunFolder = make_run([spec(values=(0.1, 0.2, 0.3 + n / 100)) for n in range(9)])
    return made


def _another_loss(run: RunFolder, trial: str) -> None:
    folder = run.trial_folder(trial)
    last = folder.epochs()[-1]
    losses = {**last.losses, "student/other": 0.5}
    append_record(folder.metrics_file, last.model_copy(update={"losses": losses}))


@pytest.mark.parametrize("other", [None, "t0000", "t0008"])
def test_two_processes_write_what_one_writes(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, other: str | None
) -> None:
    """Also where only the trials of one of them have a loss."""
    if other is not None:
        _another_loss(run, other)
    alone = b"".join(curves_csv([collect_run(run.path)], {}))
    assert alone.count(b"\n") == 1 + 9 * 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(reader, "WORTH_A_PROCESS", 1)
    with EpochReader(rows=True) as using:
        data = collect_run(run.path, using)
        (written,) = using.written.values()
        assert b"".join(curves_csv([data], using.written)) == alone
        assert written.process.poll() == 0
        # Where its rows cannot be had, they are made here.
        monkeypatch.setattr(type(written), "have", lambda *_: False)
        assert b"".join(curves_csv([data], using.written)) == alone


def test_a_report_by_two_processes_is_the_same(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    alone = write_report([run.path], tmp_path / "alone")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(reader, "WORTH_A_PROCESS", 1)
    together = write_report([run.path], tmp_path / "together")
    for name in ("html", "curves_csv", "summary_json"):
        assert getattr(alone, name).read_bytes() == getattr(together, name).read_bytes()
