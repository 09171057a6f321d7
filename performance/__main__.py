"""`python -m performance`: measure, print a table, write JSON."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from dfkd_tune.sweeps import environment
from performance.cases import PAIRS, PLAIN, RECIPES, ways_on
from performance.device import matrix_rate
from performance.measure import Way, measure_case
from performance.options import BatchSize, Device, Threads, chosen_case, names

CAPTION = (
    "x: times the plain loop, by the clock and by CPU; synth.: share of synthesis; rate: share of "
    "that of matrix products; losses: difference to the plain loop's in the first iteration"
)


def bench(
    pairs: Annotated[str, typer.Option(help="names, with commas")] = ",".join(list(PAIRS)[1:]),
    recipes: Annotated[str, typer.Option(help="names, with commas")] = ",".join(RECIPES),
    ways: Annotated[str | None, typer.Option(help="names, with commas; all by default")] = None,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    epochs: Annotated[int, typer.Option(min=2, help="of a block; the first warms up")] = 3,
    iterations: Annotated[int, typer.Option(min=1, help="of an epoch")] = 4,
    batch_size: BatchSize = None,
    threads: Threads = None,
    device: Device = "auto",
    output: Annotated[Path, typer.Option(help="JSON file")] = Path("performance.json"),
) -> None:
    """Measure the data-free loop beside a plain one."""
    console = Console()
    cases = [
        chosen_case(
            pair,
            recipe,
            epochs=epochs,
            iterations=iterations,
            batch_size=batch_size,
            threads=threads,
            device=device,
        )
        for pair in names("--pairs", pairs, PAIRS)
        for recipe in names("--recipes", recipes, RECIPES)
    ]
    where, used = cases[0].device, cases[0].threads
    possible = ways_on(where)
    chosen = names("--ways", ways, possible) if ways is not None else possible
    chosen = [PLAIN, *(way for way in chosen if way != PLAIN)]
    rates = {
        "float32": matrix_rate(torch.float32, where, used),
        "bfloat16": matrix_rate(torch.bfloat16, where, used),
    }
    found = []
    for case in cases:
        with console.status("") as status:
            measured = measure_case(
                case, chosen, rounds=rounds, rates=rates, progress=status.update
            )
        console.print(_table(f"{case.pair.name}, {case.recipe}, {where.type}", measured))
        found.append(
            {
                "pair": case.pair.name,
                "recipe": case.recipe,
                "batch_size": case.pair.batch_size,
                "ways": [asdict(way) for way in measured],
            }
        )
        # After each case: a bench that is ended leaves what it measured.
        document = {
            "environment": environment(),
            "device": where.type,
            "threads": used,
            "iterations_of_an_epoch": iterations,
            "matrix_operations_per_second": rates,
            "cases": found,
        }
        output.write_text(json.dumps(document, indent=2) + "\n")
    console.print(f"written to {output}")


def _table(title: str, ways: list[Way]) -> Table:
    table = Table(
        title=title, caption=CAPTION, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )
    table.add_column("way", overflow="fold")
    for column in ("steps/s", "x", "x CPU", "images/s", "synth.", "MiB", "rate", "losses"):
        table.add_column(column, justify="right", no_wrap=True)
    for way in ways:
        apart = "-" if way.loss_difference is None else f"{way.loss_difference:.1e}"
        table.add_row(
            way.name,
            f"{way.steps_per_second:.3g}",
            f"{way.speed:.2f}",
            f"{way.cpu_speed:.2f}",
            f"{way.images_per_second:,.0f}",
            f"{100 * way.synthesis_share:.0f} %",
            f"{way.peak_memory_mib:,.0f}",
            f"{100 * way.arithmetic_share:.0f} %",
            apart,
        )
    return table


if __name__ == "__main__":
    typer.run(bench)
