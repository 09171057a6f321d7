"""Semantic feature contrast (DFKD-FGVC, ICCV 2023, eq. 8 and 9)."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from dfkd_tune.distillation.terms._step import Step
from dfkd_tune.distillation.terms._term import TermContext, TermModule, TermSettings, known


class SemanticContrast(TermSettings):
    """The student's feature of an image is nearer to the teacher's than that of any other image.

    Published: teacher features as anchors, the student's of the same image as positive, the other
    2(N - 1) of the batch as negatives, an MLP with two hidden layers before it, cosine similarity,
    weight 8. Inferred: the temperature of 0.07 and the symmetric mode as an option (CPSC-DFKD, of
    the same author), the MLP's width of 512 and output of 128 (SimCLR's habit), that one MLP serves
    both networks (eq. 8 writes one letter for it), and the BatchNorm behind its hidden layers.
    Without that the loss ends on a plateau: what all features have in common outweighs in what they
    differ, the MLP sends every image into one direction, the loss is log(2N - 1) and stays there.
    """

    weight: float = Field(default=8.0, ge=0, allow_inf_nan=False)
    temperature: float = Field(default=0.07, gt=0, allow_inf_nan=False)
    anchors: Literal["teacher", "symmetric"] = Field(
        default="teacher", description="symmetric: every feature is an anchor once"
    )
    head: Literal["separate", "shared"] = Field(
        default="shared",
        description="shared: one MLP for both, behind a linear map of the student to the "
        "teacher's width where they differ",
    )
    hidden_norm: Literal["batch", "none"] = Field(
        default="batch",
        description="BatchNorm behind each hidden layer, over each network's features by "
        "themselves; without it the MLP can send all images into one direction",
    )
    hidden_layers: int = Field(default=2, ge=1, le=3)
    hidden_width: int = Field(default=512, ge=1)
    output_width: int = Field(default=128, ge=2)


def _mlp(settings: SemanticContrast, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(settings.hidden_layers):
        layers.append(nn.Linear(width, settings.hidden_width))
        if settings.hidden_norm == "batch":
            layers.append(nn.BatchNorm1d(settings.hidden_width))
        layers.append(nn.ReLU())
        width = settings.hidden_width
    return nn.Sequential(*layers, nn.Linear(width, settings.output_width))


def contrast(anchors: Tensor, positives: Tensor, temperature: float) -> Tensor:
    """Normalised-temperature cross entropy with the batch's other features as negatives.

    Args:
        anchors: `(N, D)`, of unit length.
        positives: `(N, D)`, of unit length; row i goes with anchor i.
        temperature: divides the similarities.

    Returns:
        A scalar: the mean over anchors of -log of the positive's share among the 2N - 1 features
        other than the anchor itself (eq. 9).
    """
    to_positives = anchors @ positives.T / temperature
    to_anchors = anchors @ anchors.T / temperature
    itself = torch.eye(len(anchors), dtype=torch.bool, device=anchors.device)
    to_anchors = to_anchors.masked_fill(itself, float("-inf"))
    wanted = torch.arange(len(anchors), device=anchors.device)
    return functional.cross_entropy(torch.cat([to_positives, to_anchors], dim=1), wanted)


class SemanticContrastTerm(TermModule):
    """Contrast of the penultimate features of teacher and student.

    Args:
        settings: of the term.
        context: lengths of the penultimate vectors.
    """

    def __init__(self, settings: SemanticContrast, context: TermContext | None) -> None:
        super().__init__()
        self.settings = settings
        teacher = known(context).teacher.penultimate
        student = known(context).student.penultimate
        self.of_teacher = _mlp(settings, teacher)
        self.of_student: nn.Module
        if settings.head == "separate":
            self.of_student = _mlp(settings, student)
        else:
            lift = nn.Identity() if student == teacher else nn.Linear(student, teacher, bias=False)
            self.of_student = nn.Sequential(lift, self.of_teacher)

    def forward(self, step: Step) -> Tensor:
        """The contrast of a batch."""
        teacher = self.of_teacher(step.teacher.penultimate_vector)
        student = self.of_student(step.student_pass.penultimate_vector)
        teacher, student = functional.normalize(teacher), functional.normalize(student)
        temperature = self.settings.temperature
        loss = contrast(teacher, student, temperature)
        if self.settings.anchors == "symmetric":
            loss = (loss + contrast(student, teacher, temperature)) / 2
        return loss
