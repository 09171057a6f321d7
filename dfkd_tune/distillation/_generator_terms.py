"""Loss terms of the generator's objective."""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from dfkd_tune.distillation._divergences import Divergence, divergence
from dfkd_tune.distillation._step import Step
from dfkd_tune.distillation._terms import LossTerm, TermSettings, loss_term


class PresetLabel(TermSettings):
    """Cross entropy of the teacher's answer with the preset label.

    Published: that preset labels guide the generator (CGDD v1, abstract). Inferred: the form, the
    weight of 1, no smoothing.
    """

    weight: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)


def preset_label(settings: PresetLabel, step: Step) -> Tensor:
    """CE(T(x), y), mean over the batch (CGDD; methods of the DAFL line use argmax T instead)."""
    return functional.cross_entropy(
        step.teacher.logits, step.labels, label_smoothing=settings.label_smoothing
    )


class BatchNormStatistics(TermSettings):
    """Distance of the images' statistics from those that the teacher's BatchNorm layers keep.

    Published: the un-squared form with biased variance (DFKD-FGVC eq. 3; ADI, CMI). Inferred for
    CGDD: that it is its form of "teacher knowledge", and the weight of 1.
    """

    weight: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    distance: Literal["l2", "l2_squared"] = "l2"
    first_layer_factor: float = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="extra weight of layer 1"
    )


def batch_norm_statistics(settings: BatchNormStatistics, step: Step) -> Tensor:
    """Sum over layers of ||mean - running mean|| + ||variance - running variance||."""
    total = torch.zeros((), device=step.images.device)
    for index, layer in enumerate(step.teacher.statistics):
        parts = [
            torch.linalg.vector_norm(difference)
            for difference in (
                layer.mean - layer.running_mean,
                layer.variance - layer.running_variance,
            )
        ]
        if settings.distance == "l2_squared":
            parts = [part**2 for part in parts]
        total = total + (parts[0] + parts[1]) * (settings.first_layer_factor if index == 0 else 1)
    return total


class Activation(TermSettings):
    """Large penultimate features of the teacher, as real images cause (DAFL, ICCV 2019, eq. 4).

    Inferred for CGDD: off.
    """

    weight: float = Field(default=0.0, ge=0, allow_inf_nan=False)


def activation(_settings: Activation, step: Step) -> Tensor:
    """-mean |f_T(x)|, over batch and features."""
    if step.teacher.penultimate is None:
        raise ValueError("the teacher's pass has no penultimate vector")
    return -step.teacher.penultimate.abs().mean()


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

    Published: that an adversarial framework is used (CGDD v3/v4, abstract; v1 names none).
    Inferred: the divergence, the temperature of 1, a weight of 0 for v1 and 1 for v4.
    """

    weight: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    divergence: Divergence = "kl_teacher_student"
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)


def adversarial(settings: Adversarial, step: Step) -> Tensor:
    """-D(T(x), S(x))."""
    return -divergence(
        settings.divergence,
        step.teacher.logits,
        step.student_pass.logits,
        settings.temperature,
    )


GENERATOR_TERMS: dict[str, LossTerm] = {
    term.name: term
    for term in (
        loss_term("preset_label", PresetLabel, preset_label),
        loss_term(
            "bn_statistics", BatchNormStatistics, batch_norm_statistics, "teacher_statistics"
        ),
        loss_term("activation", Activation, activation, "teacher_features"),
        loss_term("information_entropy", InformationEntropy, information_entropy),
        loss_term("adversarial", Adversarial, adversarial, "student"),
    )
}
