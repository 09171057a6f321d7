"""A process that gets nowhere is ended, with what it was doing; one that goes on is left alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from trainables._watchdog import FIRST_SECONDS, LEAST_SECONDS, Watchdog

PROGRAM = """
import sys, time
from pathlib import Path
from trainables._watchdog import Watchdog

def stuck():
    time.sleep(60)

with Watchdog(Path(sys.argv[1]), 0.5) as watchdog:
    for _ in range(4):
        time.sleep(0.3)
        watchdog.epoch_ended()
    if sys.argv[2] == "hang":
        stuck()
time.sleep(0.8)
print("went on")
"""


def run(file: Path, what: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(file), what],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_a_hanging_process_is_ended_and_its_stacks_are_kept(tmp_path: Path) -> None:
    ended = run(tmp_path / "hang.txt", "hang")
    assert ended.returncode == 1
    assert "went on" not in ended.stdout
    assert "in stuck" in (tmp_path / "hang.txt").read_text()


def test_epochs_in_time_and_what_comes_after_are_left_alone(tmp_path: Path) -> None:
    ended = run(tmp_path / "hang.txt", "go on")
    assert (ended.returncode, ended.stdout.strip()) == (0, "went on"), ended.stderr
    assert (tmp_path / "hang.txt").read_text() == ""


def test_the_limit_follows_the_longest_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("trainables._watchdog.time.monotonic", lambda: clock[0])
    with Watchdog(tmp_path / "hang.txt", None) as watchdog:
        assert watchdog.limit() == FIRST_SECONDS
        for seconds, limit in ((2.0, LEAST_SECONDS), (50.0, 1000.0), (3.0, 1000.0)):
            clock[0] += seconds
            watchdog.epoch_ended()
            assert watchdog.limit() == limit
    with Watchdog(tmp_path / "hang.txt", 7.0) as watchdog:
        assert watchdog.limit() == 607.0
        watchdog.longest = 1.0
        assert watchdog.limit() == 7.0
