"""What teacher and student make of images while they come about."""

from typing import Literal

import torch
from torch import Tensor, nn

from dfkd_tune.classifiers import ForwardPass, TappedNetwork, computing_in
from dfkd_tune.distillation._optimisation import adam
from dfkd_tune.distillation.generators import Generator
from dfkd_tune.distillation.terms import Objective, Step


class SynthesisLoss:
    """The generator's objective on a batch of images, with gradients to the images only.

    Args:
        objective: of the generator.
        teacher: frozen.
        student: of now; its weights get no gradient here.
        student_mode: of the student during these passes.
    """

    def __init__(
        self,
        objective: Objective,
        teacher: TappedNetwork,
        student: TappedNetwork,
        student_mode: Literal["train", "eval"],
    ) -> None:
        self.objective, self.teacher, self.student = objective, teacher, student
        self.student_mode = student_mode

    def generate(self, generator: Generator, noise: Tensor, labels: Tensor) -> Tensor:
        """Images `(N, C, H, W)` in float32, computed in the precision of the networks."""
        with computing_in(self.teacher.precision, noise.device):
            images: Tensor = generator(noise, labels)
        return images.float()

    def _ask_teacher(self, images: Tensor) -> ForwardPass:
        needs = self.objective.needs
        return self.teacher(
            images,
            features="teacher_features" in needs,
            statistics="teacher_statistics" in needs,
        )

    def _ask_student(self, images: Tensor) -> ForwardPass | None:
        if "student" not in self.objective.needs:
            return None
        network: nn.Module = self.student.network
        network.train(self.student_mode == "train")
        network.requires_grad_(False)
        passed = self.student(images)
        network.requires_grad_(True)
        return passed

    def __call__(
        self, images: Tensor, labels: Tensor, targets: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor], Step]:
        """The loss of a batch, its weighted summands, and the step for the terms' memories."""
        step = Step(
            images=images,
            labels=labels,
            targets=targets,
            teacher=self._ask_teacher(images),
            student=self._ask_student(images),
            ask_teacher=self._ask_teacher,
        )
        loss, parts = self.objective(step)
        return loss, parts, step


def terms_optimiser(
    objective: Objective, learning_rate: float, betas: tuple[float, float]
) -> torch.optim.Adam | None:
    """Adam over the terms' own weights; None where they have none."""
    trained = objective.trained()
    return adam(trained, learning_rate, betas) if trained else None
