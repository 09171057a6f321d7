"""Loss terms of the synthesis that are functions of a step."""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from dfkd_tune.distillation.terms._divergences import Divergence, divergences
from dfkd_tune.distillation.terms._step import Step
from dfkd_tune.distillation.terms._term import TermSettings


class PresetLabel(TermSettings):
    """Cross entropy of the teacher's answer with the preset label, or preset distribution.

    Published: that preset labels guide the generator (CGDD v1, abstract); with distributions and a
    temperature of 20, ZSKD (Nayak et al., ICML 2019, eq. 4). Inferred for CGDD: the form, the
    weight of 1, no smoothing.
    """

    weight: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    temperature: float = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="of the teacher's answer"
    )


def preset_label(settings: PresetLabel, step: Step) -> Tensor:
    """CE(T(x) / tau, y), mean over the batch; y is the step's distribution where it has one."""
    wanted = step.labels if step.targets is None else step.targets
    return functional.cross_entropy(
        step.teacher.logits / settings.temperature,
        wanted,
        label_smoothing=settings.label_smoothing,
    )


class PseudoLabel(TermSettings):
    """Images of which the teacher is sure, whatever the class; for generators without labels.

    Published: cross entropy with argmax T (DAFL, ICCV 2019, eq. 3); the mean entropy of each
    answer (DFQ, CVPR-W 2020, "instance categorical entropy").
    """

    weight: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    form: Literal["cross_entropy", "entropy"] = "cross_entropy"


def pseudo_label(settings: PseudoLabel, step: Step) -> Tensor:
    """CE(T(x), argmax T(x)), or the entropy of softmax T(x); mean over the batch."""
    logits = step.teacher.logits
    if settings.form == "cross_entropy":
        return functional.cross_entropy(logits, logits.argmax(1))
    return -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean()


class Activation(TermSettings):
    """Large penultimate features of the teacher, as real images cause (DAFL, ICCV 2019, eq. 4).

    Inferred for CGDD: off.
    """

    weight: float = Field(default=0.0, ge=0, allow_inf_nan=False)


def activation(_settings: Activation, step: Step) -> Tensor:
    """-mean |f_T(x)|, over batch and features."""
    return -step.teacher.penultimate_vector.abs().mean()


class InformationEntropy(TermSettings):
    """Class balance: the entropy of the batch's mean prediction, negated (DAFL, eq. 5).

    DAFL's published weights go with `logarithm: 10`. Inferred for CGDD: off, since uniform preset
    labels balance the classes already.
    """

    weight: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    logarithm: Literal["e", "10"] = "e"


def information_entropy(settings: InformationEntropy, step: Step) -> Tensor:
    """sum_k p_k log p_k, p the mean over the batch of softmax T(x)."""
    mean = step.teacher.logits.softmax(1).mean(0)
    # Clamped: where a probability underflows to 0, x log x has no finite gradient.
    value = (mean * mean.clamp_min(torch.finfo(mean.dtype).tiny).log()).sum()
    return value / math.log(10) if settings.logarithm == "10" else value


class Adversarial(TermSettings):
    """Images on which the student does not follow the teacher yet.

    Published: that an adversarial framework is used (CGDD v3/v4, abstract; v1 names none); KL
    (ZSKT; DFKD-FGVC eq. 10), L1 of the logits (DFAD), Jensen-Shannon (ADI's competition term, eq.
    6, up to a constant); the restriction to images on whose class both agree (CMI). Inferred for
    CGDD: the divergence, the temperature of 1, a weight of 0 for v1 and 1 for v4.
    """

    weight: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    divergence: Divergence = "kl_teacher_student"
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    agreement_only: bool = Field(
        default=False,
        description="only images that teacher and student see as the same class: keeps the "
        "synthesis from leaving what the teacher knows",
    )


def adversarial(settings: Adversarial, step: Step) -> Tensor:
    """-D(T(x), S(x)), mean over the batch; images left out count as 0."""
    teacher, student = step.teacher.logits, step.student_pass.logits
    values = divergences(settings.divergence, teacher, student, settings.temperature)
    if settings.agreement_only:
        values = values * (teacher.argmax(1) == student.argmax(1)).to(values.dtype)
    return -values.mean()


class TotalVariation(TermSettings):
    """Smooth images: neighbouring pixels differ little (DeepInversion, CVPR 2020, eq. 2)."""

    weight: float = Field(default=0.0, ge=0, allow_inf_nan=False)


def neighbour_differences(images: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels; `(N, C, H, W)` to a scalar."""
    rows = (images[:, :, 1:] - images[:, :, :-1]).abs().mean()
    columns = (images[:, :, :, 1:] - images[:, :, :, :-1]).abs().mean()
    return rows + columns


def total_variation(_settings: TotalVariation, step: Step) -> Tensor:
    """Mean absolute difference of neighbouring pixels, along rows and along columns."""
    return neighbour_differences(step.images)


class PixelNorm(TermSettings):
    """Small pixels: the mean square of the normalised image (DeepInversion, eq. 2)."""

    weight: float = Field(default=0.0, ge=0, allow_inf_nan=False)


def pixel_norm(_settings: PixelNorm, step: Step) -> Tensor:
    """Mean over the batch and its pixels of x^2."""
    return step.images.square().mean()
