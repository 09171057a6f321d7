"""Measures cases: every way in a process of its own, in turns, so that all see the same machine."""

import multiprocessing
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from performance.cases import PLAIN, Case
from performance.worker import serve

SAME = (PLAIN, "default", "compiled", "graphs", "graphs+compiled")
"""Ways that are to give the same losses."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """What one way of computing a case came to.

    Args:
        name: one of `WAYS`.
        steps_per_second: student steps, median over epochs.
        images_per_second: all that passed through training, median over epochs.
        synthesis_share: of an epoch's seconds, median over epochs.
        speed: steps per second over those of the plain loop, paired round by round: median.
        cpu_speed: the same by seconds of CPU, which other work on the machine changes little.
        peak_memory_mib: of the process after its blocks; on a GPU, of what it held there.
        arithmetic_share: of the machine's rate of matrix products in the way's precision.
        loss_difference: largest relative difference of a loss to the plain loop's in the first
            iteration; None for ways that are to differ.
        phases: seconds of what a loop does, each by itself.
        epoch_seconds: every epoch measured, by round.
    """

    name: str
    steps_per_second: float
    images_per_second: float
    synthesis_share: float
    speed: float
    cpu_speed: float
    peak_memory_mib: float
    arithmetic_share: float
    loss_difference: float | None
    phases: dict[str, float]
    epoch_seconds: list[list[float]]


def measure_case(
    case: Case,
    ways: Sequence[str],
    *,
    rounds: int,
    rates: dict[str, float],
    progress: Callable[[str], None] = lambda _words: None,
) -> list[Way]:
    """Measure a case in several ways.

    Args:
        case: what is computed; the first epoch of a block warms up.
        ways: of `WAYS`, the plain one among them.
        rounds: in each of which every way trains a block.
        rates: of matrix products by precision.
        progress: told what is being done.
    """
    context = multiprocessing.get_context("spawn")
    lines: dict[str, Connection] = {}
    processes = []
    for way in ways:
        here, there = context.Pipe()
        process = context.Process(target=serve, args=(there, case, way), daemon=False)
        process.start()
        # Else a process that dies would be waited for.
        there.close()
        processes.append(process)
        lines[way] = here
    title = f"{case.pair.name}, {case.recipe}"
    blocks: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for number in range(rounds):
        for way in ways:
            progress(f"{title}: round {number + 1} of {rounds}, {way}")
            blocks[way].append(_ask(lines[way], "block"))
    progress(f"{title}: phases")
    memory = {way: _ask(lines[way], "memory") for way in ways}
    losses = {way: _ask(lines[way], "losses") for way in ways}
    phases = {way: _ask(lines[way], "phases") for way in ways}
    # Only how often the teacher is asked changes their number, not the precision.
    counted: dict[bool, int] = {}
    for way in reversed(ways):
        shared = "shared_batch" in way
        if shared not in counted:
            counted[shared] = _ask(lines[way], "operations")
    operations = {way: counted["shared_batch" in way] for way in ways}
    for line in lines.values():
        line.send("end")
    for process in processes:
        process.join()
    plain = blocks[PLAIN]
    return [
        _way(
            way,
            blocks[way],
            plain,
            memory=memory[way],
            loss_difference=difference(losses[way], losses[PLAIN]) if way in SAME else None,
            phases=phases[way],
            operations=operations[way],
            rate=rates["bfloat16" if "bfloat16" in way else "float32"],
        )
        for way in ways
    ]


def _ask(line: Connection, word: str) -> Any:
    line.send(word)
    return line.recv()


def _way(
    name: str,
    blocks: list[dict[str, Any]],
    plain: list[dict[str, Any]],
    *,
    memory: float,
    loss_difference: float | None,
    phases: dict[str, float],
    operations: int,
    rate: float,
) -> Way:
    seconds = [each for block in blocks for each in block["seconds"]]
    synthesis = [each for block in blocks for each in block["synthesis"]]
    middle = statistics.median(seconds)
    return Way(
        name=name,
        steps_per_second=blocks[0]["steps"] / middle,
        images_per_second=blocks[0]["images"] / middle,
        synthesis_share=statistics.median(
            part / whole for part, whole in zip(synthesis, seconds, strict=True)
        ),
        speed=_ratio(blocks, plain, "seconds"),
        cpu_speed=_ratio(blocks, plain, "cpu"),
        peak_memory_mib=memory,
        arithmetic_share=operations / middle / rate,
        loss_difference=loss_difference,
        phases=phases,
        epoch_seconds=[block["seconds"] for block in blocks],
    )


def _ratio(blocks: list[dict[str, Any]], plain: list[dict[str, Any]], kind: str) -> float:
    return float(
        statistics.median(
            statistics.median(other[kind]) / statistics.median(block[kind])
            for block, other in zip(blocks, plain, strict=True)
        )
    )


def difference(losses: dict[str, float], plain: dict[str, float]) -> float:
    """Largest difference of a loss, relative where it is above 1."""
    return max(abs(losses[name] - value) / max(1.0, abs(value)) for name, value in plain.items())
