"""What a loss term sees: one batch of synthetic images and what the networks made of it."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from dfkd_tune.classifiers import ForwardPass

NO_LABEL = -100
"""Label of an image for which none was asked: what cross entropy leaves out."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One training step's synthetic batch.

    Args:
        images: `(N, C, H, W)`, synthetic, normalised as the teacher takes them.
        labels: `(N,)`, preset labels that were asked for.
        teacher: the teacher's pass; carries gradients to the images in generator steps only.
        student: the student's pass; None in generator steps in which no term needs it.
        targets: `(N, K)`, preset distributions over the classes; None where labels say it all.
        ask_teacher: the teacher's pass on other images, such as views of these; with the features
            and statistics that the objective needs.
    """

    images: Tensor
    labels: Tensor
    teacher: ForwardPass
    student: ForwardPass | None
    targets: Tensor | None = None
    ask_teacher: Callable[[Tensor], ForwardPass] | None = None

    @property
    def student_pass(self) -> ForwardPass:
        """The student's pass, where a term that needs it was declared so."""
        if self.student is None:
            raise ValueError("a loss term read the student's pass without declaring that need")
        return self.student
