"""`report`, `status`, `list` and `doctor`."""

import platform
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer

from dfkd_tune.benchmarks import BENCHMARKS
from dfkd_tune.classifiers import CLASSIFIERS, NetworkConfig, build_classifier
from dfkd_tune.cli._output import make_console, print_json, print_summary, print_table, summary_json
from dfkd_tune.distillation import CONDITIONINGS, GENERATORS, METHODS
from dfkd_tune.errors import DfkdTuneError, StorageError
from dfkd_tune.inputs import InputSpecification
from dfkd_tune.sweeps import check_writable, environment, package_version, ray_cluster, usable_cpus
from reports import summarise, write_report
from search_spaces import SPACES, students_for
from trainables import student_size

AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document")]
Kind = Literal["methods", "benchmarks", "generators", "students", "spaces"]


def report(
    runs: Annotated[list[Path], typer.Argument(help="run folders", show_default=False)],
    output: Annotated[
        Path | None, typer.Option(help="folder to write to; needed for several runs")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the HTML report, CSV and JSON of one or several runs."""
    files = write_report(runs, output)
    if as_json:
        print_json({"report": str(files.html), "summary": str(files.summary_json)})
    else:
        make_console().print(f"report: {files.html}", highlight=False, soft_wrap=True)


def status(
    run: Annotated[Path, typer.Argument(help="run folder", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Say how far a run is, also while it is running."""
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
    rows = _rows(kind)
    if as_json:
        print_json(rows)
        return
    headers = list(rows[0])
    print_table(make_console(), "", headers, [[str(row[key]) for key in headers] for row in rows])


def _rows(kind: Kind) -> list[dict[str, Any]]:
    if kind == "methods":
        return [
            {"method": m.name, "title": m.title, "source": m.source, "space": m.space}
            for m in METHODS.values()
        ]
    if kind == "benchmarks":
        return [
            {
                "benchmark": b.name,
                "title": b.title,
                "input": f"{b.channels} x {b.size} x {b.size}",
                "classes": b.num_classes,
                "teacher": str(b.teacher),
                "student": str(b.student),
                "folder holds": b.layout,
                "source": b.source,
            }
            for b in BENCHMARKS.values()
        ]
    if kind == "generators":
        generators = [
            {"generator": name, "is": "architecture", "what": what}
            for name, what in GENERATORS.items()
        ]
        return generators + [
            {"generator": name, "is": "conditioning", "what": what}
            for name, what in CONDITIONINGS.items()
        ]
    if kind == "students":
        return [_student_row(name) for name in CLASSIFIERS]
    return [
        {
            "space": space.name,
            "searches": dimension.key,
            "range": dimension.range_text(),
            "only where": str(dimension.condition or ""),
            "source": dimension.source,
        }
        for space in SPACES.values()
        for dimension in space.dimensions
    ]


# The input at which each network is listed: what it is made for.
_LISTED = {"": (3, 32), "_imagenet": (3, 224)}
_TINY = (1, 8)


def _student_row(name: str) -> dict[str, Any]:
    """A network and what it costs, on images of the kind that it is made for."""
    channels, size = _LISTED["_imagenet" if name.endswith("_imagenet") else ""]
    if name in students_for(_square(*_TINY)):
        channels, size = _TINY
    inputs = _square(channels, size)
    row: dict[str, Any] = {"student": name, "on": f"{channels} x {size} x {size}"}
    # Without memory for weights: only the sizes are asked for.
    with torch.device("meta"):
        for width in (0.25, 0.5, 1.0, 2.0):
            config = NetworkConfig(architecture=name, width=width)
            network = build_classifier(config, inputs, seed=0)
            count = sum(p.numel() for p in network.parameters())
            row[f"parameters x {width:g}"] = f"{count:,}"
        macs = student_size(NetworkConfig(architecture=name), inputs).macs
    return {**row, "MACs x 1": f"{macs:,}"}


def _square(channels: int, size: int) -> InputSpecification:
    return InputSpecification(
        channels=channels,
        height=size,
        width=size,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        num_classes=10,
    )


def doctor(
    storage: Annotated[Path, typer.Option(help="folder that will hold the runs")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Check this machine: versions, hardware, storage, and whether Ray starts."""
    checks: list[dict[str, Any]] = []

    def check(name: str, good: bool, found: str) -> None:
        checks.append({"check": name, "ok": good, "found": found})

    found = environment()
    hardware = found["hardware"]
    check("python", sys.version_info >= (3, 11), platform.python_version())
    for name in ("torch", "torchvision", "ray", "optuna", "pandas", "plotly"):
        version = package_version(name)
        check(name, version != "not installed", version)
    check("cpu", True, f"{hardware['cpu']}, {usable_cpus()} cores usable")
    check("memory", hardware["memory_gib"] >= 4, f"{hardware['memory_gib']} GiB")
    gpus = hardware["gpus"]
    check("gpu", True, ", ".join(gpus) if gpus else "none; trials run on the CPU")
    check("storage", *_storage(storage))
    check("ray", *_ray())
    if as_json:
        print_json(checks)
    else:
        rows = [["ok" if c["ok"] else "PROBLEM", c["check"], c["found"]] for c in checks]
        print_table(make_console(), "", ["", "check", "found"], rows)
    if not all(c["ok"] for c in checks):
        raise typer.Exit(1)


def _storage(storage: Path) -> tuple[bool, str]:
    existed = storage.exists()
    try:
        check_writable(storage)
    except StorageError as error:
        return False, str(error)
    free = shutil.disk_usage(storage).free / 2**30
    if not existed:
        storage.rmdir()
    return free >= 1, f"{storage.absolute()} is writable, {free:.0f} GiB free"


def _ray() -> tuple[bool, str]:
    try:
        with ray_cluster(None, usable_cpus()) as resources:
            return True, f"a local cluster starts, with {resources.get('CPU', 0):g} CPUs"
    except DfkdTuneError as error:
        return False, str(error)
