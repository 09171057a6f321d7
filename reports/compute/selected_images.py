"""The selected trial's own images: how they spread over the classes, and how alike they are."""

import math
from dataclasses import dataclass
from statistics import median

from dfkd_tune.records import AttentionRecord, ClosestPair, DuplicateMeasure, SelectedImagesRecord
from reports.collect import RunData


@dataclass(frozen=True, kw_only=True)
class BalanceRow:
    """One class among the kept images.

    Args:
        name: of the class.
        images: that the teacher sees as of this class.
        share: of all kept images, a fraction.
    """

    name: str
    images: int
    share: float


@dataclass(frozen=True, kw_only=True)
class Variety:
    """How various the kept images are.

    Args:
        trial: whose images these are.
        rows: every class in label order.
        effective: e to the entropy of the teacher's mean prediction: as many equally frequent
            classes are as even; None where it is not known.
        threshold: cosine distance below which images are called duplicates.
        duplicates: of the kept images; None where there is but one.
        real: of validation images; None without any.
        closest: the two most similar kept images; None where there is but one.
    """

    trial: str
    rows: tuple[BalanceRow, ...]
    effective: float | None
    threshold: float
    duplicates: DuplicateMeasure | None
    real: DuplicateMeasure | None
    closest: ClosestPair | None

    @property
    def images(self) -> int:
        """Kept images."""
        return sum(row.images for row in self.rows)

    @property
    def most(self) -> BalanceRow:
        """The most frequent class; the first of equals."""
        return max(self.rows, key=lambda row: row.images)

    @property
    def absent(self) -> int:
        """Classes of which there is no image."""
        return sum(not row.images for row in self.rows)

    @property
    def chance_absent(self) -> float:
        """How many classes would be absent on average, were the classes drawn evenly at random."""
        classes = len(self.rows)
        return classes * float((1 - 1 / classes) ** self.images)


@dataclass(frozen=True, kw_only=True)
class AttentionRow:
    """One image in which teacher and student were compared.

    Args:
        label: name of its class; None without labels.
        teacher: name of the class that the teacher chooses.
        confidence: of the teacher, a fraction.
        student: name of the class that the student chooses.
        correlation: of the two maps; None where one is flat.
    """

    label: str | None
    teacher: str
    confidence: float
    student: str
    correlation: float | None


def selected_images(run: RunData) -> SelectedImagesRecord | None:
    """What is recorded of the selected trial's images; None where it is of another student."""
    record = run.selected_images
    if record is None or run.selection is None:
        return None
    return record if record.student_sha256 == run.selection.student_sha256 else None


def variety(record: SelectedImagesRecord) -> Variety | None:
    """How various the kept images are; None where the trial kept none."""
    balance = record.balance
    if balance is None or len(balance) != len(record.names) or not sum(balance):
        return None
    return Variety(
        trial=record.trial,
        rows=tuple(
            BalanceRow(name=name, images=images, share=images / sum(balance))
            for name, images in zip(record.names, balance, strict=True)
        ),
        effective=None if record.class_entropy is None else math.exp(record.class_entropy),
        threshold=record.threshold,
        duplicates=record.duplicates,
        real=record.real,
        closest=record.closest,
    )


def attention_rows(
    record: SelectedImagesRecord, attention: AttentionRecord
) -> tuple[AttentionRow, ...]:
    """The images of a picture of attention maps, from left to right."""

    def name(place: int) -> str:
        # Of a damaged record: its number says more than nothing.
        return record.names[place] if 0 <= place < len(record.names) else str(place)

    return tuple(
        AttentionRow(
            label=None if image.label is None else name(image.label),
            teacher=name(image.teacher),
            confidence=image.confidence,
            student=name(image.student),
            correlation=image.correlation,
        )
        for image in attention.images
    )


def median_correlation(rows: tuple[AttentionRow, ...]) -> float | None:
    """The median over images that have a correlation; None where none has."""
    known = [row.correlation for row in rows if row.correlation is not None]
    return median(known) if known else None
