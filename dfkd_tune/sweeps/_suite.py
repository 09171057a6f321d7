"""A suite: several sweeps named in one file, side by side on one cluster, in one report."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from rich.console import Console

from dfkd_tune.benchmarks import BenchmarkConfig
from dfkd_tune.errors import ExperimentError
from dfkd_tune.records import RunFolder, write_bytes_atomically
from dfkd_tune.sweeps._experiment import ResolvedExperiment, merged, resolve_experiment
from dfkd_tune.sweeps._folder import check_writable
from dfkd_tune.sweeps._machine import usable_cpus
from dfkd_tune.sweeps._ray import ray_cluster
from dfkd_tune.sweeps._validation import validation_lines

INTERRUPTED = 130
FAILED_TRIALS = 3


class SuiteConfig(BaseModel):
    """A suite file: benchmarks x methods x students, each combination one sweep."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    storage: Path = Path("runs")
    side_by_side: int | None = Field(
        default=None, ge=1, description="sweeps at once; as many as the cluster has CPUs by default"
    )
    benchmarks: tuple[BenchmarkConfig, ...] = Field(
        min_length=1, description="names, or mappings as in an experiment file"
    )
    methods: tuple[str, ...] = Field(min_length=1)
    students: tuple[dict[str, Any], ...] = Field(
        default=(), description="each fixes architecture and width; searched where there are none"
    )
    common: dict[str, Any] = Field(
        default_factory=dict, description="keys of an experiment file, for every sweep"
    )
    changes: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="by benchmark or sweep name: keys laid over the common"
    )

    @field_validator("common")
    @classmethod
    def _common_leaves_the_rest(cls, value: dict[str, Any]) -> dict[str, Any]:
        _check_keys(value, "", ("name", "storage", "method", "benchmark"))
        return value

    @field_validator("changes")
    @classmethod
    def _changes_leave_the_rest(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, changes in value.items():
            _check_keys(changes, f"{name}.", ("name", "storage", "method"))
            if not isinstance(changes.get("benchmark", {}), dict):
                raise ValueError(f"'{name}.benchmark' must be a mapping of what differs")
        return value


def _check_keys(value: Mapping[str, Any], prefix: str, forbidden: Sequence[str]) -> None:
    for key in forbidden:
        if key in value:
            raise ValueError(f"'{prefix}{key}' is decided by the suite; take it out")


@dataclass(frozen=True, kw_only=True)
class Member:
    """One sweep of a suite.

    Args:
        name: of its run folder, within the suite's.
        raw: its experiment.
        resolved: checked.
        file: where its experiment file is written.
    """

    name: str
    raw: Mapping[str, Any]
    resolved: ResolvedExperiment
    file: Path

    @property
    def run(self) -> Path:
        """Its run folder."""
        return self.resolved.experiment.storage / self.name


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A checked suite.

    Args:
        config: as written.
        folder: that holds its runs, teachers and report.
        members: its sweeps, in order.
    """

    config: SuiteConfig
    folder: Path
    members: tuple[Member, ...]

    def begun(self) -> list[Path]:
        """The run folders that are there already."""
        return [m.run for m in self.members if RunFolder(m.run).run_file.exists()]


def resolve_suite(raw: Mapping[str, Any], where: str) -> Suite:
    """Check a suite whole: the file itself, and the experiment of every sweep.

    Args:
        raw: as read from YAML.
        where: the file, for messages.

    Raises:
        ExperimentError: with every problem, each with its key's path or its sweep's name.
    """
    try:
        config = SuiteConfig.model_validate(raw)
    except ValidationError as error:
        lines = validation_lines(error, SuiteConfig)
        raise ExperimentError(_message(where, lines)) from error
    folder = config.storage.expanduser().absolute() / config.name
    members: list[Member] = []
    problems: list[str] = []
    experiments = _experiments(config, folder)
    combinations = len(config.benchmarks) * len(config.methods) * max(1, len(config.students))
    if len(experiments) < combinations:
        problems.append(
            f"{combinations} sweeps have only {len(experiments)} different names; name a "
            f"benchmark, method or student once, and give benchmarks names of their own"
        )
    known = set(experiments) | {benchmark.name for benchmark in config.benchmarks}
    problems += [
        f"changes.{key}: no benchmark or sweep of this suite; known: {', '.join(sorted(known))}"
        for key in config.changes
        if key not in known
    ]
    for name, experiment in experiments.items():
        try:
            resolved = resolve_experiment(experiment, name)
        except ExperimentError as error:
            problems += str(error).splitlines()
            continue
        file = folder / "experiments" / f"{name}.yaml"
        members.append(Member(name=name, raw=experiment, resolved=resolved, file=file))
    if problems:
        raise ExperimentError(_message(where, problems))
    return Suite(config=config, folder=folder, members=tuple(members))


def _message(where: str, problems: Sequence[str]) -> str:
    if len(problems) == 1:
        return f"{where}: {problems[0]}"
    return f"{where} has errors:\n" + "\n".join(f"  {problem}" for problem in problems)


def _experiments(config: SuiteConfig, folder: Path) -> dict[str, dict[str, Any]]:
    """The raw experiment of each sweep, by name."""
    result: dict[str, dict[str, Any]] = {}
    for benchmark in config.benchmarks:
        for method in config.methods:
            for student in config.students or (None,):
                name = "-".join(
                    part for part in (benchmark.name, method, _student_name(student)) if part
                )
                raw: dict[str, Any] = merged(config.common, config.changes.get(benchmark.name, {}))
                raw = merged(raw, config.changes.get(name, {}))
                raw |= {
                    "name": name,
                    "storage": str(folder),
                    # A teacher that was trained by hand, or for another suite, serves here too.
                    "cache": raw.get("cache", str(folder.parent)),
                    "method": method,
                    "benchmark": merged(
                        benchmark.absolute().model_dump(mode="json", exclude_unset=True),
                        raw.get("benchmark", {}),
                    ),
                }
                if student is not None:
                    fixed = {f"student.{key}": value for key, value in student.items()}
                    raw = merged(
                        raw, {"settings": {"student": student}, "space": {"ranges": fixed}}
                    )
                result[name] = raw
    return result


def _student_name(student: Mapping[str, Any] | None) -> str:
    if student is None:
        return ""
    text = "x".join(str(value) for value in student.values())
    return re.sub(r"[^A-Za-z0-9._-]", "_", text)


def run_suite(
    suite: Suite,
    *,
    console: Console,
    address: str | None = None,
    written: Callable[[], None] = lambda: None,
) -> int:
    """Run the sweeps of a suite side by side, or go on with them.

    Each is a `dfkd-tune sweep` of its own on the same cluster, so that one that fails leaves the
    others alone, and each can be resumed by itself.

    Args:
        suite: checked.
        console: where to show their lines, each with its sweep's name.
        address: of a Ray cluster; a local one is started where None.
        written: called whenever a sweep has ended.

    Returns:
        The exit code: 0 all well, 1 a sweep ended with an error, 3 some trials failed, 130
        interrupted.
    """
    check_writable(suite.folder)
    for member in suite.members:
        text = yaml.safe_dump(dict(member.raw), sort_keys=False, allow_unicode=True)
        write_bytes_atomically(member.file, text.encode())
    with ray_cluster(address, usable_cpus()) as cluster:
        at = address
        if at is None or at == "local":
            import ray

            at = ray.get_runtime_context().gcs_address
        most = suite.config.side_by_side or max(1, int(cluster.get("CPU", 1)))
        return _run_all(suite, console, str(at), most, written)


def _run_all(
    suite: Suite,
    console: Console,
    address: str,
    most: int,
    written: Callable[[], None],
) -> int:
    waiting = list(suite.members)
    running: dict[str, subprocess.Popen[str]] = {}
    codes: dict[str, int] = {}
    interrupted = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    width = max(len(member.name) for member in suite.members)

    def stop(_signum: int, _frame: FrameType | None) -> None:
        interrupted.set()
        signal.signal(signal.SIGINT, before)
        for process in running.values():
            process.send_signal(signal.SIGINT)

    readers: list[threading.Thread] = []
    signal.signal(signal.SIGINT, stop)
    try:
        while running or (waiting and not interrupted.is_set()):
            while waiting and len(running) < most and not interrupted.is_set():
                member = waiting.pop(0)
                process = _start(member, address)
                running[member.name] = process
                reader = threading.Thread(
                    target=_relay, args=(process, member.name.ljust(width), console), daemon=True
                )
                reader.start()
                readers.append(reader)
            for name in [name for name, process in running.items() if process.poll() is not None]:
                codes[name] = running.pop(name).returncode
                written()
            time.sleep(0.2)
        for reader in readers:
            reader.join(timeout=5)
    finally:
        signal.signal(signal.SIGINT, before)
        for process in running.values():
            process.terminate()
    if interrupted.is_set() or INTERRUPTED in codes.values():
        return INTERRUPTED
    if any(code not in (0, FAILED_TRIALS) for code in codes.values()):
        return 1
    return FAILED_TRIALS if FAILED_TRIALS in codes.values() else 0


def _start(member: Member, address: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dfkd_tune", "sweep", str(member.file)]
    # A session of its own: a Ctrl-C in the terminal reaches it once, through the suite.
    return subprocess.Popen(
        [*command, "--address", address],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "160"},
    )


def _relay(process: subprocess.Popen[str], name: str, console: Console) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip():
            console.print(
                f"{name} | {line.rstrip()}", highlight=False, markup=False, soft_wrap=True
            )
