"""`python -m performance.many`: many trials on one device, side by side and as a cohort."""

import json
import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median
from threading import BrokenBarrierError
from typing import Annotated

import torch
import typer
from rich import box
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from dfkd_tune.distillation import (
    DistillationConfig,
    Progress,
    distil_together,
    get_method,
    shared_part,
)
from dfkd_tune.sweeps import environment
from performance.cases import PAIRS, PLAIN, RECIPES, Case, ways_on
from performance.device import matrix_rate, peak_memory_mib, wait_for
from performance.options import BatchSize, Device, Threads, chosen_case, names

PATIENCE = 900.0
"""Seconds in which all trials must have warmed up."""


@dataclass(frozen=True, kw_only=True)
class Many:
    """What several trials at once came to.

    Args:
        count: of trials.
        processes: among which they are shared out. Those of a process are a cohort: one teacher's
            pass serves all of them.
        seconds: in which all trained their epochs after the first, by turn; none where there was
            not enough memory, and 0 then below.
        steps_per_second: student steps of all trials together, median over turns.
        trials_per_hour: of trials as long as the recipe is by default.
        speed: steps per second over those of one trial at a time, paired by turn: median.
        arithmetic_share: of the device's rate of matrix products in the way's precision.
        peak_memory_mib: of all processes together.
    """

    count: int
    processes: int
    seconds: list[float]
    steps_per_second: float
    trials_per_hour: float
    speed: float
    arithmetic_share: float
    peak_memory_mib: float


@dataclass(frozen=True, kw_only=True)
class _Told:
    """What a process tells when its trials have trained."""

    began: float
    ended: float
    peak_memory_mib: float


def members(case: Case, way: str, count: int) -> list[DistillationConfig]:
    """Configurations of trials that differ in the student's learning rate, as a search has them."""
    config = case.configuration(way)
    optimiser = config.student_optimiser
    rates = [optimiser.learning_rate * 2 ** (-index / 4) for index in range(count)]
    return [
        config.model_copy(
            update={"student_optimiser": optimiser.model_copy(update={"learning_rate": rate})}
        )
        for rate in rates
    ]


def _train(connection: Connection, barrier: Barrier, case: Case, way: str, count: int) -> None:
    """Train trials in this process; the clock runs once all processes have trained an epoch."""
    torch.set_num_threads(case.threads)
    began = 0.0

    def warmed_up(index: int, progress: Progress) -> None:
        nonlocal began
        if progress.epoch == 1 and index == count - 1:
            wait_for(case.device)
            barrier.wait(PATIENCE)
            began = time.perf_counter()

    def left(_index: int, error: Exception) -> None:
        raise error

    try:
        distil_together(
            members(case, way, count),
            case.teacher(),
            case.pair.inputs,
            device=case.device,
            report=warmed_up,
            left=left,
        )
        wait_for(case.device)
        ended = time.perf_counter()
        memory = peak_memory_mib(case.device)
        connection.send(_Told(began=began, ended=ended, peak_memory_mib=memory))
    except torch.OutOfMemoryError:
        barrier.abort()
        connection.send(None)
    except BrokenBarrierError:
        # Another one has ended, and says why; or some took too long.
        connection.send("not all trials had trained an epoch in time")


