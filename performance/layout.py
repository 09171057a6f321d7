"""`python -m performance.layout`: networks that lie channels first, last, and as they do here."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import nn

from dfkd_tune.classifiers import (
    NetworkConfig,
    UsedPrecision,
    arranged_for_wide,
    build_classifier,
    computing_in,
    lay_out,
)
from dfkd_tune.sweeps import usable_cpus
from performance.cases import square_inputs
from performance.options import Threads
from performance.turns import in_turns, write_cases

NETWORKS = (
    "convnet:32:64,resnet8x4:32:32,resnet32x4:32:32,wrn16_1:32:64,wrn40_2:32:64,"
    "mobilenet_v2:32:32,shufflenet_v2:32:32,vgg11:32:32,resnet18:32:16,resnet34:32:16,"
    "resnet34_imagenet:64:16,resnet50_imagenet:64:16"
)
TAKEN = "taken"
LAYOUTS = {
    "first": torch.contiguous_format,
    "last": torch.channels_last,
    # By this project, which lays each convolution out by a rule.
    TAKEN: torch.channels_last,
}
CPU = torch.device("cpu")


def measure_layouts(
    architecture: str, size: int, batch_size: int, precision: UsedPrecision, turns: int
) -> dict[str, dict[str, float]]:
    """Time the passes of a network in all layouts, in turns.

    Args:
        architecture: of the network, at width 1.
        size: height and width of an image.
        batch_size: images in a pass.
        precision: in which it computes.
        turns: how often each is timed.

    Returns:
        By layout, the medians of milliseconds: `classify` without gradient, `train` with it.
    """
    inputs = square_inputs(size)
    made = build_classifier(NetworkConfig(architecture=architecture), inputs, 0)
    images = torch.randn(batch_size, *inputs.shape)
    passes: dict[tuple[str, str], Callable[[], None]] = {}
    for name, layout in LAYOUTS.items():
        network = copy.deepcopy(made).to(memory_format=layout)
        if name == TAKEN:
            lay_out(network)
        batch = images.contiguous(memory_format=layout)
        passes[name, "classify"] = _classifying(network, batch, precision)
        passes[name, "train"] = _training(network, batch, precision)
    taken = in_turns(passes, turns, CPU)
    return {name: {kind: taken[name, kind] for kind in ("classify", "train")} for name in LAYOUTS}


def _classifying(
    network: nn.Module, images: torch.Tensor, precision: UsedPrecision
) -> Callable[[], None]:
    def run() -> None:
        network.eval()
        with torch.no_grad(), arranged_for_wide(network), computing_in(precision, CPU):
            network(images)

    return run


def _training(
    network: nn.Module, images: torch.Tensor, precision: UsedPrecision
) -> Callable[[], None]:
    def run() -> None:
        network.train()
        with arranged_for_wide(network), computing_in(precision, CPU):
            logits = network(images)
        logits.float().square().mean().backward()

    return run


def main(
    networks: Annotated[
        str, typer.Option(help="ARCHITECTURE:PIXELS:BATCH, with commas")
    ] = NETWORKS,
    turns: Annotated[int, typer.Option(min=1)] = 7,
    threads: Threads = None,
    output: Annotated[Path | None, typer.Option(help="JSON file")] = None,
) -> None:
    """Show which layout is faster for each network, beside the one that the project takes."""
    used = threads or usable_cpus()
    torch.set_num_threads(used)
    table = Table("network", "pixels", "batch", "precision", "pass", *LAYOUTS)
    found = []
    for text in networks.split(","):
        architecture, size, batch = text.split(":")
        precisions: tuple[UsedPrecision, ...] = ("float32", "bfloat16")
        for precision in precisions:
            times = measure_layouts(architecture, int(size), int(batch), precision, turns)
            for kind in ("classify", "train"):
                cells = [f"{times[name][kind]:.0f} ms" for name in LAYOUTS]
                table.add_row(architecture, size, batch, precision, kind, *cells)
            found.append(
                {
                    "network": architecture,
                    "size": int(size),
                    "batch_size": int(batch),
                    "precision": precision,
                    "milliseconds": times,
                }
            )
    Console().print(table)
    write_cases(output, found, turns=turns, threads=used, device=CPU)


if __name__ == "__main__":
    typer.run(main)
