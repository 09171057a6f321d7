"""What `sweep` and `distill` do with an experiment; loads PyTorch and Ray."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from dfkd_tune.cli._output import command_line, say_how_to_go_on
from dfkd_tune.distillation import METHODS
from dfkd_tune.errors import CollapsedError, DfkdTuneError, DivergedError, UsageError
from dfkd_tune.records import COST_WORDS, EpochRecord, RunFolder
from dfkd_tune.sweeps import (
    Allotment,
    Assignment,
    ResolvedExperiment,
    Resume,
    allot_here,
    cohorts_of,
    disk_of,
    ensure_audit,
    epoch_progress,
    expected_share,
    override,
    pace_of,
    read_experiment_file,
    resolve_experiment,
    run_distillation,
    share_plan,
    trials_left,
)
from reports.formatting import duration, memory


def resolved_from(
    experiment: Path,
    *,
    name: str | None = None,
    storage: Path | None = None,
    trials: int | None = None,
    epochs: int | None = None,
    max_concurrent: int | None = None,
    gpus_per_trial: str | None = None,
    cpus_per_trial: int | None = None,
    seed: int | None = None,
    time_budget: str | None = None,
    against: str | None = None,
    warm_start: Sequence[Path] | None = None,
    searched: bool = True,
) -> ResolvedExperiment:
    """Read an experiment, put flags in place of its values, and check it whole."""
    gpus: Any = gpus_per_trial
    if gpus is not None and gpus != "auto":
        try:
            gpus = float(gpus)
        except ValueError as error:
            raise UsageError(
                f"--gpus-per-trial is '{gpus}'; give 0, a fraction, a whole number, or auto"
            ) from error
    raw = override(
        read_experiment_file(experiment),
        {
            "name": name,
            "storage": None if storage is None else str(storage),
            "search.trials": trials,
            "settings.schedule.epochs": epochs,
            "resources.max_concurrent": max_concurrent,
            "resources.gpus_per_trial": gpus,
            "resources.cpus_per_trial": cpus_per_trial,
            "search.seed": seed,
            "settings.seed": seed,
            "search.time_budget": time_budget,
            "search.against": against,
            "search.warm_start": [str(path) for path in warm_start] if warm_start else None,
        },
    )
    return resolve_experiment(raw, str(experiment), searched=searched)


def plan_of(resolved: ResolvedExperiment, address: str | None) -> dict[str, Any]:
    """What a sweep would do, as far as it can be told beforehand."""
    experiment = resolved.experiment
    running = f"on the cluster at {address}, which is asked at the start"
    taking = {"duration": "known at the start, when the cluster is"}
    sharing, cohorts = None, cohorts_of(resolved)
    if address in (None, "local"):
        allotment = allot_here(resolved)
        running, taking = str(allotment), _duration(resolved, allotment)
        sharing = share_plan(resolved, allotment)
    schedule, search = resolved.base.schedule, experiment.search
    trial = f"{schedule.total_student_steps} student steps in {schedule.total_epochs} epochs"
    if search.scheduler.name != "none":
        trial += f"; may be stopped after {resolved.grace_student_steps}"
    weighed = {} if search.against is None else {"weighed against": COST_WORDS[search.against]}
    return {
        "run folder": str(experiment.storage.absolute() / experiment.name),
        "benchmark": resolved.benchmark.title,
        "method": ", ".join(f"{name} ({METHODS[name].source})" for name in resolved.bases),
        "trials": _trials(resolved),
        "running": running,
        **({} if sharing is None else {"sharing a GPU": sharing}),
        **({} if cohorts is None else {"cohorts": cohorts.words}),
        "a trial": trial,
        **taking,
        "disk": _disk(resolved),
        **_searched(resolved),
        **_warm(resolved),
        "chosen by": resolved.objective.words,
        **weighed,
    }


def _trials(resolved: ResolvedExperiment) -> int | str:
    trials, every = resolved.experiment.search.trials, len(resolved.grid)
    if resolved.experiment.search.scheduler.name == "pbt":
        return f"{trials}, and copies of strong ones in the places of weak ones"
    return f"{trials} of the grid's {every} combinations" if trials < every else trials


def _duration(resolved: ResolvedExperiment, allotment: Allotment) -> dict[str, str]:
    """How long the search takes, at most and likely, and what that is known by."""
    left, at_once = trials_left(resolved), allotment.max_concurrent
    if not left:
        return {"duration": "all trials have ended already"}
    pace = pace_of(resolved, allotment)
    if pace is None:
        return {"duration": "unknown: the recipe diverged in its first steps"}
    epochs, search = resolved.base.schedule.total_epochs, resolved.experiment.search
    most = math.ceil(left / at_once) * pace.seconds
    words = (
        f"about {duration(most)} if every trial trains its whole budget ({left} times {epochs} "
        f"epochs, {at_once} at once)"
    )
    share = expected_share(resolved, at_once)
    if share < 1:
        likely = max(pace.seconds, share * left * pace.seconds / at_once)
        words += (
            f"; about {duration(likely)} ({round(share * left * epochs)} epochs) if "
            f"{search.scheduler.name} stops trials as it would where one that is ahead stays ahead"
        )
    if search.time_budget is not None:
        words += f"; ends after {search.time_budget} of searching anyway"
    return {"duration": words, "duration is from": pace.basis}


def _disk(resolved: ResolvedExperiment) -> str:
    disk = disk_of(resolved)
    return (
        f"at most about {memory(disk.while_running / 2**20)} while it runs, "
        f"{memory(disk.at_the_end / 2**20)} in the end, where all students are as large as the "
        f"recipe's"
    )


def _searched(resolved: ResolvedExperiment) -> dict[str, str]:
    """What is searched; over several methods, how much of each."""
    dimensions = resolved.space.dimensions
    common = [dimension.name for dimension in dimensions if not dimension.method]
    if len(resolved.bases) > 1:
        counts = Counter(dimension.method for dimension in dimensions if dimension.method)
        own = [f"{count} settings of {method}" for method, count in counts.items()]
        return {
            "searched": ", ".join([*common, *own]),
            "tried first": f"the recipe of each method: {', '.join(resolved.bases)}",
        }
    point = ", ".join(f"{name}={value}" for name, value in resolved.first_points[0].items())
    return {"searched": ", ".join(common), "tried first": point}


def _warm(resolved: ResolvedExperiment) -> dict[str, str]:
    """The points of finished sweeps; empty where none were asked for."""
    if not resolved.experiment.search.warm_start:
        return {}
    points = [", ".join(f"{k}={v}" for k, v in point.items()) for point in resolved.warm_points]
    return {"then": "; ".join(points) or "nothing more: the best of the sweeps are among these"}


def audit_where_needed(run: RunFolder, resolved: ResolvedExperiment, console: Console) -> None:
    if resolved.objective.name == "data_free":
        experiment = resolved.experiment
        audit, cache = experiment.search.audit, experiment.kept_in
        ensure_audit(run, resolved.benchmark, audit, cache, console)


def distil_with_progress(assignment: Assignment, resume: Resume, console: Console) -> RunFolder:
    with epoch_progress(console) as show:

        def on_epoch(record: EpochRecord) -> None:
            value = "" if record.value is None else f", value {100 * record.value:.1f} %"
            text = f"epoch {record.epoch} of {record.total_epochs}{value}"
            show(record.epoch, record.total_epochs, text)

        try:
            return run_distillation(
                assignment, command=command_line(), resume=resume, on_epoch=on_epoch
            )
        except DivergedError as error:
            raise DfkdTuneError(
                f"the distillation diverged: {error}; lower a learning rate or that term's weight"
            ) from error
        except CollapsedError as error:
            raise DfkdTuneError(
                f"{error}; raise the weight of a term that asks for different images, lower the "
                f"generator's learning rate, or set settings.collapse.stop to false"
            ) from error
        except KeyboardInterrupt:
            say_how_to_go_on(console)
            raise
