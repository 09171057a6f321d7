"""`status --follow`: what it says while a run goes on, and that it ends with it."""

import fcntl
import io
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console
from run_folders import empty_run

from dfkd_tune.cli._summary import follow_run
from dfkd_tune.records import RunFolder, write_json, write_record


def set_state(run: RunFolder, state: str) -> None:
    write_record(run.run_file, run.run().model_copy(update={"state": state}))


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = empty_run(tmp_path / "run")
    write_json(run.experiment_file, {"benchmark": "digits", "method": "cgdd"})
    return run


def followed(run: RunFolder, *, terminal: bool) -> str:
    out = io.StringIO()
    follow_run(Console(file=out, force_terminal=terminal, width=200), run.path, 0.05)
    return out.getvalue()


def test_it_ends_at_once_with_a_run_that_has_ended(run: RunFolder) -> None:
    set_state(run, "complete")
    assert followed(run, terminal=False).count("\n") == 1


@pytest.mark.parametrize("terminal", [True, False])
def test_it_speaks_when_something_has_changed_and_ends_with_the_run(
    run: RunFolder, terminal: bool
) -> None:
    with run.lock_file.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        def end() -> None:
            time.sleep(0.5)
            set_state(run, "complete")

        other = threading.Thread(target=end)
        other.start()
        said = followed(run, terminal=terminal)
        other.join()
    assert said.count("No verdict yet") == 2
    assert said.index("Running") < said.index("Complete")


def test_a_killed_run_is_not_waited_for(run: RunFolder) -> None:
    """The record says running, and nobody holds the lock."""
    assert "not running any more" in followed(run, terminal=False)
