"""Measures on a GPU of the machine or cluster how many trials share it, before the first one."""

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from rich.console import Console

from dfkd_tune.classifiers import NetworkConfig
from dfkd_tune.errors import ResourceError
from dfkd_tune.records import GpuShareRecord, RunFolder, Throughput, now, write_record
from dfkd_tune.sweeps._cluster import Node, alive_nodes, allot_on_nodes, say_if_busy
from dfkd_tune.sweeps._experiment import ResolvedExperiment
from dfkd_tune.sweeps._experiment_config import ResourcesConfig
from dfkd_tune.sweeps._given import Comparison
from dfkd_tune.sweeps._gpu_share import (
    best_count,
    most_by_cores,
    most_by_memory,
    next_count,
    share,
    share_of,
    typical_student,
)
from dfkd_tune.sweeps._machine import Allotment
from search_spaces import SearchSpace, with_values
from trainables import (
    DeviceHolder,
    ProbeTask,
    measure_needs,
    measure_throughput,
    teacher_network_config,
)

ARCHITECTURE, WIDTH = "student.architecture", "student.width"
HEAVY = "generator.width"
"""What else is searched and decides how much memory a trial needs."""

LOOK_SECONDS = 0.5

Call = Callable[..., Any]


class _InterruptedError(Exception):
    """A person has ended the command while it measured."""


def share_gpus(
    run: RunFolder,
    resolved: ResolvedExperiment,
    comparison: Comparison | None,
    nodes: Sequence[Node],
    allotment: Allotment,
    console: Console,
    interrupted: threading.Event,
) -> Allotment:
    """What a trial gets where the experiment leaves that open: by measurement, made only once.

    Args:
        run: keeps what was measured, so that a sweep goes on with it.
        resolved: the experiment.
        comparison: whose trials are run in place of a search.
        nodes: of the cluster.
        allotment: with a whole GPU for each trial, or none.
        console: where to say what is measured, and what was chosen.
        interrupted: set by a person to end the command.

    Returns:
        The allotment as it is where `resources.gpus_per_trial` is a number, where there is no GPU,
        and where measuring failed; a line says why.
    """
    resources = resolved.experiment.resources
    if resources.gpus_per_trial != "auto" or allotment.gpus <= 0:
        return allotment
    measured = run.gpu_share()
    if measured is None:
        task = probe_task(resolved, comparison, "cuda")
        most = most_on_a_gpu(resources, nodes)
        if most == 1:
            _say(
                console,
                "each trial has a GPU to itself: resources.cpus_per_trial or max_concurrent leave "
                "no more for one",
            )
            return allotment
        say_if_busy(allotment, console)
        try:
            with on_one_device(nodes, task, most, interrupted) as call:
                measured = measure_share(task, most, console, call)
        except _InterruptedError:
            return allotment
        except ResourceError as error:
            _say(
                console,
                f"how many trials share a GPU could not be measured ({error}): each gets a whole "
                f"one; to share it anyway, give --gpus-per-trial a fraction",
            )
            return allotment
        write_record(run.gpu_share_file, measured)
    _say(console, share_text(measured))
    return shared(allotment, resources, nodes, measured)


def shared(
    allotment: Allotment,
    resources: ResourcesConfig,
    nodes: Sequence[Node],
    measured: GpuShareRecord,
) -> Allotment:
    """The allotment with a GPU shared as measured."""
    if measured.trials == 1:
        return allotment
    least = resources.model_copy(update={"gpus_per_trial": share(measured.trials)})
    return replace(allot_on_nodes(least, nodes), measured=measured)


def most_on_a_gpu(resources: ResourcesConfig, nodes: Sequence[Node]) -> int:
    """How many trials cores and the experiment allow on each GPU of the cluster."""
    with_gpus = [node for node in nodes if node.gpus >= 1]
    cores = min(node.cpus / node.gpus for node in with_gpus)
    most = most_by_cores(cores, resources.cpus_per_trial)
    if resources.max_concurrent is None:
        return most
    return min(most, math.ceil(resources.max_concurrent / sum(node.gpus for node in with_gpus)))


