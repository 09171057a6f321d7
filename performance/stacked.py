"""`python -m performance.stacked`: students of a cohort one after another, and stacked as one."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from dfkd_tune.classifiers import NetworkConfig, build_classifier, lay_out
from dfkd_tune.sweeps import usable_cpus
from performance.cases import square_inputs
from performance.options import Device, Threads, chosen_device
from performance.turns import in_turns, write_cases

NETWORKS = "wrn16_1:32:64,resnet8:32:64"
RATE = 0.01


def distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Kullback-Leibler divergence of logits `(N, K)`."""
    return nn.functional.kl_div(
        student.log_softmax(1), teacher.log_softmax(1), reduction="batchmean", log_target=True
    )


@dataclass(frozen=True)
class Students:
    """Students that are trained together.

    Args:
        step: trains all of them for a step.
        weights: gives those of each, as they are.
    """

    step: Callable[[], None]
    weights: Callable[[], list[dict[str, Tensor]]]


def one_by_one(networks: list[nn.Module], images: Tensor, teacher: Tensor) -> Students:
    """Students that are trained in turn, each as this project does."""
    students = [lay_out(copy.deepcopy(network).train()) for network in networks]
    optimisers = [torch.optim.SGD(each.parameters(), lr=RATE, fused=True) for each in students]
    batch = images.contiguous(memory_format=torch.channels_last)

    def step() -> None:
        for student, optimiser in zip(students, optimisers, strict=True):
            optimiser.zero_grad(set_to_none=True)
            distance(student(batch), teacher).backward()  # type: ignore[no-untyped-call]
            optimiser.step()

    return Students(step, lambda: [dict(each.named_parameters()) for each in students])


def stacked(networks: list[nn.Module], images: Tensor, teacher: Tensor) -> Students:
    """Students whose weights lie in one tensor per layer, mapped over by `vmap`."""
    students = [copy.deepcopy(network).train() for network in networks]
    parameters, buffers = stack_module_state(students)
    base = copy.deepcopy(students[0]).to("meta")

    def loss(own: dict[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        return distance(functional_call(base, (own, state), (images,)), teacher)

    gradients = vmap(grad(loss))

    def step() -> None:
        made = gradients(parameters, buffers)
        with torch.no_grad():
            torch._foreach_add_(list(parameters.values()), list(made.values()), alpha=-RATE)

    def weights() -> list[dict[str, Tensor]]:
        return [
            {name: value[index] for name, value in parameters.items()}
            for index in range(len(students))
        ]

    return Students(step, weights)


def measure(
    architecture: str, size: int, batch_size: int, count: int, turns: int, device: torch.device
) -> dict[str, float]:
    """Time a step of several students, both ways in turns.

    Args:
        architecture: of the students, at width 1.
        size: height and width of an image.
        batch_size: images in a step.
        count: of students.
        turns: how often each way is timed.
        device: where to compute.

    Returns:
        Median milliseconds of a step of all students, by way.
    """
    inputs = square_inputs(size)
    config = NetworkConfig(architecture=architecture)
    networks = [build_classifier(config, inputs, seed).to(device) for seed in range(count)]
    images = torch.randn(batch_size, *inputs.shape, device=device)
    teacher = torch.randn(batch_size, inputs.num_classes, device=device)
    ways = {
        "one by one": one_by_one(networks, images, teacher),
        "stacked": stacked(networks, images, teacher),
    }
    return in_turns({name: each.step for name, each in ways.items()}, turns, device)


def main(
    networks: Annotated[
        str, typer.Option(help="ARCHITECTURE:PIXELS:BATCH, with commas")
    ] = NETWORKS,
    counts: Annotated[str, typer.Option(help="of students, with commas")] = "2,4,8",
    turns: Annotated[int, typer.Option(min=1)] = 5,
    threads: Threads = None,
    device: Device = "auto",
    output: Annotated[Path | None, typer.Option(help="JSON file")] = None,
) -> None:
    """Show whether students of one shape train faster one after another or stacked."""
    used, where = threads or usable_cpus(), chosen_device(device)
    torch.set_num_threads(used)
    table = Table(
        title=f"milliseconds of a step of all students, {where.type}", box=box.SIMPLE_HEAD
    )
    for column in ("student", "pixels", "batch", "students", "one by one", "stacked"):
        table.add_column(column, justify="right")
    found = []
    for text in networks.split(","):
        architecture, size, batch = text.split(":")
        for count in (int(each) for each in counts.split(",")):
            times = measure(architecture, int(size), int(batch), count, turns, where)
            cells = [f"{times[name]:.0f}" for name in ("one by one", "stacked")]
            table.add_row(architecture, size, batch, str(count), *cells)
            case = {"network": architecture, "size": int(size), "batch_size": int(batch)}
            found.append({**case, "students": count, "milliseconds": times})
    Console().print(table)
    write_cases(output, found, turns=turns, threads=used, device=where)


if __name__ == "__main__":
    typer.run(main)
