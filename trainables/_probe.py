"""How much memory students need, and how fast several of them train side by side on one device.

Every measurement has processes of its own, as trials have, by an untrained teacher: it costs what a
trained one does. No image is needed.
"""

import gc
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

import torch

from dfkd_tune.classifiers import NetworkConfig, build_classifier
from dfkd_tune.distillation import DistillationConfig, Progress, distil
from dfkd_tune.errors import ResourceError
from dfkd_tune.inputs import InputSpecification
from dfkd_tune.records import StudentNeed, Throughput
from trainables._faults import as_memory_error, first_line
from trainables._machine import (
    context_mib,
    limit_gpu_memory,
    memory_mib,
    peak_reserved_mib,
    processor_name,
    reset_peak_memory,
)

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

SECONDS = 5.0
"""In which student steps are counted."""

START_SECONDS = 300.0
"""In which all processes of a measurement must have begun to train."""

STUDENT_SECONDS = 120.0
"""In which the memory of one student must be known."""

MOST_STEPS = 10
"""Of each network in an iteration: where a recipe has more, their ratio stays about the same."""

MOST_ITERATIONS = 5
WARM_EPOCHS = 2
"""With student steps: libraries choose and load their kernels in the first ones."""

ENDLESS = 10**9
"""Epochs of a distillation that ends when its rate is known."""

# So small that no network changes: an untrained teacher could let training diverge.
STILL = 1e-8


@dataclass(frozen=True, kw_only=True)
class ProbeTask:
    """What trials would do on the device.

    Args:
        bases: configurations of trials that differ in more than their student; at least one.
        students: of every size.
        teacher: network.
        inputs: shape and classes.
        threads: of each trial.
        device: `cuda` or `cpu`.
    """

    bases: tuple[DistillationConfig, ...]
    students: tuple[NetworkConfig, ...]
    teacher: NetworkConfig
    inputs: InputSpecification
    threads: int
    device: str


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a device has, and what students need of it.

    Args:
        device: its name.
        memory_mib: all of it.
        context_mib: of a process beside what it reserves.
        heaviest: of the bases, the one that needs most.
        students: with that one.
    """

    device: str
    memory_mib: float
    context_mib: float
    heaviest: DistillationConfig
    students: tuple[StudentNeed, ...]


def measure_needs(task: ProbeTask) -> Needs:
    """Measure the peak memory of every student, in a process of its own.

    Raises:
        ResourceError: if that process failed.
    """
    limit = START_SECONDS + STUDENT_SECONDS * (len(task.bases) + len(task.students))
    (needs,) = _side_by_side(_needs, (task,), 1, limit)
    assert isinstance(needs, Needs)
    return needs


def measure_throughput(
    task: ProbeTask, config: DistillationConfig, trials: int, seconds: float = SECONDS
) -> Throughput:
    """Let several processes train at the same time, and count their student steps.

    Args:
        task: on which device, by which teacher.
        config: of each.
        trials: how many.
        seconds: in which steps are counted, once all have warmed up.

    Raises:
        ResourceError: if a process failed but for want of memory.
    """
    limit = 2 * START_SECONDS + 10 * seconds
    rates = _side_by_side(_rate, (task, config, seconds), trials, limit)
    if not any(rate is None for rate in rates) and 0.0 in rates:
        raise ResourceError("its processes did not begin to train in time")
    return Throughput(
        trials=trials, steps_per_second=sum(r or 0.0 for r in rates), out_of_memory=None in rates
    )


# ------------------------------------------------------------------ processes


def _side_by_side(
    work: Callable[..., Any], given: tuple[Any, ...], count: int, limit: float
) -> list[Any]:
    """Call a function in several new processes at once, each with a barrier that all share."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(count)
    processes, pipes = [], []
    try:
        for _ in range(count):
            here, there = context.Pipe(duplex=False)
            process = context.Process(
                target=_answer, args=(there, barrier, work, given), daemon=True
            )
            process.start()
            there.close()
            processes.append(process)
            pipes.append(here)
        return _answers(pipes, time.monotonic() + limit)
    finally:
        for process in processes:
            process.kill()
            process.join()


def _answers(pipes: list[Connection], until: float) -> list[Any]:
    """What every process has to say; the first error ends the waiting."""
    found: dict[int, Any] = {}
    while len(found) < len(pipes):
        waiting = [pipe for index, pipe in enumerate(pipes) if index not in found]
        ready = wait(waiting, timeout=max(0.0, until - time.monotonic()))
        if not ready:
            raise ResourceError("its processes did not end in time")
        for pipe in ready:
            assert isinstance(pipe, Connection)
            try:
                value, problem = pipe.recv()
            except EOFError as error:
                raise ResourceError("one of its processes ended without a word") from error
            if problem:
                raise ResourceError(problem)
            found[pipes.index(pipe)] = value
    return [found[index] for index in range(len(pipes))]


