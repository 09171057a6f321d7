"""What the options of the benches have in common."""

from collections.abc import Collection
from dataclasses import replace
from typing import Annotated

import torch
import typer

from dfkd_tune.sweeps import usable_cpus
from performance.cases import PAIRS, RECIPES, Case

BatchSize = Annotated[int | None, typer.Option(min=2, help="the pair's own by default")]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto: a GPU if there is one")]
Threads = Annotated[int | None, typer.Option(min=1, help="all cores by default")]


def names(option: str, text: str, known: Collection[str]) -> list[str]:
    """Names that an option gives, with commas.

    Raises:
        typer.BadParameter: if one is not known.
    """
    given = text.split(",")
    for name in given:
        if name not in known:
            raise typer.BadParameter(f"{option}: no {name!r}; there are {', '.join(known)}")
    return given


def chosen_device(name: str) -> torch.device:
    """The device of a name as an option has it.

    Raises:
        typer.BadParameter: if there is none.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise typer.BadParameter(f"--device: no {name!r}; there are auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise typer.BadParameter("--device: there is no CUDA GPU here; use cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def chosen_case(
    pair: str,
    recipe: str,
    *,
    epochs: int,
    iterations: int,
    batch_size: int | None = None,
    threads: int | None = None,
    device: str = "auto",
) -> Case:
    """The case of what options say.

    Args:
        pair: name of one.
        recipe: name of a method.
        epochs: of a block.
        iterations: of an epoch.
        batch_size: the pair's own where None.
        threads: all cores where None.
        device: as `chosen_device` takes it.

    Raises:
        typer.BadParameter: if there is no such pair, recipe or device.
    """
    names("--pair", pair, PAIRS)
    names("--recipe", recipe, RECIPES)
    known = PAIRS[pair]
    return Case(
        pair=replace(known, batch_size=batch_size or known.batch_size),
        recipe=recipe,
        epochs=epochs,
        iterations=iterations,
        device=chosen_device(device),
        threads=threads or usable_cpus(),
    )