def run_many(case: Case, way: str, count: int, processes: int) -> tuple[float, float] | None:
    """Train trials at once.

    Args:
        case: what each computes; the first epoch warms up. On a CPU the processes share its
            threads.
        way: one of `WAYS`, but not the plain one.
        count: of trials.
        processes: of which each takes as many.

    Returns:
        Seconds until the last had trained its epochs after the first, and the peak memory of all
        processes in MiB; None where there was not enough memory.

    Raises:
        RuntimeError: if a process died, or took too long.
    """
    context = multiprocessing.get_context("spawn")
    each = replace(case, threads=max(1, case.threads // processes))
    barrier = context.Barrier(processes)
    lines: list[Connection] = []
    started = []
    for _ in range(processes):
        here, there = context.Pipe()
        arguments = (there, barrier, each, way, count // processes)
        process = context.Process(target=_train, args=arguments)
        process.start()
        # Else a process that dies would be waited for.
        there.close()
        lines.append(here)
        started.append(process)
    try:
        told = _hear(lines)
    except BaseException:
        for process in started:
            process.terminate()
        raise
    finally:
        for process in started:
            process.join()
    ends = [end for end in told if isinstance(end, _Told)]
    if None in told:
        return None
    if len(ends) < len(told):
        raise RuntimeError(next(str(words) for words in told if isinstance(words, str)))
    seconds = max(end.ended for end in ends) - min(end.began for end in ends)
    return seconds, sum(end.peak_memory_mib for end in ends)


def _hear(lines: Sequence[Connection]) -> list[_Told | str | None]:
    """What processes tell, as they come to it; one that dies is not waited for."""
    told: list[_Told | str | None] = []
    waiting = list(lines)
    while waiting:
        for line in wait(waiting):
            assert isinstance(line, Connection)
            try:
                told.append(line.recv())
            except EOFError:
                raise RuntimeError("a trial's process died; its last words are above") from None
            waiting.remove(line)
    return told


def operations(case: Case, way: str, count: int) -> int:
    """Floating point operations of an epoch of a cohort's networks, forward and backward."""
    counter = FlopCounterMode(display=False)
    counts: list[int] = []

    def report(index: int, _progress: Progress) -> None:
        if index == count - 1:
            counts.append(counter.get_total_flops())

    # Compiled or captured it is the same arithmetic, of which the counter would see nothing.
    configs = [
        config.model_copy(update={"compile_teacher": False, "cuda_graphs": False})
        for config in members(replace(case, epochs=2, iterations=1), way, count)
    ]
    with counter:
        distil_together(
            configs, case.teacher(), case.pair.inputs, device=case.device, report=report
        )
    # All iterations compute the same.
    return case.iterations * (counts[1] - counts[0])


def measure_many(
    case: Case,
    way: str,
    counts: Sequence[int],
    *,
    turns: int,
    rate: float,
    console: Console,
    keep: Callable[[list[Many]], None],
) -> None:
    """Measure trials at once, in turns.

    Args:
        case: what each trial computes.
        way: one of `WAYS`, but not the plain one.
        counts: of trials at once; 1 among them.
        turns: how often each is timed.
        rate: of matrix products.
        console: told what is being done.
        keep: given all that is measured so far, after each run.
    """
    # Of trials and processes: each in its own, and in one cohort or two.
    kinds = [(count, count) for count in counts]
    if shared_part(case.configuration(way)) is not None:
        kinds += [(count, 1) for count in counts if count > 1]
        kinds += [(count, 2) for count in counts if count > 2 and count % 2 == 0]
    else:
        console.print(f"{case.recipe}: its images depend on the student, so there are no cohorts")
    found: dict[tuple[int, int], list[tuple[float, float]]] = {}
    with console.status("counting operations") as status:
        sizes = {count // processes for count, processes in kinds}
        counted = {size: operations(case, way, size) for size in sizes}
        if case.device.type == "cuda":
            # The trials need the memory.
            torch.cuda.empty_cache()
        for turn in range(turns):
            for count, processes in kinds:
                status.update(f"turn {turn + 1} of {turns}: {count} trials in {processes}")
                made = run_many(case, way, count, processes)
                runs = found.setdefault((count, processes), [])
                if made is not None:
                    runs.append(made)
                keep(_results(case, found, counted, rate))


def _results(
    case: Case,
    found: Mapping[tuple[int, int], Sequence[tuple[float, float]]],
    counted: Mapping[int, int],
    rate: float,
) -> list[Many]:
    """What came, by trials and processes; each run as its seconds and memory."""
    steps = case.configuration("default").schedule.total_student_steps
    steps = steps * (case.epochs - 1) // case.epochs
    usual = get_method(case.recipe).recipe.schedule.total_student_steps
    alone = [seconds for seconds, _ in found[1, 1]]
    results = []
    for (count, processes), runs in sorted(found.items()):
        seconds = [each for each, _ in runs]
        middle = median(seconds) if seconds else float("inf")
        computed = processes * counted[count // processes] * (case.epochs - 1)
        ratios = [count * one / many for one, many in zip(alone, seconds, strict=False)]
        results.append(
            Many(
                count=count,
                processes=processes,
                seconds=seconds,
                steps_per_second=count * steps / middle,
                trials_per_hour=3600 * count * steps / middle / usual,
                speed=median(ratios) if ratios else 0.0,
                arithmetic_share=computed / middle / rate,
                peak_memory_mib=median(memory for _, memory in runs) if runs else 0.0,
            )
        )
    return results


def main(
    pair: Annotated[str, typer.Option(help=", ".join(PAIRS))] = "wrn-32",
    recipe: Annotated[str, typer.Option(help=", ".join(RECIPES))] = "cgdd",
    way: Annotated[str, typer.Option(help="to compute, by name")] = "default",
    counts: Annotated[str, typer.Option(help="trials at once, with commas")] = "1,2,4,8,16",
    turns: Annotated[int, typer.Option(min=1)] = 1,
    epochs: Annotated[int, typer.Option(min=2, help="of a trial; the first warms up")] = 3,
    iterations: Annotated[int, typer.Option(min=1, help="of an epoch")] = 4,
    batch_size: BatchSize = None,
    threads: Threads = None,
    device: Device = "auto",
    output: Annotated[Path | None, typer.Option(help="JSON file")] = None,
) -> None:
    """Show how many trials an hour a device trains, by how many there are at once."""
    try:
        numbers = sorted({1, *(int(each) for each in counts.split(","))})
    except ValueError:
        raise typer.BadParameter(f"--counts: {counts!r} is not numbers with commas") from None
    if numbers[0] < 1:
        raise typer.BadParameter("--counts: there must be at least 1 trial at once")
    case = chosen_case(
        pair,
        recipe,
        epochs=epochs,
        iterations=iterations,
        batch_size=batch_size,
        threads=threads,
        device=device,
    )
    where, used = case.device, case.threads
    names("--way", way, [name for name in ways_on(where) if name != PLAIN])
    dtype = torch.bfloat16 if "bfloat16" in way else torch.float32
    rate = matrix_rate(dtype, where, used)
    console = Console()
    found: list[Many] = []

    def keep(measured: list[Many]) -> None:
        found[:] = measured
        if output is None:
            return
        content = {
            "environment": environment(),
            "device": where.type,
            "threads": used,
            "pair": pair,
            "recipe": recipe,
            "way": way,
            "batch_size": case.pair.batch_size,
            "epochs": epochs,
            "iterations_of_an_epoch": iterations,
            "matrix_operations_per_second": rate,
            "trials": [asdict(many) for many in measured],
        }
        # After each run: a bench that is ended leaves what it measured.
        output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    try:
        measure_many(case, way, numbers, turns=turns, rate=rate, console=console, keep=keep)
    finally:
        console.print(_table(f"{pair}, {recipe}, {way}, {where.type}", found))


def _table(title: str, found: Sequence[Many]) -> Table:
    table = Table(
        title=title, caption="rate: share of that of matrix products", box=box.SIMPLE_HEAD
    )
    for column in ("trials", "processes", "steps/s", "trials/hour", "x one", "rate", "MiB of all"):
        table.add_column(column, justify="right", no_wrap=True)
    for many in found:
        if not many.seconds:
            table.add_row(str(many.count), str(many.processes), "no memory")
            continue
        table.add_row(
            str(many.count),
            str(many.processes),
            f"{many.steps_per_second:.3g}",
            f"{many.trials_per_hour:.3g}",
            f"{many.speed:.2f}",
            f"{100 * many.arithmetic_share:.0f} %",
            f"{many.peak_memory_mib:,.0f}",
        )
    return table


if __name__ == "__main__":
    typer.run(main)
