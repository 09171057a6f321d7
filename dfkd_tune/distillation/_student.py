"""The student's side: its steps on synthetic batches."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dfkd_tune.classifiers import ForwardPass, TappedNetwork
from dfkd_tune.distillation._config import DistillationConfig
from dfkd_tune.distillation._meter import EpochMeter
from dfkd_tune.distillation._optimisation import (
    learning_rate,
    set_learning_rate,
    student_optimiser,
)
from dfkd_tune.distillation.synthesis import Batch, StudentData
from dfkd_tune.distillation.terms import Objective, Step


class StudentTraining:
    """Trains the student, and the weights of its loss terms, on synthetic batches.

    Args:
        config: of the distillation.
        teacher: frozen.
        student: trained in place.
        objective: of the student.
        data: gives the batches.
    """

    def __init__(
        self,
        config: DistillationConfig,
        teacher: TappedNetwork,
        student: TappedNetwork,
        objective: Objective,
        data: StudentData,
    ) -> None:
        self.config, self.teacher, self.taps = config, teacher, student
        self.network, self.objective, self.data = student.network, objective, data
        self.trained = [*self.network.parameters(), *objective.trained()]
        self.optimiser = student_optimiser(self.trained, config.student_optimiser)
        self.steps = 0
        self._taught: tuple[Batch, ForwardPass] | None = None

    @property
    def learning_rate(self) -> float:
        """Of the student, now."""
        return float(self.optimiser.param_groups[0]["lr"])

    def iterate(self, meter: EpochMeter) -> Tensor:
        """Do one iteration's steps; gives the last batch's images."""
        self.data.begin_iteration()
        images = torch.empty(0)
        for _ in range(self.config.schedule.student_steps):
            images = self._step(meter)
        self._taught = None
        return images

    def _step(self, meter: EpochMeter) -> Tensor:
        config, schedule = self.config.student_optimiser, self.config.schedule
        per_epoch = schedule.iterations_per_epoch * schedule.student_steps
        rate = learning_rate(
            config.learning_rate,
            config.schedule,
            self.steps,
            schedule.total_student_steps,
            config.warmup_epochs * per_epoch,
            config.milestones,
        )
        set_learning_rate(self.optimiser, rate)
        batch = self.data.next()
        teacher, needs = self._teacher_pass(batch), self.objective.needs
        self.network.train()
        student = self.taps(batch.images, features="student_features" in needs)
        step = Step(images=batch.images, labels=batch.labels, teacher=teacher, student=student)
        loss, parts = self.objective(step)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if config.gradient_clip > 0:
            torch.nn.utils.clip_grad_norm_(self.trained, config.gradient_clip)
        self.optimiser.step()
        self.steps += 1
        meter.add(parts)
        meter.add_predictions(teacher.logits)
        meter.images += len(batch)
        return batch.images

    @torch.no_grad()
    def _teacher_pass(self, batch: Batch) -> ForwardPass:
        """The teacher's pass on a batch; made once where steps share the batch."""
        if self._taught is None or self._taught[0] is not batch:
            features = "teacher_features" in self.objective.needs
            self._taught = (batch, self.teacher(batch.images, features=features))
        return self._taught[1]

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs to go on; tensors are those in use."""
        return {
            "network": self.network.state_dict(),
            "objective": self.objective.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, whose tensors become those in use."""
        self.network.load_state_dict(state["network"])
        self.objective.load_state_dict(state["objective"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.steps = state["steps"]
