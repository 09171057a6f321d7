"""Published results of other work: what papers and repositories report per benchmark and pair.

The figures lie beside this module in `published_results.csv`, in percent and with the digits as
printed; an empty cell was not published. Where two sources disagree about one figure, both stay.
"""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal, cast

Kind = Literal["data_free", "real_data_student", "real_data_kd"]
"""data_free: distilled without real images of any kind; real_data_student: trained on labelled real
images; real_data_kd: distilled on real images."""

SourceKind = Literal["paper", "repository", "abstract"]

DATA_FILE = "published_results.csv"


@dataclass(frozen=True, kw_only=True)
class PublishedResult:
    """One figure that others published; None where something was not.

    Args:
        benchmark: as in an experiment file.
        teacher: architecture.
        student: architecture.
        method: name, with its variant in brackets.
        student_accuracy: percent.
        teacher_accuracy: percent.
        relative_accuracy_stated: percent; only where the source states it itself.
        input_size: height of the images, pixels.
        protocol: which epoch of which run is reported, as far as it is known.
        kind: what the student learnt from.
        source: where the figure stands: arXiv number and table, or repository at a commit.
        source_kind: paper, repository or abstract.
        note: what else must be known; often empty.
    """

    benchmark: str
    teacher: str | None
    student: str | None
    method: str
    student_accuracy: float | None
    teacher_accuracy: float | None
    relative_accuracy_stated: float | None
    input_size: int | None
    protocol: str
    kind: Kind
    source: str
    source_kind: SourceKind
    note: str

    @property
    def relative_accuracy(self) -> float | None:
        """As stated, else 100 x student / teacher, percent; None where neither is known."""
        if self.relative_accuracy_stated is not None:
            return self.relative_accuracy_stated
        if self.student_accuracy is None or not self.teacher_accuracy:
            return None
        return 100 * self.student_accuracy / self.teacher_accuracy


def published_results(benchmark: str) -> tuple[PublishedResult, ...]:
    """What others published on a benchmark.

    Args:
        benchmark: as in an experiment file.

    Returns:
        The highest relative accuracy first, those without one last; empty where nothing is known.
    """
    found = [result for result in _all_results() if result.benchmark == benchmark]
    return tuple(sorted(found, key=_rank))


def published_of_method(method: str) -> tuple[PublishedResult, ...]:
    """What was published of a method or of a variant of it, on all benchmarks, in the file's order.

    Args:
        method: name, with its variant in brackets.
    """
    return tuple(result for result in _all_results() if result.method == method)


def _rank(result: PublishedResult) -> tuple[bool, float, float]:
    relative = result.relative_accuracy
    return relative is None, -(relative or 0.0), -(result.student_accuracy or 0.0)


@cache
def _all_results() -> tuple[PublishedResult, ...]:
    """Every row of the file, in its order."""
    text = files("dfkd_tune").joinpath(DATA_FILE).read_text(encoding="utf-8")
    return tuple(_result(row) for row in csv.DictReader(text.splitlines(), strict=True))


def _result(row: dict[str, str]) -> PublishedResult:
    return PublishedResult(
        benchmark=row["benchmark"],
        teacher=row["teacher"] or None,
        student=row["student"] or None,
        method=row["method"],
        student_accuracy=_number(row["student_accuracy"]),
        teacher_accuracy=_number(row["teacher_accuracy"]),
        relative_accuracy_stated=_number(row["relative_accuracy_stated"]),
        input_size=int(row["input_size"]) if row["input_size"] else None,
        protocol=row["protocol"],
        kind=cast(Kind, row["kind"]),
        source=row["source"],
        source_kind=cast(SourceKind, row["source_kind"]),
        note=row["note"],
    )


def _number(text: str) -> float | None:
    return float(text) if text else None
