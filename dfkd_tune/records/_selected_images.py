"""What the selected trial's own images are like, and where teacher and student look in images."""

from pydantic import Field

from dfkd_tune.records._record import SCHEMA_VERSION, Record


class AttentionImage(Record):
    """One image in which the attention of teacher and student is compared."""

    image: int = Field(description="place among the kept images, or in the validation split")
    label: int | None = Field(default=None, description="class; None without labels")
    teacher: int = Field(description="class that the teacher chooses")
    confidence: float = Field(description="of the teacher in it, a fraction")
    student: int = Field(description="class that the student chooses")
    correlation: float | None = Field(
        default=None, description="of the two maps over positions; None where one is flat"
    )


class AttentionRecord(Record):
    """Attention maps of teacher and student, and the picture that shows them."""

    file: str = Field(description="beside this record: rows of images, teacher's, student's maps")
    width: int = Field(description="of the picture, pixels")
    height: int
    teacher_stage: str = Field(description="name of the module whose output the maps are of")
    teacher_size: tuple[int, int] = Field(description="height and width of its maps")
    student_stage: str
    student_size: tuple[int, int]
    images: tuple[AttentionImage, ...] = Field(description="columns of the picture, in order")


class DuplicateMeasure(Record):
    """How far images lie from their nearest other one, to the teacher."""

    images: int = Field(ge=2)
    median: float = Field(description="cosine distance")
    share: float = Field(description="of images nearer than the threshold, a fraction")


class ClosestPair(Record):
    """The two most similar images, and the picture that shows them."""

    file: str = Field(description="beside this record")
    width: int = Field(description="of the picture, pixels")
    height: int
    images: tuple[int, int] = Field(description="places among the kept images")
    distance: float = Field(description="cosine distance")


class SelectedImagesRecord(Record):
    """`selected/images.json`: made after the choice, which it has no part in; no test image."""

    schema_version: int = SCHEMA_VERSION
    trial: str
    student_sha256: str = Field(description="of the student's weights, as selected")
    names: tuple[str, ...] = Field(description="of the classes, in label order")
    balance: tuple[int, ...] | None = Field(
        default=None, description="kept images of each class, as the teacher sees them"
    )
    class_entropy: float | None = Field(
        default=None, description="of the teacher's mean prediction on them, nats"
    )
    threshold: float = Field(description="cosine distance below which images are duplicates")
    duplicates: DuplicateMeasure | None = Field(default=None, description="of kept images")
    real: DuplicateMeasure | None = Field(
        default=None, description="of validation images, as many where there are; to compare"
    )
    closest: ClosestPair | None = None
    attention: AttentionRecord | None = Field(default=None, description="on kept images")
    real_attention: AttentionRecord | None = Field(
        default=None, description="on validation images, where there are any"
    )
    seconds: float
    time: str
