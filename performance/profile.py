"""`python -m performance.profile`: where an epoch's time goes, by kind of operation."""

import json
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from dfkd_tune.classifiers import NetworkConfig, build_classifier
from dfkd_tune.distillation import Progress, distil
from dfkd_tune.sweeps import environment, usable_cpus
from performance.cases import PAIRS, PLAIN, RECIPES, WAYS, configuration
from performance.reference import PlainLoop

KINDS = (
    (
        "convolutions, forward",
        # Transposed ones on a CPU are the last.
        ("aten::mkldnn_convolution", "aten::cudnn_convolution", "aten::_convolution"),
    ),
    ("convolutions, backward", ("convolution_backward", "mkldnn_convolution_backward")),
    ("BatchNorm", ("batch_norm",)),
    (
        "statistics of batches",
        ("var_mean", "aten::var", "aten::mean", "aten::std", "_ChannelsLast"),
    ),
    ("matrix products", ("addmm", "aten::mm", "bmm")),
    ("copies and layouts", ("copy_", "clone", "contiguous", "cat", "roll", "flip", "index")),
    ("fetching numbers", ("_local_scalar_dense", "aten::item")),
)
"""Kinds of operations by parts of their names; the first that fits counts."""


def kind_of(operation: str) -> str:
    """The kind of an operation."""
    for kind, parts in KINDS:
        if any(part in operation for part in parts):
            return kind
    return "element by element, and others"


def _profiled(pair: str, recipe: str, way: str, iterations: int) -> dict[str, float]:
    """Seconds of the second epoch by kind; they add up to what PyTorch computed in."""
    case = PAIRS[pair]
    config = configuration(case, recipe, way, 2, iterations)
    teacher = build_classifier(NetworkConfig(architecture=case.teacher, width=1.0), case.inputs, 1)
    profiler = profile(activities=[ProfilerActivity.CPU])
    if way == PLAIN:
        with tempfile.TemporaryDirectory() as folder:
            loop = PlainLoop(config, teacher, case.inputs, Path(folder))
            loop.epoch()
            with profiler:
                loop.epoch()
    else:

        def report(progress: Progress) -> None:
            if progress.epoch == 1:
                profiler.start()
            else:
                profiler.stop()

        distil(config, teacher, case.inputs, report=report)
    seconds: dict[str, float] = defaultdict(float)
    for event in profiler.key_averages():
        seconds[kind_of(event.key)] += event.self_cpu_time_total / 1e6
    return dict(seconds)


def main(
    pair: Annotated[str, typer.Option(help=", ".join(PAIRS))] = "wrn-32",
    recipe: Annotated[str, typer.Option(help=", ".join(RECIPES))] = "dfq",
    ways: Annotated[str, typer.Option(help="names, with commas")] = "plain,default,bfloat16",
    iterations: Annotated[int, typer.Option(min=1, help="of an epoch")] = 4,
    threads: Annotated[int | None, typer.Option(min=1, help="all cores by default")] = None,
    output: Annotated[Path | None, typer.Option(help="JSON file")] = None,
) -> None:
    """Show by kind of operation where the time of an epoch goes, before and after."""
    for name, known in ((pair, PAIRS), (recipe, RECIPES)):
        if name not in known:
            raise typer.BadParameter(f"no {name!r}; there are {', '.join(known)}")
    names = ways.split(",")
    for way in names:
        if way not in WAYS:
            raise typer.BadParameter(f"--ways: no {way!r}; there are {', '.join(WAYS)}")
    torch.set_num_threads(threads or usable_cpus())
    found = {way: _profiled(pair, recipe, way, iterations) for way in names}
    kinds = sorted(
        {k for each in found.values() for k in each}, key=lambda k: -found[names[0]].get(k, 0)
    )
    table = Table(title=f"{pair}, {recipe}: milliseconds of an epoch")
    table.add_column("operations")
    for way in names:
        table.add_column(way, justify="right")
    for kind in kinds:
        table.add_row(kind, *(f"{1000 * found[way].get(kind, 0):.0f}" for way in names))
    table.add_row("all", *(f"{1000 * sum(found[way].values()):.0f}" for way in names))
    Console().print(table)
    if output is not None:
        document = {
            "environment": environment(),
            "iterations_of_an_epoch": iterations,
            "seconds": found,
        }
        output.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
