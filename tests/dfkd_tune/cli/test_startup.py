"""Commands that need no PyTorch do not wait for it."""

import subprocess
import sys
from pathlib import Path

import pytest
from run_folders import empty_run

from dfkd_tune import __version__

# Each takes a second or more to load.
HEAVY = {"torch", "ray", "optuna", "sklearn", "scipy.stats", "pandas"}

SCRIPT = """
import sys
from dfkd_tune.cli import main

sys.argv = ["dfkd-tune", *sys.argv[1:]]
try:
    main()
finally:
    sys.stderr.write(" ".join(sys.modules))
"""


def loaded_by(*command: object) -> set[str]:
    """What of `HEAVY` a command that succeeds has loaded in the end."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, *(str(part) for part in command)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return HEAVY & set(done.stderr.split())


@pytest.mark.parametrize(
    "command",
    [
        ("--help",),
        ("--version",),
        *(
            (name, "--help")
            for name in (
                "sweep",
                "distill",
                "suite",
                "report",
                "export",
                "status",
                "list",
                "doctor",
            )
        ),
    ],
    ids=" ".join,
)
def test_help_loads_nothing_that_takes_long(command: tuple[str, ...]) -> None:
    assert loaded_by(*command) == set()


@pytest.mark.parametrize("command", ["status", "report"])
def test_what_reads_a_run_folder_loads_no_pytorch(tmp_path: Path, command: str) -> None:
    run = empty_run(tmp_path / "run")
    assert loaded_by(command, run.path) <= {"pandas"}


def test_listing_loads_no_ray() -> None:
    assert loaded_by("list", "benchmarks") <= {"torch", "optuna"}


def test_what_starts_a_trial_loads_no_statistics() -> None:
    """Every trial's process would wait for them again."""
    names = ["sklearn", "scipy.stats", "cmaes"]
    script = f"""
import sys
import dfkd_tune.sweeps, trainables
print(*(set({names}) & sys.modules.keys()))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == "\n"


def test_the_end_of_a_command_says_nothing_of_memory() -> None:
    """Triton, which training loads, counts at the end what of its own was not freed."""
    script = """
import sys
import torch
import triton._C.libtriton
from dfkd_tune.cli import main

sys.argv = ["dfkd-tune", "--version"]
main()
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == f"dfkd-tune {__version__}\n"
    assert done.stderr == ""
