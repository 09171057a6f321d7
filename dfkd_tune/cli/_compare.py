"""`ablate`, `compare`, `confirm` and `yardsticks`.

They import what they need when they are called, so that `--help` need not wait for PyTorch and Ray.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from dfkd_tune.cli._options import Address
from dfkd_tune.cli._output import (
    command_line,
    make_console,
    print_json,
    print_table,
    say_how_to_go_on,
    short,
)

ExperimentFile = Annotated[Path, typer.Argument(help="experiment file (YAML)", show_default=False)]
Seeds = Annotated[int, typer.Option(min=1, max=100, help="distillations of each variant")]
Name = Annotated[str | None, typer.Option(help="of the run")]
Storage = Annotated[Path | None, typer.Option(help="folder that holds all runs")]
Epochs = Annotated[int | None, typer.Option(help="of student training, in place of the file's")]
DryRun = Annotated[bool, typer.Option(help="check everything and list the variants only")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document at the end")]


def ablate(
    experiment: ExperimentFile,
    seeds: Seeds = 3,
    name: Name = None,
    storage: Storage = None,
    epochs: Epochs = None,
    address: Address = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Distil an experiment's recipe with one named piece off at a time, over seeds."""
    from dfkd_tune.cli._experiment import resolved_from
    from dfkd_tune.sweeps import ablation, read_experiment_file

    name = name or _own_name(read_experiment_file(experiment), "ablation")
    resolved = resolved_from(experiment, name=name, storage=storage, epochs=epochs, searched=False)
    _run(resolved, ablation(resolved, seeds), address, dry_run, as_json)


def compare(
    experiment: ExperimentFile,
    methods: Annotated[
        str, typer.Option(help="names with commas between them; all where there are none")
    ] = "",
    seeds: Seeds = 3,
    name: Name = None,
    storage: Storage = None,
    epochs: Epochs = None,
    address: Address = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Distil by every method's recipe under one experiment's settings, over seeds."""
    from dfkd_tune.sweeps import comparison_of_methods, override, read_experiment_file

    raw = read_experiment_file(experiment)
    raw = override(
        raw,
        {
            "name": name or _own_name(raw, "methods"),
            "storage": None if storage is None else str(storage),
            "settings.schedule.epochs": epochs,
        },
    )
    names = [each.strip() for each in methods.split(",") if each.strip()]
    resolved, comparison = comparison_of_methods(raw, str(experiment), names, seeds)
    _run(resolved, comparison, address, dry_run, as_json)


def confirm(
    run: Annotated[Path, typer.Argument(help="folder of a finished sweep", show_default=False)],
    top: Annotated[int, typer.Option(min=1, help="configurations, the best of the sweep")] = 3,
    seeds: Annotated[int, typer.Option(min=2, max=100, help="fresh ones for each")] = 3,
    name: Name = None,
    address: Address = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Distil the best configurations of a sweep over fresh seeds, and choose by their mean."""
    confirm_run(run, top, seeds, name, address, dry_run, as_json)


def confirm_run(
    run: Path,
    top: int,
    seeds: int,
    name: str | None,
    address: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """What `confirm`, and `sweep --confirm` in its end, do."""
    from dfkd_tune.errors import RunFolderError
    from dfkd_tune.records import RunFolder
    from dfkd_tune.sweeps import confirmation, experiment_of_run, ranked_complete_trials

    folder = RunFolder.open(run)
    resolved = experiment_of_run(
        folder,
        trials=len(folder.trial_folders()),
        beside=name or f"{folder.path.name}-confirmed",
    )
    ranked = [choice.folder for choice in ranked_complete_trials(folder)][:top]
    if not ranked:
        raise RunFolderError(f"{run} has no complete trial to confirm; let its sweep end first")
    _run(resolved, confirmation(folder, ranked, seeds), address, dry_run, as_json)


def yardsticks(
    run: Annotated[Path, typer.Argument(help="folder of a finished sweep", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Train the selected student's network on the real images, alone and by the teacher."""
    from dfkd_tune.records import RunFolder
    from dfkd_tune.sweeps import measure_yardsticks
    from reports import write_report

    console = make_console(as_json)
    folder = RunFolder.open(run)
    record = measure_yardsticks(folder, console)
    files = write_report([folder.path])
    selection = folder.selection()
    student = selection.test.student_accuracy if selection and selection.test else float("nan")
    cards = {"on real images": record.real, "by the teacher on real images": record.kd}
    accuracies = {words: card.scores["test"].accuracy for words, card in cards.items()}
    if as_json:
        ratios = {words: 100 * student / value for words, value in accuracies.items() if value}
        print_json({"test accuracy": accuracies, "relative accuracy": ratios})
        return
    rows = [
        [words, f"{100 * value:.1f} %", f"{100 * student / value:.1f} %" if value else "none"]
        for words, value in accuracies.items()
    ]
    columns = ["the same network, trained", "test accuracy", "the student, relative to it"]
    print_table(console, "", columns, rows)
    console.print(f"report: {short(files.html)}", highlight=False, soft_wrap=True)


def _own_name(raw: Mapping[str, Any], what: str) -> str | None:
    """The experiment's name and what is done with it; None where it has none, which is an error."""
    known = raw.get("name")
    return f"{known}-{what}" if isinstance(known, str) else None


def _run(resolved: Any, comparison: Any, address: str | None, dry_run: bool, as_json: bool) -> None:
    from dfkd_tune.sweeps import run_sweep
    from reports import summarise_comparison, write_report

    console = make_console(as_json)
    if dry_run:
        rows = [[variant.name, variant.words] for variant in comparison.variants]
        if as_json:
            print_json(comparison.record())
        else:
            title = f"{len(comparison.trials)} distillations, {comparison.seeds} of each variant"
            print_table(console, title, ["variant", "what it is"], rows)
        return
    try:
        result = run_sweep(
            resolved,
            command=command_line(),
            console=console,
            address=address,
            comparison=comparison,
        )
    except KeyboardInterrupt:
        say_how_to_go_on(console)
        raise
    files = write_report([result.run.path])
    rows_of = summarise_comparison(result.run.path)
    if as_json:
        print_json({"variants": [row.as_json() for row in rows_of], "report": str(files.html)})
    else:
        print_table(
            console,
            "",
            ["variant", "seeds", "relative accuracy", "test accuracy", "seconds"],
            [
                [
                    row.variant,
                    f"{row.complete} of {row.seeds}",
                    row.relative.words(" %"),
                    row.test.words(" %"),
                    row.seconds.words(""),
                ]
                for row in rows_of
            ],
        )
        console.print(f"report: {short(files.html)}", highlight=False, soft_wrap=True)
    if result.unfinished or result.ending == "interrupted":
        say_how_to_go_on(console)
    if result.exit_code:
        raise typer.Exit(result.exit_code)
