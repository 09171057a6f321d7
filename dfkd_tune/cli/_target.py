"""What a command works on: a benchmark by name, a person's own images, or an experiment file."""

import os
import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from dfkd_tune.benchmarks import (
    BENCHMARKS,
    BenchmarkConfig,
    InputConfig,
    data_folder,
    download_benchmark,
)
from dfkd_tune.errors import UnknownNameError, UsageError, did_you_mean
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


def from_flags(kind: type[Any], value: Any) -> Any:
    """Check values of which those that flags gave may be wrong.

    Args:
        kind: a model whose fields are named like the flags.
        value: of all fields.

    Raises:
        UsageError: naming the first flag that is wrong, and its value.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        problem = error.errors()[0]
        flag = "--" + str(problem["loc"][0]).replace("_", "-")
        text = problem["msg"].removeprefix("Value error, ")
        raise UsageError(f"{flag} is {problem['input']}: {text}") from error


def read_target(
    target: str, root: Path | None, size: int | None, resize: str | None = None
) -> tuple[BenchmarkConfig, dict[str, Any]]:
    """A benchmark and the raw teacher section.

    Args:
        target: a benchmark's name, a folder or an `.npz` of labelled images, or an experiment file.
        root: folder of a benchmark's images.
        size: pixels of one side of the input.
        resize: how an image of another shape is fitted.

    Raises:
        UsageError: if there is no such target, or a flag does not suit it.
    """
    raw_teacher: dict[str, Any] = {}
    raw: Any = target
    if target not in BENCHMARKS:
        if target.endswith((".yaml", ".yml")) and not _is_folder(Path(target)):
            experiment = read_experiment_file(Path(target))
            raw, raw_teacher = experiment.get("benchmark"), experiment.get("teacher") or {}
        else:
            raw = _own_images(target, size)
    config: BenchmarkConfig = section(BenchmarkConfig, raw, "benchmark")
    if root is not None:
        if config.labelled is not None or config.unlabelled is not None:
            raise UsageError(
                f"--root is for a benchmark of ours, and {target} says where its images are; "
                f"leave --root out"
            )
        config = config.model_copy(update={"root": root})
    if resize is not None:
        config = from_flags(BenchmarkConfig, {**config.model_dump(), "resize": resize})
    if size is not None:
        given = from_flags(InputConfig, {**config.input.model_dump(), "size": size})
        config = config.model_copy(update={"input": given})
    return config, raw_teacher


def _own_images(target: str, size: int | None) -> dict[str, Any]:
    """The `benchmark` of a person's own labelled images."""
    # Absolute already here: a `~` that the shell has left alone is part of a name.
    path = Path(target).absolute()
    is_file = path.suffix.lower() == ".npz"
    # What only a path can be is one, so that it is said to be missing where it is.
    if not target or not (is_file or os.sep in target or _is_folder(path)):
        raise UnknownNameError(
            f"there is no benchmark '{target}', and no folder of that name; "
            f"{did_you_mean(target, BENCHMARKS)}"
        )
    if size is None and not is_file and _is_folder(path):
        raise UsageError(
            f"--size is missing: {target} holds image files, and their size does not say what the "
            f"classifier takes; give it, such as --size 64"
        )
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem if is_file else path.name).strip("._-")
    return {
        "name": f"own-{name}" if name in BENCHMARKS else name or "own",
        "labelled": path,
    }


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        # Whoever reads it says why it cannot be read.
        return False


def fetch(config: BenchmarkConfig, console: Console) -> None:
    """Download a benchmark's images where they are not there yet, showing how it goes."""
    if config.name not in BENCHMARKS:
        raise UsageError(f"--download: '{config.name}' is no benchmark of ours; leave it out")
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
