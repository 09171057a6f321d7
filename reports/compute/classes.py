"""Class by class: what the selected student and its teacher have right, and what is confused."""

from dataclasses import dataclass
from statistics import median

from dfkd_tune.records import ClassImages, ClassResults

MANY = 40
LOSSES, GAINS = 20, 10

IMAGES_WORDS: dict[ClassImages, str] = {
    "test": "the test split",
    "held_out": "the unlabelled images that the choice has not seen",
    "audit": "the audit set",
}


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """One class.

    Args:
        name: of the class.
        images: of it.
        student: images that the student has right.
        teacher: images that the teacher has right; None where it is what is right.
    """

    name: str
    images: int
    student: int
    teacher: int | None

    @property
    def student_share(self) -> float | None:
        """Fraction that the student has right; None without an image."""
        return self.student / self.images if self.images else None

    @property
    def teacher_share(self) -> float | None:
        """Fraction that the teacher has right; None where that is not known."""
        return None if self.teacher is None or not self.images else self.teacher / self.images

    @property
    def gap(self) -> float | None:
        """The student's fraction less the teacher's; None where there is none."""
        if self.teacher is None or not self.images:
            return None
        # Not of two fractions: classes that lose as much must compare as equal.
        return (self.student - self.teacher) / self.images


@dataclass(frozen=True, kw_only=True)
class ConfusionRow:
    """A pair of classes that the student confuses.

    Args:
        true: name of the class that is right.
        predicted: name of the class that was chosen.
        images: of the right class.
        student: images that the student took so.
        teacher: images that the teacher took so; None where it is what is right.
    """

    true: str
    predicted: str
    images: int
    student: int
    teacher: int | None


@dataclass(frozen=True, kw_only=True)
class ClassReport:
    """All classes.

    Args:
        where: on which images.
        rows: by gap, the largest loss first; by the student's fraction where there is no gap;
            classes without an image last.
        first: those that a figure shows first: all with an image, or of more than forty the 20 with
            the largest loss (where there is no gap, the 30 with the least).
        last: of more than forty, the 10 with the largest gain.
        confusions: the most frequent of the student, in order of frequency.
    """

    where: ClassImages
    rows: tuple[ClassRow, ...]
    first: tuple[ClassRow, ...]
    last: tuple[ClassRow, ...]
    confusions: tuple[ConfusionRow, ...]

    @property
    def labelled(self) -> bool:
        """Whether labels say what is right; else the teacher does."""
        return any(row.teacher is not None for row in self.rows)

    @property
    def words(self) -> str:
        """Which images these are, in words."""
        return IMAGES_WORDS[self.where]

    @property
    def known(self) -> tuple[ClassRow, ...]:
        """Classes with an image."""
        return tuple(row for row in self.rows if row.images)

    @property
    def left_out(self) -> int:
        """How many classes with an image a figure does not show."""
        return len(self.known) - len(self.first) - len(self.last)

    @property
    def lower(self) -> int:
        """In how many classes the student has fewer right than the teacher."""
        return sum(row.gap is not None and row.gap < 0 for row in self.rows)

    @property
    def higher(self) -> int:
        """In how many classes the student has more right than the teacher."""
        return sum(row.gap is not None and row.gap > 0 for row in self.rows)

    @property
    def images_per_class(self) -> float:
        """The median over classes with an image; 0 where there is none."""
        return float(median(row.images for row in self.known)) if self.known else 0.0


def class_report(results: ClassResults | None) -> ClassReport | None:
    """Order the classes.

    Args:
        results: as recorded; None where they were not.

    Returns:
        None where nothing is recorded, or what is recorded does not fit together.
    """
    if results is None:
        return None
    counts = (results.images, results.student, results.teacher or results.images)
    classes = len(results.names)
    within = all(
        0 <= place < classes for pair in results.confusions for place in (pair.true, pair.predicted)
    )
    if any(len(each) != classes for each in counts) or not within:
        return None
    rows = [
        ClassRow(
            name=name,
            images=results.images[place],
            student=results.student[place],
            teacher=None if results.teacher is None else results.teacher[place],
        )
        for place, name in enumerate(results.names)
    ]
    ordered = sorted((row for row in rows if row.images), key=_rank)
    first, last = ordered, []
    if len(ordered) > MANY:
        # Without a teacher to compare with, nothing is gained.
        gains = GAINS if results.teacher is not None else 0
        first, last = ordered[: LOSSES + GAINS - gains], ordered[len(ordered) - gains :]
    return ClassReport(
        where=results.where,
        rows=(*ordered, *(row for row in rows if not row.images)),
        first=tuple(first),
        last=tuple(last),
        confusions=tuple(
            ConfusionRow(
                true=results.names[pair.true],
                predicted=results.names[pair.predicted],
                images=results.images[pair.true],
                student=pair.student,
                teacher=pair.teacher,
            )
            for pair in results.confusions
        ),
    )


def _rank(row: ClassRow) -> tuple[float, float]:
    share = row.student_share or 0.0
    return (share if row.gap is None else row.gap, share)
