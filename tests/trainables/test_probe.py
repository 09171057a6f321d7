"""Memory of students, and throughput of several: by real processes, on the CPU."""

from typing import Any

import pytest
import torch

from dfkd_tune.classifiers import build_classifier
from dfkd_tune.errors import ResourceError
from dfkd_tune.sweeps import resolve_experiment
from trainables import ProbeTask, measure_needs, measure_throughput, teacher_network_config
from trainables._probe import _shortened


def task_of(raw: dict[str, Any], *widths: float, device: str = "cpu") -> ProbeTask:
    resolved = resolve_experiment(raw, "tiny")
    base = resolved.base
    return ProbeTask(
        bases=(base,),
        students=tuple(base.student.model_copy(update={"width": width}) for width in widths),
        teacher=teacher_network_config(resolved.benchmark, resolved.experiment.teacher),
        inputs=resolved.benchmark.inputs,
        threads=1,
        device=device,
    )


def parameters_mib(task: ProbeTask) -> float:
    """Of the larger student: its gradients and momentum need as much again, each."""
    network = build_classifier(task.students[1], task.inputs, seed=0)
    return sum(4 * parameter.numel() for parameter in network.parameters()) / 2**20


@pytest.mark.long
def test_processes_side_by_side_are_measured(tiny: dict[str, Any]) -> None:
    task = task_of(tiny, 0.25, 4.0)
    needs = measure_needs(task)
    small, large = needs.students
    assert (small.width, large.width) == (0.25, 4.0)
    assert large.peak_mib > small.peak_mib + parameters_mib(task)
    assert needs.memory_mib > large.peak_mib
    assert needs.context_mib == 0
    assert needs.heaviest == task.bases[0]
    for trials in (1, 2):
        found = measure_throughput(task, needs.heaviest, trials, seconds=0.5)
        assert (found.trials, found.out_of_memory) == (trials, False)
        assert found.steps_per_second > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU, so that nothing fails")
def test_a_process_that_fails_is_said_in_one_line(tiny: dict[str, Any]) -> None:
    with pytest.raises(ResourceError, match=r"CUDA|NVIDIA") as raised:
        measure_needs(task_of(tiny, 0.25, device="cuda"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("generator", "student", "expected"),
    [(1, 5, (1, 5)), (5, 5, (5, 5)), (2000, 200, (10, 1)), (1, 50, (1, 10)), (30, 60, (5, 10))],
)
def test_a_shortened_recipe_keeps_the_ratio_of_steps(
    tiny: dict[str, Any], generator: int, student: int, expected: tuple[int, int]
) -> None:
    tiny["settings"]["schedule"] |= {
        "generator_steps": generator,
        "student_steps": student,
        "iterations_per_epoch": 40,
    }
    base = resolve_experiment(tiny, "tiny", searched=False).base
    found = _shortened(base, 7)
    schedule = found.schedule
    assert (schedule.generator_steps, schedule.student_steps) == expected
    assert (schedule.epochs, schedule.iterations_per_epoch) == (7, 5)
    assert (found.student, found.generator) == (base.student, base.generator)
    assert schedule.batch_size == base.schedule.batch_size
