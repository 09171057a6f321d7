"""What `sweep` and `distill` do with an experiment; loads PyTorch and Ray."""

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
    Assignment,
    ResolvedExperiment,
    Resume,
    allot,
    ensure_audit,
    epoch_progress,
    gpu_count,
    override,
    read_experiment_file,
    resolve_experiment,
    run_distillation,
    usable_cpus,
)


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
    if address in (None, "local"):
        running = str(allot(experiment.resources, usable_cpus(), gpu_count()))
    schedule, search = resolved.base.schedule, experiment.search
    trial = f"{schedule.total_student_steps} student steps in {schedule.total_epochs} epochs"
    if search.scheduler.name != "none":
        trial += f"; may be stopped after {resolved.grace_student_steps}"
    weighed = {} if search.against is None else {"weighed against": COST_WORDS[search.against]}
    return {
        "run folder": str(experiment.storage.absolute() / experiment.name),
        "benchmark": resolved.benchmark.title,
        "method": ", ".join(f"{name} ({METHODS[name].source})" for name in resolved.bases),
        "trials": search.trials,
        "running": running,
        "a trial": trial,
        **_searched(resolved),
        **_warm(resolved),
        "chosen by": resolved.objective.words,
        **weighed,
    }


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
