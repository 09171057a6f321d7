"""What a loss term sees: one batch of synthetic images and what the networks made of it."""

from dataclasses import dataclass

from torch import Tensor

from dfkd_tune.classifiers import ForwardPass


@dataclass(frozen=True, kw_only=True)
class Step:
    """One training step's synthetic batch.

    Args:
        images: `(N, C, H, W)`, synthetic, normalised as the teacher takes them.
        labels: `(N,)`, preset labels that the generator was asked for.
        teacher: the teacher's pass; carries gradients to the images in generator steps only.
        student: the student's pass; None in generator steps in which no term needs it.
    """

    images: Tensor
    labels: Tensor
    teacher: ForwardPass
    student: ForwardPass | None

    @property
    def student_pass(self) -> ForwardPass:
        """The student's pass, where a term that needs it was declared so."""
        if self.student is None:
            raise ValueError("a loss term read the student's pass without declaring that need")
        return self.student
