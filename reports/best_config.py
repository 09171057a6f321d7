"""The best trial's configuration: as it is, and as an experiment file that distils it again."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from reports.collect import RunData, TrialData
from reports.compute.reproduction import best_trial, distill_command
from reports.configuration import look_up
from reports.summary_file import plain


def best_configurations(runs: Sequence[RunData]) -> list[Any]:
    """The content of `best_config.json`: the best trial's configuration of every run that has one.

    Of a single run the file holds the configuration itself, of several runs the list of them, each
    with the names of its run and trial.

    Args:
        runs: records of the runs.
    """
    found = []
    for run in runs:
        trial = _best(run)
        if trial is None or trial.trial is None:
            continue
        configuration = plain(trial.trial.configuration)
        named = {"run": run.run.name, "trial": trial.name, "configuration": configuration}
        found.append(configuration if len(runs) == 1 else named)
    return found


def best_experiment(run: RunData) -> str | None:
    """The content of `best_config.yaml`: an experiment file whose recipe is the best trial.

    `dfkd-tune distill` of it trains the same configuration, with the same number of threads, and
    `dfkd-tune sweep` searches from there on, over the same ranges.

    Args:
        run: the run's records.

    Returns:
        YAML; None where nothing is chosen.
    """
    trial = _best(run)
    if trial is None or trial.trial is None:
        return None
    settings = dict(trial.trial.configuration)
    method = settings.pop("method", None) or run.experiment.get("method")
    experiment = {
        "name": f"{run.run.name}-{trial.name}",
        "benchmark": _given(look_up(run.experiment, "benchmark_config", "benchmark")),
        "teacher": _given(look_up(run.experiment, "written.teacher", "teacher")),
        "method": method,
        "settings": settings,
        "space": _space(run, method),
        "search": _search(run),
        "resources": {"cpus_per_trial": trial.trial.threads},
        "saving": run.experiment.get("saving"),
    }
    text = yaml.safe_dump(
        {key: plain(value) for key, value in experiment.items() if value},
        sort_keys=False,
        allow_unicode=True,
        width=100,
    )
    return "\n".join([*_comments(run, trial), text])


def _best(run: RunData) -> TrialData | None:
    # A comparison chooses nothing.
    return None if run.run.kind == "comparison" else best_trial(run)


def _comments(run: RunData, trial: TrialData) -> list[str]:
    """What the file is, for whoever opens it."""
    lines = [
        f"The configuration of trial {trial.name} of the run {run.run.name}, whole.",
        "To distil it: dfkd-tune distill best_config.yaml",
    ]
    parent = trial.trial.parent if trial.trial is not None else None
    if parent is None:
        lines.append(f"With the teacher of the run: {distill_command(run, trial.name)}")
    else:
        lines.append(
            f"It took over the weights of {parent.trial} at {parent.student_steps} student steps; "
            f"this file trains its values throughout, which gives another student."
        )
    return [f"# {' '.join(line.split())}" for line in lines]


def _space(run: RunData, method: Any) -> Any:
    """The run's own ranges, within which its trials are; none of a search over methods."""
    return _given(run.experiment.get("space")) if method == run.experiment.get("method") else None


def _search(run: RunData) -> dict[str, Any]:
    """By what the student is scored after each epoch."""
    objective = look_up(run.experiment, "search.objective")
    audit = look_up(run.experiment, "search.audit") if objective == "data_free" else None
    return {key: value for key, value in (("objective", objective), ("audit", audit)) if value}


def _given(section: Any) -> Any:
    """A section without what it leaves open."""
    if not isinstance(section, Mapping):
        return section
    inner = {key: _given(value) for key, value in section.items()}
    return {
        key: value for key, value in inner.items() if value is not None and value not in ({}, [])
    }
