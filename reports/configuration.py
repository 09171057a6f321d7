"""Tolerant look-ups in configurations and experiments, which are plain mappings here.

A report may be older or newer than the run that it reads. A value that is not where it is
expected is shown as missing, and never stops the report.
"""

from collections.abc import Mapping
from pathlib import PureWindowsPath
from typing import Any

from reports.collect import RunData, TrialData


def look_up(mapping: Mapping[str, Any], *keys: str) -> Any:
    """Find the first of several dotted keys.

    Args:
        mapping: nested mappings.
        keys: dotted keys in order of preference, such as `student.width`.

    Returns:
        The value, or None where none of the keys is there.
    """
    for key in keys:
        value: Any = mapping
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None:
            return value
    return None


def named(value: Any) -> str | None:
    """The name of a component that is given as a name or as a mapping with a name."""
    if isinstance(value, Mapping):
        value = look_up(value, "name", "architecture", "kind")
    return None if value is None else str(value)


def network_name(architecture: Any, width: Any) -> str | None:
    """Write a network as architecture x width, such as `cnn x 0.5` with a times sign."""
    if architecture is None:
        return None
    name = short_architecture(str(architecture))
    if isinstance(width, int | float) and not isinstance(width, bool):
        return f"{name} \N{MULTIPLICATION SIGN} {width:g}"
    return name


def short_architecture(architecture: str) -> str:
    """An architecture without the folders of the file that it is made in, such as `net.py:make`."""
    file, colon, factory = architecture.rpartition(":")
    if not file.endswith(".py"):
        return architecture
    return f"{PureWindowsPath(file).name}{colon}{factory}"


def student_name(trial: TrialData) -> str | None:
    """A trial's student as architecture x width; None where it is unknown."""
    if trial.trial is None:
        return None
    configuration = trial.trial.configuration
    architecture = named(look_up(configuration, "student.architecture", "student"))
    return network_name(architecture, look_up(configuration, "student.width", "student_width"))


def teacher_name(run: RunData) -> str | None:
    """The teacher as architecture x width; None where there is none yet."""
    return network_name(run.teacher.architecture, run.teacher.width) if run.teacher else None


def benchmark_name(run: RunData) -> str | None:
    """The benchmark's name, from the experiment or the teacher's card."""
    name = named(look_up(run.experiment, "benchmark"))
    return name or (run.teacher.benchmark if run.teacher else None)


def method_name(run: RunData) -> str | None:
    """The method's name, from the experiment or the first readable configuration.

    Of a comparison of methods, and of a search over them, how many or which.
    """
    comparison = run.experiment.get("comparison")
    if isinstance(comparison, Mapping) and comparison.get("what") == "methods":
        return f"each of {len(comparison.get('variants', []))}"
    searched = _searched_methods(run.experiment.get("dimensions"))
    if searched is not None and run.run.kind == "sweep":
        return f"one of {searched}"
    name = named(look_up(run.experiment, "method", "recipe", "distillation.method"))
    if name is not None:
        return name
    configurations = (trial.trial.configuration for trial in run.trials if trial.trial)
    return next(
        (name for c in configurations if (name := named(look_up(c, "method", "recipe")))), None
    )


def _searched_methods(dimensions: Any) -> str | None:
    """The methods that were searched over, in words; None where it was one."""
    if not isinstance(dimensions, list):
        return None
    stated = (entry for entry in dimensions if isinstance(entry, Mapping))
    return next(
        (str(d["range"]) for d in stated if d.get("key") == "method" and d.get("range")), None
    )


def seed(run: RunData, trial: TrialData | None) -> int | None:
    """The seed of a trial, or of the run where the trial does not tell."""
    value = None
    if trial is not None and trial.trial is not None:
        value = look_up(trial.trial.configuration, "seed")
    if value is None:
        value = look_up(run.experiment, "seed", "search.seed")
    return value if isinstance(value, int) else None


def planned_trials(run: RunData) -> int | None:
    """How many trials the experiment asks for; None where it does not tell."""
    if run.run.kind == "distill":
        return 1
    comparison = run.experiment.get("comparison")
    if isinstance(comparison, Mapping):
        return int(comparison.get("seeds", 0)) * len(comparison.get("variants", []))
    value = look_up(run.experiment, "search.trials", "trials", "search.num_trials", "budget.trials")
    return value if isinstance(value, int) and not isinstance(value, bool) else None
