"""`sweep` and `distill`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from dfkd_tune.cli._output import (
    command_line,
    make_console,
    print_json,
    print_summary,
    summary_json,
)
from dfkd_tune.cli._target import fetch, read_target
from dfkd_tune.errors import DfkdTuneError, DivergedError, UsageError
from dfkd_tune.records import EpochRecord, RunFolder
from dfkd_tune.sweeps import (
    Assignment,
    ResolvedExperiment,
    Resume,
    allot,
    assignment_from_experiment,
    assignment_from_run,
    ensure_audit,
    epoch_progress,
    first_difference,
    gpu_count,
    override,
    read_experiment_file,
    resolve_experiment,
    run_distillation,
    run_sweep,
    teacher_with_progress,
    usable_cpus,
)
from reports import summarise, write_report
from trainables import check_teacher

ExperimentFile = Annotated[Path, typer.Argument(help="experiment file (YAML)", show_default=False)]
Name = Annotated[str | None, typer.Option(help="of the run; the experiment's by default")]
Storage = Annotated[Path | None, typer.Option(help="folder that holds all runs")]
Epochs = Annotated[int | None, typer.Option(help="of student training, in place of the file's")]
Seed = Annotated[int | None, typer.Option(help="of search and training")]
CpusPerTrial = Annotated[int | None, typer.Option(help="CPU cores and threads of each trial")]
GpusPerTrial = Annotated[str | None, typer.Option(help="0, a fraction, a number, or auto")]
ResumeOption = Annotated[
    Resume, typer.Option(help="auto: go on with a run of this name; never: refuse; must: demand")
]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document at the end")]


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
        },
    )
    return resolve_experiment(raw, str(experiment))


def sweep(
    experiment: ExperimentFile,
    name: Name = None,
    storage: Storage = None,
    trials: Annotated[int | None, typer.Option(help="number of trials")] = None,
    epochs: Epochs = None,
    max_concurrent: Annotated[int | None, typer.Option(help="trials at once, at most")] = None,
    gpus_per_trial: GpusPerTrial = None,
    cpus_per_trial: CpusPerTrial = None,
    seed: Seed = None,
    address: Annotated[
        str | None, typer.Option(help="of a Ray cluster; one of our own by default")
    ] = None,
    resume: ResumeOption = "auto",
    retry_failed: Annotated[bool, typer.Option(help="try failed trials again")] = False,
    time_budget: Annotated[str | None, typer.Option(help="such as 90s, 30m, 2h")] = None,
    download: Annotated[bool, typer.Option(help="fetch the images first, where they are not")] = (
        False
    ),
    dry_run: Annotated[bool, typer.Option(help="check everything and show the plan only")] = False,
    as_json: AsJson = False,
) -> None:
    """Search for the best student; the same command goes on where it was ended."""
    console = make_console(as_json)
    if download:
        fetch(read_target(str(experiment), None, None)[0], console)
    resolved = resolved_from(
        experiment,
        name=name,
        storage=storage,
        trials=trials,
        epochs=epochs,
        max_concurrent=max_concurrent,
        gpus_per_trial=gpus_per_trial,
        cpus_per_trial=cpus_per_trial,
        seed=seed,
        time_budget=time_budget,
    )
    if dry_run:
        check_teacher(resolved.benchmark, resolved.experiment.teacher)
        plan = _plan(resolved, address)
        if as_json:
            print_json(plan)
        else:
            for key, value in plan.items():
                console.print(f"{key}: {value}", highlight=False, soft_wrap=True)
        return
    try:
        result = run_sweep(
            resolved,
            command=command_line(),
            console=console,
            address=address,
            resume=resume,
            retry_failed=retry_failed,
        )
    except KeyboardInterrupt:
        _say_how_to_go_on(console)
        raise
    files = write_report([result.run.path])
    summary = summarise(result.run.path)
    if as_json:
        print_json({**summary_json(summary), "report": str(files.html)})
    else:
        print_summary(console, summary)
        console.print(f"report: {_short(files.html)}", highlight=False, soft_wrap=True)
    if result.unfinished or result.ending == "interrupted":
        _say_how_to_go_on(console)
    if result.exit_code:
        raise typer.Exit(result.exit_code)


def _say_how_to_go_on(console: Console) -> None:
    console.print(f"to go on: {command_line()}", highlight=False, soft_wrap=True, style="bold")


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _plan(resolved: ResolvedExperiment, address: str | None) -> dict[str, Any]:
    """What a sweep would do, as far as it can be told beforehand."""
    experiment = resolved.experiment
    running = f"on the cluster at {address}, which is asked at the start"
    if address in (None, "local"):
        running = str(allot(experiment.resources, usable_cpus(), gpu_count()))
    schedule = resolved.base.schedule
    return {
        "run folder": str(experiment.storage.absolute() / experiment.name),
        "benchmark": resolved.benchmark.title,
        "method": f"{resolved.method.name} ({resolved.method.source})",
        "trials": experiment.search.trials,
        "running": running,
        "a trial": f"{schedule.total_student_steps} student steps in {schedule.total_epochs} "
        f"epochs; may be stopped after {resolved.grace_student_steps}",
        "searched": ", ".join(dimension.key for dimension in resolved.space.dimensions),
        "first point": ", ".join(f"{k}={v}" for k, v in resolved.first_point.items()),
        "chosen by": resolved.objective.words,
    }


def distill(
    source: Annotated[
        Path, typer.Argument(help="experiment file, or the folder of a run", show_default=False)
    ],
    trial: Annotated[
        str | None, typer.Option(help="of the run; the selected one by default")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="of the new run; NAME-recipe or RUN-TRIAL by default")
    ] = None,
    storage: Storage = None,
    epochs: Epochs = None,
    seed: Annotated[int | None, typer.Option(help="of training")] = None,
    cpus_per_trial: CpusPerTrial = None,
    gpus_per_trial: GpusPerTrial = None,
    resume: ResumeOption = "auto",
    as_json: AsJson = False,
) -> None:
    """Distil once, without a search: an experiment's recipe, or a trial of a run again."""
    console = make_console(as_json)
    if source.is_dir():
        for flag, value in (
            ("--epochs", epochs),
            ("--seed", seed),
            ("--cpus-per-trial", cpus_per_trial),
            ("--gpus-per-trial", gpus_per_trial),
        ):
            if value is not None:
                raise UsageError(f"{flag} does not go with a run: its trial is repeated as it was")
        assignment = assignment_from_run(RunFolder.open(source), trial, name, storage)
    else:
        if trial is not None:
            raise UsageError(f"--trial goes with the folder of a run, and {source} is none")
        resolved = resolved_from(
            source,
            storage=storage,
            epochs=epochs,
            seed=seed,
            cpus_per_trial=cpus_per_trial,
            gpus_per_trial=gpus_per_trial,
        )

        assignment = assignment_from_experiment(
            resolved,
            name,
            lambda: teacher_with_progress(
                resolved.benchmark,
                resolved.experiment.teacher,
                resolved.experiment.storage.absolute(),
                console,
            ),
            lambda run: _audit_where_needed(run, resolved, console),
        )
    run = _distil_with_progress(assignment, resume, console)
    files = write_report([run.path])
    summary = summarise(run.path)
    same: str | None = None
    if assignment.original is not None:
        difference = first_difference(run, assignment.original)
        same = difference or "every metric of every epoch is equal to the trial's, digit for digit"
    if as_json:
        print_json({**summary_json(summary), "report": str(files.html), "compared": same})
    else:
        print_summary(console, summary)
        if same is not None:
            console.print(same, highlight=False, soft_wrap=True)
        console.print(f"report: {_short(files.html)}", highlight=False, soft_wrap=True)


def _audit_where_needed(run: RunFolder, resolved: ResolvedExperiment, console: Console) -> None:
    if resolved.objective.name == "data_free":
        experiment = resolved.experiment
        storage = experiment.storage.absolute()
        ensure_audit(run, resolved.benchmark, experiment.search.audit, storage, console)


def _distil_with_progress(assignment: Assignment, resume: Resume, console: Console) -> RunFolder:
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
        except KeyboardInterrupt:
            _say_how_to_go_on(console)
            raise
