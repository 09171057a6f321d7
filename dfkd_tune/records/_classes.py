"""How the chosen student and its teacher do on each class."""

from typing import Literal

from pydantic import Field

from dfkd_tune.records._record import Record

ClassImages = Literal["test", "held_out", "audit"]


class Confusion(Record):
    """How often images of one class were taken for another one."""

    true: int = Field(description="class that is right, counted from 0")
    predicted: int = Field(description="class that was chosen")
    student: int = Field(description="images that the student took so")
    teacher: int | None = Field(
        default=None, description="images that the teacher took so; None without labels"
    )


class ClassResults(Record):
    """Right answers by class, and the pairs of classes that the student confuses most.

    Without labels the teacher's choice is what is right, and nothing is known of the teacher.
    """

    where: ClassImages = Field(description="which images")
    names: tuple[str, ...] = Field(description="of the classes, in label order")
    images: tuple[int, ...] = Field(description="of each class")
    student: tuple[int, ...] = Field(description="images of each class that the student has right")
    teacher: tuple[int, ...] | None = Field(default=None, description="None without labels")
    confusions: tuple[Confusion, ...] = Field(
        description="the most frequent of the student, in order of frequency"
    )
