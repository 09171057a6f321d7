"""Right and wrong answers class by class."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dfkd_tune.records import ClassImages, ClassResults, Confusion

MOST_CONFUSIONS = 30


def class_results(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor | None,
    names: Sequence[str],
    where: ClassImages,
) -> ClassResults:
    """Count right answers by class, and the student's most frequent confusions.

    Args:
        student: logits `(N, K)`.
        teacher: logits `(N, K)` on the same images.
        labels: `(N,)`; where None, the teacher's choice is what is right.
        names: of the K classes, in label order.
        where: which images these are.
    """
    right = teacher.argmax(1) if labels is None else labels
    by_student = _counts(right, student.argmax(1), len(names))
    by_teacher = None if labels is None else _counts(right, teacher.argmax(1), len(names))
    wrong = by_student.clone().fill_diagonal_(0).flatten()
    # Stable, so that the earlier pair of equals comes first.
    first = wrong.argsort(descending=True, stable=True)[:MOST_CONFUSIONS]
    pairs = [divmod(place, len(names)) for place in first.tolist() if wrong[place] > 0]
    return ClassResults(
        where=where,
        names=tuple(names),
        images=tuple(by_student.sum(1).tolist()),
        student=tuple(by_student.diagonal().tolist()),
        teacher=None if by_teacher is None else tuple(by_teacher.diagonal().tolist()),
        confusions=tuple(
            Confusion(
                true=true,
                predicted=predicted,
                student=int(by_student[true, predicted]),
                teacher=None if by_teacher is None else int(by_teacher[true, predicted]),
            )
            for true, predicted in pairs
        ),
    )


def _counts(right: Tensor, chosen: Tensor, classes: int) -> Tensor:
    """How often each class `(K,)` was taken for each class: `(K, K)`."""
    return torch.bincount(right * classes + chosen, minlength=classes**2).view(classes, classes)
