"""`python -m performance.tiles`: convolutions of a frozen network as ever, and by tiles."""

from pathlib import Path
from typing import Annotated

import torch
import typer
from rich import box
from rich.console import Console
from rich.table import Table
from torch import nn

from dfkd_tune.classifiers import (
    WinogradConvolution,
    arranged_for_wide,
    is_winograd_faster,
    lay_out,
)
from dfkd_tune.sweeps import usable_cpus
from performance.options import Threads
from performance.turns import in_turns, write_cases

CPU = torch.device("cpu")
CONVOLUTIONS = "64:32:16,128:16:16,256:8:16,512:4:16,256:8:64,512:4:64,256:16:16,512:8:16"


def measure_tiles(channels: int, size: int, batch_size: int, turns: int) -> dict[str, float]:
    """Time a 3x3 convolution both ways, in turns, without gradient.

    Args:
        channels: in and out.
        size: height and width of the map.
        batch_size: maps.
        turns: how often each is timed.

    Returns:
        Median milliseconds, `as ever` and `by tiles`.
    """
    layer = lay_out(nn.Conv2d(channels, channels, 3, padding=1)).requires_grad_(False)
    by_tiles = WinogradConvolution(layer)
    maps = torch.randn(batch_size, channels, size, size)
    maps = maps.contiguous(memory_format=torch.channels_last)
    with torch.no_grad(), arranged_for_wide(layer):
        works = {"as ever": lambda: layer(maps), "by tiles": lambda: by_tiles(maps)}
        return in_turns(works, turns, CPU)


def main(
    convolutions: Annotated[
        str, typer.Option(help="CHANNELS:PIXELS:BATCH, with commas")
    ] = CONVOLUTIONS,
    turns: Annotated[int, typer.Option(min=1)] = 20,
    threads: Threads = None,
    output: Annotated[Path | None, typer.Option(help="JSON file")] = None,
) -> None:
    """Show from how many channels tiles pay, and from how many they are taken."""
    used = threads or usable_cpus()
    torch.set_num_threads(used)
    table = Table(title="milliseconds of a 3x3 convolution", box=box.SIMPLE_HEAD)
    for column in ("channels", "pixels", "batch", "as ever", "by tiles", "taken"):
        table.add_column(column, justify="right")
    found = []
    for text in convolutions.split(","):
        channels, size, batch = (int(each) for each in text.split(":"))
        times = measure_tiles(channels, size, batch, turns)
        taken = is_winograd_faster(nn.Conv2d(channels, channels, 3, padding=1))
        cells = [f"{times[name]:.2f}" for name in ("as ever", "by tiles")]
        table.add_row(*map(str, (channels, size, batch)), *cells, "tiles" if taken else "as ever")
        case = {"channels": channels, "size": size, "batch_size": batch}
        found.append({**case, "milliseconds": times})
    Console().print(table)
    write_cases(output, found, turns=turns, threads=used, device=CPU)


if __name__ == "__main__":
    typer.run(main)
