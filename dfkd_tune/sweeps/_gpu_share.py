"""How many trials share a GPU: decided by what was measured, by pure functions."""

import math
from collections.abc import Sequence

from dfkd_tune.records import GpuShareRecord, StudentNeed, Throughput

COUNTS = (1, 2, 4, 8, 16)
"""Trials on one GPU that are compared."""

USABLE = 0.9
"""Of a GPU's memory: what is left is for a trial that needs more than its student's size says."""

CLOSE = 0.05
"""Of the best throughput: within it, fewer trials are chosen, each of which then ends sooner."""

RAY_DIGITS = 10_000
"""Ray counts a GPU in so many parts."""


def most_by_memory(need: StudentNeed, context_mib: float, memory_mib: float) -> int:
    """How many students of one size fit into a GPU's memory; 0 where not even one does."""
    return int(USABLE * memory_mib // (need.peak_mib + context_mib))


def most_by_cores(cpus_per_gpu: float, cpus_per_trial: int) -> int:
    """How many trials the CPU cores suffice for, and at least one."""
    return max(1, int(cpus_per_gpu // cpus_per_trial))


def typical_student(students: Sequence[StudentNeed]) -> StudentNeed:
    """The student in the middle by memory: of an even number, the smaller one."""
    return sorted(students, key=lambda student: student.peak_mib)[(len(students) - 1) // 2]


def next_count(known: Sequence[Throughput], most: int, *, all_counts: bool = False) -> int | None:
    """How many trials to measure next.

    Args:
        known: measured so far, fewer trials first.
        most: that memory, cores and the experiment allow.
        all_counts: also where more trials are slower together.

    Returns:
        None where there was no memory for more, or where throughput has fallen twice in a row.
    """
    if known and known[-1].out_of_memory:
        return None
    rates = [each.steps_per_second for each in known]
    if len(rates) > 2 and rates[-1] < rates[-2] < rates[-3] and not all_counts:
        return None
    measured = known[-1].trials if known else 0
    return next((count for count in COUNTS if measured < count <= most), None)


def best_count(known: Sequence[Throughput]) -> int:
    """How many trials train most student steps together; one where nothing is known."""
    possible = [each for each in known if not each.out_of_memory]
    best = max((each.steps_per_second for each in possible), default=0.0)
    enough = [each.trials for each in possible if each.steps_per_second >= (1 - CLOSE) * best]
    return min(enough, default=1)


def need_of(students: Sequence[StudentNeed], architecture: str, width: float) -> StudentNeed:
    """What a student needs: that of the narrowest measured one that is at least as wide.

    One that is wider than all, or of an architecture that was not measured, counts as the largest.
    """
    wider = [s for s in students if s.architecture == architecture and s.width >= width]
    if wider:
        return min(wider, key=lambda student: student.width)
    return max(students, key=lambda student: student.peak_mib)


def share_of(measured: GpuShareRecord, architecture: str, width: float) -> float:
    """The share of a GPU that a student gets: larger ones get as much as their memory needs.

    Args:
        measured: of the run.
        architecture: of the student.
        width: of the student.

    Returns:
        1/k, so that k of them fill a GPU; rounded down to what Ray can count.
    """
    need = need_of(measured.students, architecture, width)
    fit = most_by_memory(need, measured.context_mib, measured.memory_mib)
    return share(max(1, min(measured.trials, fit)))


def share(count: int) -> float:
    """The share of a GPU of which `count` fill one, never more; rounded down to Ray's parts."""
    return math.floor(RAY_DIGITS / count) / RAY_DIGITS


def memory_limit(gpus: float, measured: GpuShareRecord | None) -> float:
    """The part of a GPU's memory that torch may reserve in a trial's process.

    Args:
        gpus: share of the trial.
        measured: of the run, if it was: the CUDA context lies beside what torch reserves.

    Returns:
        In (0, 1]; 1 where a trial has a GPU to itself.
    """
    if gpus >= 1 or measured is None:
        return min(1.0, gpus)
    return gpus - measured.context_mib / measured.memory_mib
