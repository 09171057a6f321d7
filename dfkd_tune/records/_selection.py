"""The trial chosen in the end, and how it did on images that the choice has not seen."""

from pydantic import Field

from dfkd_tune.records._classes import ClassResults
from dfkd_tune.records._pareto import ParetoSet
from dfkd_tune.records._record import SCHEMA_VERSION, Record


class TestOutcome(Record):
    """Paired outcome of student and teacher on the same test images."""

    __test__ = False

    images: int = Field(ge=1)
    both_correct: int
    student_only: int
    teacher_only: int
    neither: int

    @property
    def student_accuracy(self) -> float:
        """Fraction of images that the student classifies rightly."""
        return (self.both_correct + self.student_only) / self.images

    @property
    def teacher_accuracy(self) -> float:
        """Fraction of images that the teacher classifies rightly."""
        return (self.both_correct + self.teacher_only) / self.images

    @property
    def relative_accuracy(self) -> float:
        """100 x student / teacher, percent; NaN where the teacher has no image right."""
        teacher = self.both_correct + self.teacher_only
        return 100 * (self.both_correct + self.student_only) / teacher if teacher else float("nan")


class HeldOutAgreement(Record):
    """How often student and teacher choose the same class, on images without labels."""

    images: int = Field(ge=1)
    same: int

    @property
    def agreement(self) -> float:
        """Fraction of images on which both choose one class."""
        return self.same / self.images


class SelectionRecord(Record):
    """`selection.json`: the trial chosen on the validation split, and its one look at the test."""

    schema_version: int = SCHEMA_VERSION
    trial: str
    rule: str = Field(description="in words: what was compared, on which split, among which trials")
    objective: str = Field(description="name of the search objective, such as val_real")
    candidates: int = Field(description="complete trials that were compared")
    value: float | None = Field(default=None, description="of the search objective, a fraction")
    synthetic_agreement: float | None = Field(
        default=None,
        description="mean of the agreements with the teacher on the audit set and on the other "
        "trials' images; where it decided",
    )
    pool_agreement: float | None = Field(
        default=None,
        description="on the other trials' images alone; of older runs, where it decided",
    )
    pareto_set: ParetoSet | None = Field(
        default=None, description="where the search weighed its objective against a cost"
    )
    validation: dict[str, float] = Field(description="scores of the student at its last epoch")
    teacher_validation_accuracy: float | None = Field(
        default=None, description="None where there are no labels"
    )
    student_sha256: str
    test: TestOutcome | None = Field(default=None, description="None where there are no labels")
    held_out: HeldOutAgreement | None = Field(
        default=None, description="on unlabelled images that the choice has not seen"
    )
    classes: ClassResults | None = Field(
        default=None, description="class by class, on the same look; None in older runs"
    )
    test_evaluations: int = Field(description="how many students of this run met the test split")
    session: str
    time: str
