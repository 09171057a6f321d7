"""`report`, `status`, `list`, `show` and `doctor`.

A command imports what it needs when it is called: PyTorch, Ray and pandas take seconds to load,
for which `--help` and `status` should not wait.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from dfkd_tune.cli._output import make_console, print_json, print_table
from dfkd_tune.errors import UsageError, unknown_name

AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document")]
Kind = Literal["methods", "benchmarks", "generators", "students", "spaces", "samplers"]


def report(
    runs: Annotated[list[Path], typer.Argument(help="run folders", show_default=False)],
    output: Annotated[
        Path | None, typer.Option(help="folder to write to; needed for several runs")
    ] = None,
    figures: Annotated[
        Literal["svg", "png"] | None,
        typer.Option(help="write every figure as a file too; needs kaleido and a Chromium"),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="set sweeps of one benchmark side by side")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write the report of one or several runs: the page, and its numbers in other forms."""
    from reports import write_report

    files = write_report(runs, output, figures, compare=compare)
    if as_json:
        found = {"report": str(files.html), "summary": str(files.summary_json)}
        print_json({**found, "figures": [str(path) for path in files.figures]})
        return
    console = make_console()
    console.print(f"report: {files.html}", highlight=False, soft_wrap=True)
    if files.figures:
        console.print(
            f"{len(files.figures)} figures: {files.figures[0].parent}",
            highlight=False,
            soft_wrap=True,
        )


def status(
    run: Annotated[Path, typer.Argument(help="run folder", show_default=False)],
    follow: Annotated[
        bool, typer.Option("--follow", help="again and again, until the run has ended")
    ] = False,
    every: Annotated[float, typer.Option(min=0.1, help="seconds, with --follow")] = 5.0,
    as_json: AsJson = False,
) -> None:
    """Say how far a run is, also while it is running."""
    from dfkd_tune.cli._summary import follow_run, print_summary, summary_json
    from reports import summarise

    if follow:
        if as_json:
            raise UsageError("--follow is for people and --json for programs; give one of them")
        follow_run(make_console(), run, every)
        return
    summary = summarise(run)
    if as_json:
        print_json(summary_json(summary))
    else:
        print_summary(make_console(), summary)


def list_(
    kind: Annotated[Kind, typer.Argument(help="what to list", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """List what an experiment can name."""
    from dfkd_tune.cli._listing import listed

    rows = listed(kind)
    if as_json:
        print_json(rows)
        return
    headers = list(rows[0])
    print_table(make_console(), "", headers, [[str(row[key]) for key in headers] for row in rows])


def show(
    kind: Annotated[
        Literal["space", "schema"], typer.Argument(help="what to show", show_default=False)
    ],
    name: Annotated[str, typer.Argument(help="its name", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Show one thing in full: what a search space searches, or the JSON Schema of `summary`."""
    if kind == "schema":
        from reports import summary_schema

        if name != "summary":
            raise unknown_name("schema", name, ["summary"])
        print_json(summary_schema())
        return
    from dfkd_tune.cli._listing import SHOWN

    rows = SHOWN[kind](name)
    if as_json:
        print_json(rows)
        return
    headers = list(rows[0])
    cells = [[row[key] for key in headers] for row in rows]
    print_table(make_console(), "", headers, cells, whole_first=True)


def doctor(
    storage: Annotated[Path, typer.Option(help="folder that will hold the runs")] = Path("runs"),
    gpu_share: Annotated[
        Path | None,
        typer.Option(
            help="an experiment file: measure instead how many of its trials should share a GPU",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        Literal["cuda", "cpu"], typer.Option(help="to share, with --gpu-share")
    ] = "cuda",
    as_json: AsJson = False,
) -> None:
    """Check this machine: versions, hardware, storage, and whether Ray starts."""
    from dfkd_tune.cli._doctor import gpu_share_scan, machine_checks, scan_rows

    if gpu_share is not None:
        measured = gpu_share_scan(gpu_share, device, make_console(as_json))
        if as_json:
            print_json(measured.model_dump(mode="json"))
            return
        counts, students = scan_rows(measured)
        headers = ["trials at once", "student steps/s", "of one", ""]
        print_table(make_console(), measured.device, headers, counts)
        print_table(make_console(), "", ["student", "memory", "share"], students)
        return
    checks = machine_checks(storage)
    if as_json:
        print_json(checks)
    else:
        rows = [["ok" if c["ok"] else "PROBLEM", c["check"], c["found"]] for c in checks]
        print_table(make_console(), "", ["", "check", "found"], rows)
    if not all(c["ok"] for c in checks):
        raise typer.Exit(1)
