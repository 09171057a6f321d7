"""`sweep`, `extend`, `baseline` and `distill`.

A command imports what it needs when it is called, so that `--help` need not wait for PyTorch and
Ray.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from dfkd_tune.cli._options import Address
from dfkd_tune.cli._output import (
    command_line,
    make_console,
    print_json,
    say_how_to_go_on,
    short,
)
from dfkd_tune.errors import UsageError

ExperimentFile = Annotated[Path, typer.Argument(help="experiment file (YAML)", show_default=False)]
Name = Annotated[str | None, typer.Option(help="of the run; the experiment's by default")]
Storage = Annotated[Path | None, typer.Option(help="folder that holds all runs")]
Epochs = Annotated[int | None, typer.Option(help="of student training, in place of the file's")]
Seed = Annotated[int | None, typer.Option(help="of search and training")]
CpusPerTrial = Annotated[int | None, typer.Option(help="CPU cores and threads of each trial")]
GpusPerTrial = Annotated[str | None, typer.Option(help="0, a fraction, a number, or auto")]
ResumeOption = Annotated[
    Literal["auto", "never", "must"],
    typer.Option(help="auto: go on with a run of this name; never: refuse; must: demand"),
]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document at the end")]


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
    address: Address = None,
    resume: ResumeOption = "auto",
    retry_failed: Annotated[bool, typer.Option(help="try failed trials again")] = False,
    time_budget: Annotated[str | None, typer.Option(help="such as 90s, 30m, 2h")] = None,
    against: Annotated[
        Literal["parameters", "macs", "latency", "training_seconds"] | None,
        typer.Option(help="a cost to weigh the search objective against"),
    ] = None,
    warm_start: Annotated[
        list[Path] | None,
        typer.Option(help="folder of a finished sweep whose best points are tried first"),
    ] = None,
    confirm: Annotated[
        int | None,
        typer.Option(min=1, help="distil so many of the best again, over fresh seeds, in the end"),
    ] = None,
    seeds: Annotated[int, typer.Option(min=2, max=100, help="of each, with --confirm")] = 3,
    download: Annotated[bool, typer.Option(help="fetch the images first, where they are not")] = (
        False
    ),
    dry_run: Annotated[bool, typer.Option(help="check everything and show the plan only")] = False,
    as_json: AsJson = False,
) -> None:
    """Search for the best student; the same command goes on where it was ended."""
    from dfkd_tune.cli._experiment import resolved_from
    from dfkd_tune.cli._target import fetch, read_target

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
        against=against,
        warm_start=warm_start,
    )
    finished = _search(
        resolved,
        console,
        address=address,
        resume=resume,
        retry_failed=retry_failed,
        dry_run=dry_run,
        as_json=as_json,
        print_it=not (as_json and confirm),
    )
    if confirm is not None and finished is not None:
        from dfkd_tune.cli._compare import confirm_run

        confirm_run(finished, confirm, seeds, None, address, dry_run=False, as_json=as_json)


def extend(
    run: Annotated[Path, typer.Argument(help="folder of a sweep", show_default=False)],
    trials: Annotated[
        int, typer.Option(min=1, help="how many there are to be, in all", show_default=False)
    ],
    address: Address = None,
    retry_failed: Annotated[bool, typer.Option(help="try failed trials again")] = False,
    dry_run: Annotated[bool, typer.Option(help="check everything and show the plan only")] = False,
    as_json: AsJson = False,
) -> None:
    """Go on with a finished sweep: more trials, proposed from all that it has found."""
    from dfkd_tune.records import RunFolder
    from dfkd_tune.sweeps import experiment_of_run

    _search(
        experiment_of_run(RunFolder.open(run), trials=trials),
        make_console(as_json),
        address=address,
        resume="must",
        retry_failed=retry_failed,
        dry_run=dry_run,
        as_json=as_json,
    )


def baseline(
    run: Annotated[Path, typer.Argument(help="folder of a finished sweep", show_default=False)],
    name: Annotated[
        str | None, typer.Option(help="of the new run beside it; RUN-random by default")
    ] = None,
    address: Address = None,
    retry_failed: Annotated[bool, typer.Option(help="try failed trials again")] = False,
    dry_run: Annotated[bool, typer.Option(help="check everything and show the plan only")] = False,
    as_json: AsJson = False,
) -> None:
    """Search at random with the budget of a finished sweep, and compare the two."""
    from dfkd_tune.records import RunFolder
    from dfkd_tune.sweeps import random_baseline
    from reports import summarise_baseline, write_report

    console = make_console(as_json)
    resolved = random_baseline(RunFolder.open(run), name)
    code = 0
    try:
        _search(
            resolved,
            console,
            address=address,
            resume="auto",
            retry_failed=retry_failed,
            dry_run=dry_run,
            as_json=as_json,
            print_it=False,
        )
    except typer.Exit as ended:
        # Some trials failed, or a person ended it: the two are compared as far as they are.
        code = ended.exit_code
    if not dry_run:
        files = write_report([run])
        found = summarise_baseline(run)
        if as_json:
            compared = None if found is None else {**asdict(found), "verdict": found.verdict}
            print_json({"baseline": compared, "report": str(files.html)})
        else:
            words = "nothing to compare yet" if found is None else found.verdict
            console.print(words, style="bold", highlight=False, markup=False, soft_wrap=True)
            console.print(f"report: {short(files.html)}", highlight=False, soft_wrap=True)
    if code:
        raise typer.Exit(code)


def _search(
    resolved: Any,
    console: Console,
    *,
    address: str | None,
    resume: Literal["auto", "never", "must"],
    retry_failed: bool,
    dry_run: bool,
    as_json: bool,
    print_it: bool = True,
) -> Path | None:
    """Search; gives the run's folder, or None where it was ended before, or only planned."""
    from dfkd_tune.cli._experiment import plan_of
    from dfkd_tune.cli._summary import print_summary, summary_json
    from dfkd_tune.sweeps import run_sweep
    from reports import summarise, write_report
    from trainables import check_teacher

    if dry_run:
        check_teacher(resolved.benchmark, resolved.experiment.teacher)
        plan = plan_of(resolved, address)
        if as_json:
            print_json(plan)
        else:
            for key, value in plan.items():
                console.print(f"{key}: {value}", highlight=False, soft_wrap=True)
        return None
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
        say_how_to_go_on(console)
        raise
    files = write_report([result.run.path])
    summary = summarise(result.run.path)
    if as_json and print_it:
        print_json({**summary_json(summary), "report": str(files.html)})
    elif not as_json:
        print_summary(console, summary)
        console.print(f"report: {short(files.html)}", highlight=False, soft_wrap=True)
    if result.unfinished or result.ending == "interrupted":
        say_how_to_go_on(console)
    if result.exit_code:
        raise typer.Exit(result.exit_code)
    return None if result.unfinished else result.run.path


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
    from dfkd_tune.cli._experiment import audit_where_needed, distil_with_progress, resolved_from
    from dfkd_tune.cli._summary import print_summary, summary_json
    from dfkd_tune.records import RunFolder
    from dfkd_tune.sweeps import (
        assignment_from_experiment,
        assignment_from_run,
        first_difference,
        teacher_with_progress,
    )
    from reports import summarise, write_report

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
            searched=False,
        )

        assignment = assignment_from_experiment(
            resolved,
            name,
            lambda: teacher_with_progress(
                resolved.benchmark,
                resolved.experiment.teacher,
                resolved.experiment.kept_in,
                console,
            ),
            lambda run: audit_where_needed(run, resolved, console),
        )
    run = distil_with_progress(assignment, resume, console)
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
        console.print(f"report: {short(files.html)}", highlight=False, soft_wrap=True)
