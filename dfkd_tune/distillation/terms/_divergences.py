"""Distances between teacher and student logits."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor
from torch.nn import functional

Divergence = Literal["kl_teacher_student", "kl_student_teacher", "js", "l1", "mse"]


def _kl(p: Tensor, q: Tensor, temperature: float) -> Tensor:
    """KL(softmax(p/T) || softmax(q/T)) x T^2, summed over classes."""
    loss = functional.kl_div(
        (q / temperature).log_softmax(1),
        (p / temperature).log_softmax(1),
        log_target=True,
        reduction="none",
    )
    return loss.sum(1) * temperature**2


def _js(p: Tensor, q: Tensor, temperature: float) -> Tensor:
    log_p, log_q = (p / temperature).log_softmax(1), (q / temperature).log_softmax(1)
    log_middle = (0.5 * (log_p.exp() + log_q.exp())).clamp_min(1e-12).log()
    parts = [
        functional.kl_div(log_middle, x, log_target=True, reduction="none").sum(1)
        for x in (log_p, log_q)
    ]
    return 0.5 * (parts[0] + parts[1]) * temperature**2


DIVERGENCES: dict[Divergence, Callable[[Tensor, Tensor, float], Tensor]] = {
    "kl_teacher_student": _kl,
    "kl_student_teacher": lambda teacher, student, t: _kl(student, teacher, t),
    "js": _js,
    "l1": lambda teacher, student, _t: (student - teacher).abs().mean(1),
    "mse": lambda teacher, student, _t: (student - teacher).square().mean(1),
}


def divergences(kind: Divergence, teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """How far the student's logits are from the teacher's, image by image.

    Args:
        kind: `kl_teacher_student` is KL(softmax T || softmax S); `l1` and `mse` compare raw logits
            and take no temperature.
        teacher: logits `(N, K)`.
        student: logits `(N, K)`.
        temperature: softens both distributions; the result is scaled by its square (Hinton et al.
            2015), so that gradients keep their size.

    Returns:
        `(N,)`; summed over classes for the divergences of distributions, their mean for the others.
    """
    return DIVERGENCES[kind](teacher, student, temperature)


def divergence(kind: Divergence, teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """The mean over the batch of `divergences`, a scalar."""
    return divergences(kind, teacher, student, temperature).mean()
