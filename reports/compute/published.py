"""Published results beside the run's own, and how far the two can be compared."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dfkd_tune.published import PublishedResult, published_results
from reports.collect import RunData
from reports.compute.accuracy import Interval, relative_accuracy_interval
from reports.compute.reproduction import shown_trial
from reports.configuration import (
    benchmark_name,
    look_up,
    method_name,
    named,
    student_name,
    teacher_name,
)
from reports.objectives import PEEKING_OBJECTIVE, choice_words, data_kind, objective_name


@dataclass(frozen=True, kw_only=True)
class OwnResult:
    """The selected student of this run on the test split.

    Args:
        trial: name.
        method: its name; None where it is unknown.
        teacher: architecture x width; None where it is unknown.
        student: architecture x width; None where it is unknown.
        student_accuracy: percent.
        teacher_accuracy: percent.
        relative_accuracy: percent, with its 95 % interval; None where the teacher classifies
            nothing rightly.
    """

    trial: str
    method: str | None
    teacher: str | None
    student: str | None
    student_accuracy: float
    teacher_accuracy: float
    relative_accuracy: Interval | None


@dataclass(frozen=True, kw_only=True)
class PublishedComparison:
    """What others published on the run's benchmark, beside the run's own result.

    Every group has the highest relative accuracy first, and those without one last.

    Args:
        benchmark: its name.
        own: the selected student; None where the run has no test accuracy.
        same_networks: published for the run's own teacher and student architectures.
        unnamed_networks: published without naming teacher and student.
        other_networks: all others.
        protocol: one sentence on what keeps the figures from being compared.
    """

    benchmark: str
    own: OwnResult | None
    same_networks: tuple[PublishedResult, ...]
    unnamed_networks: tuple[PublishedResult, ...]
    other_networks: tuple[PublishedResult, ...]
    protocol: str


def compare_published(run: RunData) -> PublishedComparison | None:
    """Set a run beside what others published on its benchmark.

    Args:
        run: the run's records.

    Returns:
        The comparison; None where nothing is known to be published on the run's benchmark.
    """
    benchmark = benchmark_name(run)
    results = published_results(benchmark) if benchmark else ()
    if benchmark is None or not results:
        return None
    pair = run_networks(run)
    same = tuple(r for r in results if None not in pair and (r.teacher, r.student) == pair)
    unnamed = tuple(r for r in results if r.teacher is None and r.student is None)
    return PublishedComparison(
        benchmark=benchmark,
        own=own_result(run),
        same_networks=same,
        unnamed_networks=unnamed,
        other_networks=tuple(r for r in results if r not in same and r not in unnamed),
        protocol=protocol_words(run, results),
    )


def own_result(run: RunData) -> OwnResult | None:
    """The selected student on the test split; None where it was not measured there."""
    selection = run.selection
    if selection is None or selection.test is None:
        return None
    trial = run.find_trial(selection.trial)
    return OwnResult(
        trial=selection.trial,
        method=method_name(run),
        teacher=teacher_name(run),
        student=student_name(trial) if trial else None,
        student_accuracy=100 * selection.test.student_accuracy,
        teacher_accuracy=100 * selection.test.teacher_accuracy,
        relative_accuracy=relative_accuracy_interval(selection.test),
    )


def run_networks(run: RunData) -> tuple[str | None, str | None]:
    """Teacher and student of the trial that the report shows, as published tables name networks.

    Args:
        run: the run's records.

    Returns:
        Architectures; None for one that is unknown, or wider or narrower than its name says.
    """
    teacher = _full_width(run.teacher.architecture, run.teacher.width) if run.teacher else None
    trial = shown_trial(run)
    if trial is None or trial.trial is None:
        return teacher, None
    configuration = trial.trial.configuration
    architecture = named(look_up(configuration, "student.architecture", "student"))
    return teacher, _full_width(
        architecture, look_up(configuration, "student.width", "student_width")
    )


def protocol_words(run: RunData, results: Iterable[PublishedResult]) -> str:
    """Say in one sentence what keeps published figures from being compared with the run's own.

    Args:
        run: the run's records.
        results: published on the run's benchmark.
    """
    parts = [
        f"{_test_words(run)}, while most published code reports the best epoch on its test split",
        _size_words(run, results),
        "a teacher of the same name need not have the same weights, so compare relative accuracies "
        "rather than absolute ones",
    ]
    return f"Not measured alike: {'; '.join(part for part in parts if part)}."


def _full_width(architecture: str | None, width: Any) -> str | None:
    return architecture if width is None or width == 1 else None


def _test_words(run: RunData) -> str:
    """How often students of this run met the test split."""
    if data_kind(run) != "labelled":
        return "this run has no labelled test images"
    if run.run.kind == "comparison":
        return "this run measured every student on the test split once, at its last epoch"
    if objective_name(run) == PEEKING_OBJECTIVE:
        return "this run chose among trials by their accuracy on the test split at the last epoch"
    if run.selection is None:
        return "this run has not touched the test split yet"
    if run.selection.test_evaluations == 1:
        by = choice_words(run)
        return f"this run touched the test split once, after the choice by {by}"
    return f"{run.selection.test_evaluations:,} students of this run met the test split"


def _size_words(run: RunData, results: Iterable[PublishedResult]) -> str:
    """How the images differ in size; empty where they do not, or where it is not recorded."""
    height = look_up(run.experiment, "inputs.height")
    sizes = sorted({result.input_size for result in results if result.input_size is not None})
    if not isinstance(height, int) or isinstance(height, bool) or not sizes or sizes == [height]:
        return ""
    return (
        f"images are {height} pixels high here and {' or '.join(map(str, sizes))} in what is "
        "published"
    )
