"""What a command works on: a benchmark by name, or that of an experiment file."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from dfkd_tune.benchmarks import (
    BENCHMARKS,
    BenchmarkConfig,
    data_folder,
    download_benchmark,
)
from dfkd_tune.errors import UsageError
from dfkd_tune.sweeps import epoch_progress, read_experiment_file, validation_lines


def section(kind: type[Any], value: Any, where: str) -> Any:
    """Check one section of what was given.

    Raises:
        UsageError: with every problem in it.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise UsageError("; ".join(validation_lines(error, kind, where))) from error


def read_target(
    target: str, root: Path | None, size: int | None
) -> tuple[BenchmarkConfig, dict[str, Any]]:
    """A benchmark and the raw teacher section, from a name or an experiment file."""
    raw_teacher: dict[str, Any] = {}
    raw: Any = target
    if target.endswith((".yaml", ".yml")):
        experiment = read_experiment_file(Path(target))
        raw, raw_teacher = experiment.get("benchmark"), experiment.get("teacher") or {}
    config: BenchmarkConfig = section(BenchmarkConfig, raw, "benchmark")
    if root is not None:
        config = config.model_copy(update={"root": root})
    if size is not None:
        given = section(type(config.input), {**config.input.model_dump(), "size": size}, "--size")
        config = config.model_copy(update={"input": given})
    return config, raw_teacher


def fetch(config: BenchmarkConfig, console: Console) -> None:
    """Download a benchmark's images where they are not there yet, showing how it goes."""
    if config.name not in BENCHMARKS:
        raise UsageError(f"--download: '{config.name}' is no benchmark of ours; give its folder")
    folder = data_folder(config.absolute())
    with epoch_progress(console) as show:
        download_benchmark(
            config.name,
            folder,
            lambda done, size: show(
                done,
                size,
                f"downloading {config.name}, {done / 2**20:.0f} of {size / 2**20:.0f} MiB",
            ),
        )
