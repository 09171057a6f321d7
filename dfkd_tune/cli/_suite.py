"""`suite`.

It imports what it needs when it is called, so that `--help` need not wait for PyTorch and Ray.
"""

from pathlib import Path
from typing import Annotated

import typer

from dfkd_tune.cli._options import Address
from dfkd_tune.cli._output import make_console, print_json
from dfkd_tune.errors import DfkdTuneError

AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document at the end")]


def suite(
    file: Annotated[Path, typer.Argument(help="suite file (YAML)", show_default=False)],
    storage: Annotated[Path | None, typer.Option(help="folder that holds all runs")] = None,
    address: Address = None,
    download: Annotated[bool, typer.Option(help="fetch the images first, where they are not")] = (
        False
    ),
    dry_run: Annotated[bool, typer.Option(help="check everything and list the sweeps only")] = (
        False
    ),
    as_json: AsJson = False,
) -> None:
    """Run the sweeps of several benchmarks, methods and students, and one report over all."""
    from dfkd_tune.benchmarks import BenchmarkConfig
    from dfkd_tune.cli._summary import print_summary
    from dfkd_tune.cli._target import fetch, section
    from dfkd_tune.sweeps import read_experiment_file, resolve_suite, run_suite
    from reports import summarise, write_report

    raw = read_experiment_file(file)
    if storage is not None:
        raw["storage"] = str(storage)
    console = make_console(as_json)
    if download:
        for benchmark in raw.get("benchmarks") or []:
            fetch(section(BenchmarkConfig, benchmark, "benchmarks"), console)
    resolved = resolve_suite(raw, str(file))
    console.print(
        f"{len(resolved.members)} sweeps in {resolved.folder}: "
        + ", ".join(member.name for member in resolved.members),
        highlight=False,
        soft_wrap=True,
    )
    if dry_run:
        return
    report_folder = resolved.folder / "report"

    def report() -> None:
        begun = resolved.begun()
        if begun:
            write_report(begun, report_folder)

    code = run_suite(resolved, console=console, address=address, written=report)
    begun = resolved.begun()
    if not begun:
        raise DfkdTuneError(f"no sweep of {file} could begin; see the lines above")
    files = write_report(begun, report_folder)
    summaries = [summarise(run) for run in begun]
    if as_json:
        print_json(
            {
                "report": str(files.html),
                "sweeps": {summary.name: summary.verdict for summary in summaries},
            }
        )
    else:
        for summary in summaries:
            console.print()
            console.print(summary.name, style="bold underline")
            print_summary(console, summary, most=3)
        console.print(f"report: {files.html}", highlight=False, soft_wrap=True)
    if code:
        console.print(f"to go on: dfkd-tune suite {file}", highlight=False, style="bold")
        raise typer.Exit(code)