def scan_share(resolved: ResolvedExperiment, device: str, console: Console) -> GpuShareRecord:
    """Measure every number of trials that memory and cores allow, for people to compare.

    Args:
        resolved: the experiment.
        device: `cuda`, or `cpu` where nothing else is there to try it on.
        console: where to say what is measured.

    Raises:
        ResourceError: if that failed, or there is no GPU.
    """
    task, nodes = probe_task(resolved, None, device), alive_nodes()
    per_device = [n.cpus / n.gpus if device == "cuda" else n.cpus for n in nodes if _has(n, device)]
    if not per_device:
        raise ResourceError("there is no GPU to share; --device cpu measures on the CPU")
    most = most_by_cores(min(per_device), task.threads)
    with on_one_device(nodes, task, most, threading.Event()) as call:
        return measure_share(task, most, console, call, all_counts=True)


def _has(node: Node, device: str) -> bool:
    return device == "cpu" or node.gpus >= 1


def share_plan(resolved: ResolvedExperiment, allotment: Allotment) -> str | None:
    """What is known of it before a sweep starts; None where nothing is to be measured."""
    experiment = resolved.experiment
    if experiment.resources.gpus_per_trial != "auto" or allotment.gpus <= 0:
        return None
    measured = RunFolder(experiment.storage.absolute() / experiment.name).gpu_share()
    if measured is not None:
        return share_text(measured)
    return (
        "how many trials share one is measured at the start, so that more may run at once; a "
        "number for --gpus-per-trial is taken as it is"
    )


# ------------------------------------------------------------------ what is measured


def probe_task(
    resolved: ResolvedExperiment, comparison: Comparison | None, device: str
) -> ProbeTask:
    """What the trials of a sweep or a comparison would do."""
    if comparison is not None:
        bases = {trial.variant: trial.configuration for trial in comparison.trials}
        students = [trial.configuration.student for trial in comparison.trials]
    else:
        bases = {
            name: with_values(base, {HEAVY: _largest(resolved.space, base.generator.width)})
            for name, base in resolved.bases.items()
        }
        students = students_of(resolved.space, resolved.base.student)
    return ProbeTask(
        bases=tuple(bases.values()),
        students=tuple({student.model_dump_json(): student for student in students}.values()),
        teacher=teacher_network_config(resolved.benchmark, resolved.experiment.teacher),
        inputs=resolved.benchmark.inputs,
        threads=resolved.experiment.resources.cpus_per_trial,
        device=device,
    )


def students_of(space: SearchSpace, base: NetworkConfig) -> list[NetworkConfig]:
    """Every student that a space can propose."""
    architectures = _values(space, ARCHITECTURE) or [base.architecture]
    widths = _values(space, WIDTH) or [base.width]
    found = []
    for architecture in architectures:
        same = (
            base if architecture == base.architecture else NetworkConfig(architecture=architecture)
        )
        found += [same.model_copy(update={"width": float(width)}) for width in widths]
    return found


def _values(space: SearchSpace, key: str) -> list[Any]:
    """What a space chooses from for a key, over all its methods; empty where it is not searched."""
    values = [value for d in space.dimensions if d.key == key for value in d.choices]
    return list(dict.fromkeys(values))


def _largest(space: SearchSpace, usual: int) -> int:
    return int(max([usual, *_values(space, HEAVY)]))


# ------------------------------------------------------------------ measuring


