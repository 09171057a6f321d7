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

from dfkd_tune.distillation import Progress, distil
from dfkd_tune.sweeps import environment
from performance.cases import PAIRS, PLAIN, RECIPES, Case, ways_on
from performance.options import Device, Threads, chosen_case, names
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


def _profiled(case: Case, way: str) -> dict[str, float]:
    """Seconds of the second epoch by kind; they add up to what PyTorch computed in."""
    config, teacher, inputs = case.configuration(way), case.teacher(), case.pair.inputs
    on_gpu = case.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    profiler = profile(activities=activities)
    if way == PLAIN:
        with tempfile.TemporaryDirectory() as folder:
            loop = PlainLoop(config, teacher, inputs, Path(folder), case.device)
            loop.epoch()
            with profiler:
                loop.epoch()
    else:

        def report(progress: Progress) -> None:
            if progress.epoch == 1:
                profiler.start()
            else:
                profiler.stop()

        distil(config, teacher, inputs, device=case.device, report=report)
    seconds: dict[str, float] = defaultdict(float)
    for event in profiler.key_averages():
        # Of a GPU's kernels the operation that started them has the time; they are listed as well.
        if event.device_type.name == "CPU":
            taken = event.self_device_time_total if on_gpu else event.self_cpu_time_total
            seconds[kind_of(event.key)] += taken / 1e6
    return dict(seconds)


def main(
    pair: Annotated[str, typer.Option(help=", ".join(PAIRS))] = "wrn-32",
    recipe: Annotated[str, typer.Option(help=", ".join(RECIPES))] = "dfq",
    ways: Annotated[str, typer.Option(help="names, with commas")] = "plain,default,bfloat16",
    iterations: Annotated[int, typer.Option(min=1, help="of an epoch")] = 4,
    threads: Threads = None,
    device: Device = "auto",
    output: Annotated[Path | None, typer.Option(help="JSON file")] = None,
) -> None:
    """Show by kind of operation where the time of an epoch goes, before and after."""
    case = chosen_case(
        pair, recipe, epochs=2, iterations=iterations, threads=threads, device=device
    )
    chosen = names("--ways", ways, ways_on(case.device))
    torch.set_num_threads(case.threads)
    found = {way: _profiled(case, way) for way in chosen}
    kinds = sorted(
        {k for each in found.values() for k in each}, key=lambda k: -found[chosen[0]].get(k, 0)
    )
    table = Table(title=f"{pair}, {recipe}: milliseconds of an epoch")
    table.add_column("operations")
    for way in chosen:
        table.add_column(way, justify="right")
    for kind in kinds:
        table.add_row(kind, *(f"{1000 * found[way].get(kind, 0):.0f}" for way in chosen))
    table.add_row("all", *(f"{1000 * sum(found[way].values()):.0f}" for way in chosen))
    Console().print(table)
    if output is not None:
        document = {
            "environment": environment(),
            "device": case.device.type,
            "iterations_of_an_epoch": iterations,
            "seconds": found,
        }
        output.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
