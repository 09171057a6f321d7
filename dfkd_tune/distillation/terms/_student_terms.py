"""Loss terms of the student that are functions of a step."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from dfkd_tune.distillation.terms._divergences import Divergence, divergence
from dfkd_tune.distillation.terms._stages import paired_stages
from dfkd_tune.distillation.terms._step import NO_LABEL, Step
from dfkd_tune.distillation.terms._term import TermSettings


class KnowledgeDistillation(TermSettings):
    """The student's logits follow the teacher's.

    Published: a conventional distillation loss (CGDD v1, abstract). Inferred: KL(T || S), weight 1
    and temperature 4 (Zagoruyko and Komodakis use 4 beside attention transfer).
    """

    weight: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    divergence: Divergence = "kl_teacher_student"
    temperature: float = Field(default=4.0, gt=0, allow_inf_nan=False)


def knowledge_distillation(settings: KnowledgeDistillation, step: Step) -> Tensor:
    """D(T(x), S(x)) at a temperature, times its square."""
    return divergence(
        settings.divergence, step.teacher.logits, step.student_pass.logits, settings.temperature
    )


class StudentPresetLabel(TermSettings):
    """Direct supervision by the preset label as ground truth.

    Published: that it is used (CGDD v1, abstract). Inferred: the weight, 0.5. The gate, which
    leaves out images that the teacher sees otherwise, is an extension of this project.
    """

    weight: float = Field(default=0.5, ge=0, allow_inf_nan=False)
    gate_by_teacher: bool = False


def student_preset_label(settings: StudentPresetLabel, step: Step) -> Tensor:
    """CE(S(x), y), mean over the images with a label; gated: over those whose argmax T is y."""
    losses = functional.cross_entropy(
        step.student_pass.logits, step.labels, ignore_index=NO_LABEL, reduction="none"
    )
    kept = step.labels != NO_LABEL
    if settings.gate_by_teacher:
        kept = kept & (step.teacher.logits.argmax(1) == step.labels)
    return (losses * kept).sum() / kept.sum().clamp_min(1)


class AttentionTransfer(TermSettings):
    """The student's attention maps follow the teacher's.

    Published: that attention maps are mimicked (CGDD v1, abstract); the map, p = 2, the channel
    mean and the mean squared distance of L2-normalised maps (Zagoruyko and Komodakis 2017, eq. 2
    and their code). Inferred for CGDD: all stages, weight 1000.
    """

    weight: float = Field(default=1000.0, ge=0, allow_inf_nan=False)
    exponent: float = Field(
        default=2.0,
        ge=1,
        allow_inf_nan=False,
        description="p of |A|^p; below 1 has no gradient at 0",
    )
    reduction: Literal["mean", "sum", "max"] = "mean"
    stages: tuple[int, ...] | Literal["all"] = Field(
        default="all", min_length=1, description="indices from 0, largest resolution first"
    )
    distance: Literal["mean_squared", "l2", "l1"] = "mean_squared"


def attention_map(features: Tensor, exponent: float, reduction: str) -> Tensor:
    """The L2-normalised attention map of a feature map.

    Args:
        features: `(N, C, H, W)`.
        exponent: p of |A|^p.
        reduction: over channels: mean, sum or max.

    Returns:
        `(N, H*W)`, each row of unit length.
    """
    powers = features.abs().pow(exponent)
    if reduction == "max":
        reduced = powers.amax(1)
    else:
        reduced = powers.mean(1) if reduction == "mean" else powers.sum(1)
    return functional.normalize(reduced.flatten(1), dim=1)


def attention_transfer(settings: AttentionTransfer, step: Step) -> Tensor:
    """Sum over stages of the distance between attention maps; sizes are matched by interpolation.

    Where the networks have different numbers of stages, they are paired from the deepest up.

    Raises:
        UsageError: if `stages` names one that the networks do not share.
    """
    pairs = paired_stages(
        step.teacher.stages,
        step.student_pass.stages,
        settings.stages,
        "student_objective.attention_transfer.stages",
    )
    total = torch.zeros((), device=step.images.device)
    for t, s in pairs:
        if s.shape[2:] != t.shape[2:]:
            s = functional.interpolate(s, size=t.shape[2:], mode="bilinear", align_corners=False)
        difference = attention_map(s, settings.exponent, settings.reduction) - attention_map(
            t, settings.exponent, settings.reduction
        )
        if settings.distance == "mean_squared":
            total = total + difference.square().mean()
        elif settings.distance == "l1":
            total = total + difference.abs().mean()
        else:
            total = total + torch.linalg.vector_norm(difference, dim=1).mean()
    return total