def measure_share(
    task: ProbeTask, most: int, console: Console, call: Call, *, all_counts: bool = False
) -> GpuShareRecord:
    """Measure what every student needs, and how fast several train side by side; and choose.

    Args:
        task: what trials would do.
        most: trials at once that cores and the experiment allow.
        console: where to say what is measured.
        call: calls a function with its arguments where the device is.
        all_counts: also more trials that are slower together.

    Raises:
        ResourceError: if that failed.
    """
    began = time.monotonic()
    sizes = f"{len(task.students)} student sizes"
    _say(console, f"measuring how many trials share a GPU: memory of {sizes}")
    needs = call(measure_needs, task)
    typical = typical_student(needs.students)
    config = needs.heaviest.model_copy(
        update={"student": task.students[needs.students.index(typical)]}
    )
    most = min(most, max(1, most_by_memory(typical, needs.context_mib, needs.memory_mib)))
    known: list[Throughput] = []
    while (count := next_count(known, most, all_counts=all_counts)) is not None:
        try:
            known.append(call(measure_throughput, task, config, count))
        except ResourceError as error:
            if not known:
                raise
            # Some libraries have words of their own for a want of memory.
            _say(console, f"{count} at once failed ({error}): no more are tried")
            break
        found = known[-1]
        rate = "out of memory" if found.out_of_memory else f"{found.steps_per_second:.3g}"
        _say(
            console,
            f"measuring how many trials share a GPU, {count} at once: {rate}"
            f"{'' if found.out_of_memory else ' student steps/s'}",
        )
    return GpuShareRecord(
        device=needs.device,
        memory_mib=needs.memory_mib,
        context_mib=needs.context_mib,
        cpus_per_trial=task.threads,
        students=needs.students,
        typical=typical,
        throughputs=tuple(known),
        trials=best_count(known),
        seconds=time.monotonic() - began,
        time=now(),
    )


def share_text(measured: GpuShareRecord) -> str:
    """What was measured and chosen, in one line."""
    peaks = [student.peak_mib for student in measured.students]
    rates = ", ".join(
        f"{each.trials}: out of memory"
        if each.out_of_memory
        else f"{each.trials}: {each.steps_per_second:.3g}"
        for each in measured.throughputs
    )
    k = measured.trials
    least = {round(1 / share_of(measured, s.architecture, s.width)) for s in measured.students}
    larger = f" (of the largest students {min(least)})" if min(least) < k else ""
    chosen = f"{k} trials share a GPU{larger}" if k > 1 else "each trial has a GPU to itself"
    return (
        f"{chosen}: student steps/s by trials at once {rates}; students need "
        f"{min(peaks):,.0f} to {max(peaks):,.0f} MiB and {measured.context_mib:,.0f} beside, of "
        f"{measured.memory_mib:,.0f} ({measured.device}, measured {measured.time[:10]})"
    )


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)


@contextmanager
def on_one_device(
    nodes: Sequence[Node], task: ProbeTask, most: int, interrupted: threading.Event
) -> Iterator[Call]:
    """Hold a whole GPU and the cores of as many trials as may share it, or cores alone.

    Args:
        nodes: of the cluster.
        task: says on which kind of device.
        most: trials at once.
        interrupted: ends it.

    Yields:
        Calls a function with its arguments there; raises ResourceError if that fails.
    """
    import ray
    from ray.exceptions import RayError

    gpus = 1 if task.device == "cuda" else 0
    cpus = min(most * task.threads, int(max(n.cpus for n in nodes if n.gpus >= gpus)))
    holder: Any = ray.remote(num_cpus=cpus, num_gpus=gpus)(DeviceHolder).remote()

    def call(function: Call, *given: Any) -> Any:
        asked = holder.call.remote(function, *given)
        while not ray.wait([asked], timeout=LOOK_SECONDS)[0]:
            if interrupted.is_set():
                raise _InterruptedError
        try:
            return ray.get(asked)
        except RayError as error:
            cause = getattr(error, "cause", None) or error
            lines = str(cause).strip().splitlines()
            raise ResourceError(lines[-1] if lines else type(cause).__name__) from error

    try:
        yield call
    finally:
        ray.kill(holder)