def _answer(
    pipe: Connection, barrier: "Barrier", work: Callable[..., Any], given: tuple[Any, ...]
) -> None:
    """What each process does: nobody's but its parent's, it ends with it."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        pipe.send((work(barrier, *given), ""))
    except Exception as error:
        barrier.abort()
        pipe.send((None, f"{type(error).__name__}: {first_line(str(error))}"))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


# ------------------------------------------------------------------ within a process


class _EnoughError(Exception):
    """Ends a distillation whose rate is known."""


def _needs(_barrier: "Barrier", task: ProbeTask) -> Needs:
    device = torch.device(task.device)
    torch.set_num_threads(task.threads)
    context = 0.0

    def peak(config: DistillationConfig) -> float:
        nonlocal context
        gc.collect()
        reset_peak_memory(device)
        fits = _distil(task, _shortened(config, WARM_EPOCHS), lambda _progress: None)
        context = max(context, context_mib(device))
        return peak_reserved_mib(device) if fits else memory_mib(device)

    heaviest = task.bases[0] if len(task.bases) == 1 else max(task.bases, key=peak)
    students = tuple(
        StudentNeed(
            architecture=student.architecture,
            width=student.width,
            peak_mib=peak(heaviest.model_copy(update={"student": student})),
        )
        for student in task.students
    )
    return Needs(
        device=processor_name(device),
        memory_mib=memory_mib(device),
        context_mib=context,
        heaviest=heaviest,
        students=students,
    )


def _rate(
    barrier: "Barrier", task: ProbeTask, config: DistillationConfig, seconds: float
) -> float | None:
    """Student steps per second of this process.

    Returns:
        None where it had no memory, 0 where another one did not come to train beside it.
    """
    torch.set_num_threads(task.threads)
    limit_gpu_memory(1 / barrier.parties)
    warm, steps, began, rate = 0, 0, 0.0, 0.0

    def hear(progress: Progress) -> None:
        nonlocal warm, steps, began, rate
        if not progress.student_steps:
            return
        warm += 1
        if warm < WARM_EPOCHS:
            return
        if warm == WARM_EPOCHS:
            barrier.wait(START_SECONDS)
            steps, began = progress.student_steps, time.perf_counter()
            return
        spent = time.perf_counter() - began
        if spent >= seconds:
            rate = (progress.student_steps - steps) / spent
            raise _EnoughError

    with suppress(threading.BrokenBarrierError):
        if not _distil(task, _shortened(config, ENDLESS), hear):
            barrier.abort()
            return None
    return rate


def _distil(task: ProbeTask, config: DistillationConfig, hear: Callable[[Progress], None]) -> bool:
    """Distil until it is enough; gives whether there was memory for it."""
    device = torch.device(task.device)
    try:
        distil(
            config,
            build_classifier(task.teacher, task.inputs, seed=0),
            task.inputs,
            device=device,
            report=hear,
            teacher_stages=task.teacher.stages,
        )
    except _EnoughError:
        return True
    except (MemoryError, RuntimeError) as error:
        if as_memory_error(error, device) is error:
            raise
        return False
    return True


def _shortened(config: DistillationConfig, epochs: int) -> DistillationConfig:
    """The same with short epochs, of which each does what the recipe's do, and learns nothing."""
    schedule = config.schedule
    shorter = max(1.0, max(schedule.generator_steps, schedule.student_steps) / MOST_STEPS)
    schedule = schedule.model_copy(
        update={
            "epochs": epochs,
            "generator_epochs": min(schedule.generator_epochs, 1),
            "iterations_per_epoch": min(schedule.iterations_per_epoch, MOST_ITERATIONS),
            "generator_steps": max(1, round(schedule.generator_steps / shorter)),
            "student_steps": max(1, round(schedule.student_steps / shorter)),
        }
    )
    still = {"learning_rate": STILL}
    return config.model_copy(
        update={
            "schedule": schedule,
            "generator_optimiser": config.generator_optimiser.model_copy(update=still),
            "student_optimiser": config.student_optimiser.model_copy(
                update={**still, "warmup_epochs": 0}
            ),
            "collapse": config.collapse.model_copy(update={"stop": False}),
        }
    )
