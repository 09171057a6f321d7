"""`python -m performance.batches`: how many images at a time are classified fastest."""

from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from dfkd_tune.classifiers import NetworkConfig, build_classifier, lay_out
from dfkd_tune.evaluation import predict_stored
from dfkd_tune.sweeps import usable_cpus
from performance.cases import square_inputs
from performance.options import Threads
from performance.turns import in_turns, write_cases

NETWORKS = (
    "wrn16_1:32:512,wrn40_2:32:512,resnet18:32:512,resnet34:32:512,"
    "resnet18_imagenet:64:256,resnet18_imagenet:224:64"
)
CPU = torch.device("cpu")
SIZES = (4, 8, 16, 32, 64, 128, 256, 512)


def measure_batches(architecture: str, size: int, count: int, turns: int) -> dict[int, float]:
    """Time the classification of images by how many there are at a time, in turns.

    Args:
        architecture: of the network, at width 1.
        size: height and width of an image.
        count: images.
        turns: how often each is timed.

    Returns:
        By images at a time, the median of milliseconds for all of them.
    """
    inputs = square_inputs(size)
    network = lay_out(build_classifier(NetworkConfig(architecture=architecture), inputs, seed=0))
    images = torch.randint(0, 256, (count, *inputs.shape), dtype=torch.uint8)
    works = {
        each: partial(predict_stored, network, images, inputs, batch_size=each)
        for each in SIZES
        if each <= count
    }
    return in_turns(works, turns, CPU)


def main(
    networks: Annotated[
        str, typer.Option(help="ARCHITECTURE:PIXELS:IMAGES, with commas")
    ] = NETWORKS,
    turns: Annotated[int, typer.Option(min=1)] = 3,
    threads: Threads = None,
    output: Annotated[Path | None, typer.Option(help="JSON file")] = None,
) -> None:
    """Show how long the classification of images takes, by how many there are at a time."""
    used = threads or usable_cpus()
    torch.set_num_threads(used)
    table = Table("network", "pixels", "images", *map(str, SIZES), title="milliseconds")
    found = []
    for text in networks.split(","):
        architecture, size, count = text.split(":")
        times = measure_batches(architecture, int(size), int(count), turns)
        table.add_row(architecture, size, count, *(f"{each:.0f}" for each in times.values()))
        case = {"network": architecture, "size": int(size), "images": int(count)}
        found.append({**case, "milliseconds": times})
    Console().print(table)
    write_cases(output, found, turns=turns, threads=used, device=CPU)


if __name__ == "__main__":
    typer.run(main)
