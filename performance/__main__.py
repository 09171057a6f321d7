"""`python -m performance`: measure, print a table, write JSON."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from dfkd_tune.sweeps import environment, usable_cpus
from performance.cases import PAIRS, PLAIN, RECIPES, WAYS
from performance.measure import Way, matrix_rate, measure_case


def bench(
    pairs: Annotated[str, typer.Option(help="names, with commas")] = ",".join(list(PAIRS)[1:]),
    recipes: Annotated[str, typer.Option(help="names, with commas")] = ",".join(RECIPES),
    ways: Annotated[str, typer.Option(help="names, with commas")] = ",".join(WAYS),
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    epochs: Annotated[int, typer.Option(min=2, help="of a block; the first warms up")] = 3,
    iterations: Annotated[int, typer.Option(min=1, help="of an epoch")] = 4,
    threads: Annotated[int | None, typer.Option(min=1, help="all cores by default")] = None,
    output: Annotated[Path, typer.Option(help="JSON file")] = Path("performance.json"),
) -> None:
    """Measure the data-free loop beside a plain one."""
    console = Console()
    chosen = {
        "pairs": (pairs.split(","), PAIRS),
        "recipes": (recipes.split(","), RECIPES),
        "ways": (ways.split(","), WAYS),
    }
    for option, (names, known) in chosen.items():
        unknown = [name for name in names if name not in known]
        if unknown:
            raise typer.BadParameter(f"--{option}: no {unknown[0]!r}; there are {', '.join(known)}")
    used = threads or usable_cpus()
    names = [PLAIN, *(way for way in chosen["ways"][0] if way != PLAIN)]
    rates = {
        "float32": matrix_rate(torch.float32, used),
        "bfloat16": matrix_rate(torch.bfloat16, used),
    }
    found = []
    for pair in chosen["pairs"][0]:
        for recipe in chosen["recipes"][0]:
            with console.status("") as status:
                measured = measure_case(
                    pair,
                    recipe,
                    names,
                    rounds=rounds,
                    epochs=epochs,
                    iterations=iterations,
                    threads=used,
                    rates=rates,
                    progress=status.update,
                )
            console.print(_table(f"{pair}, {recipe}", measured))
            found.append(
                {"pair": pair, "recipe": recipe, "ways": [asdict(way) for way in measured]}
            )
            # After each case: a bench that is ended leaves what it measured.
            document = {
                "environment": environment(),
                "threads": used,
                "iterations_of_an_epoch": iterations,
                "matrix_operations_per_second": rates,
                "cases": found,
            }
            output.write_text(json.dumps(document, indent=2) + "\n")
    console.print(f"written to {output}")


def _table(title: str, ways: list[Way]) -> Table:
    table = Table(title=title)
    table.add_column("way")
    for column in (
        "student steps/s",
        "x plain",
        "by CPU",
        "images/s",
        "synthesis",
        "peak MiB",
        "of matrix rate",
        "losses differ by",
    ):
        table.add_column(column, justify="right")
    for way in ways:
        apart = "-" if way.loss_difference is None else f"{way.loss_difference:.1e}"
        table.add_row(
            way.name,
            f"{way.steps_per_second:.3g}",
            f"{way.speed:.2f}",
            f"{way.cpu_speed:.2f}",
            f"{way.images_per_second:.3g}",
            f"{100 * way.synthesis_share:.0f} %",
            f"{way.peak_memory_mib:.0f}",
            f"{100 * way.arithmetic_share:.0f} %",
            apart,
        )
    return table


if __name__ == "__main__":
    typer.run(bench)
