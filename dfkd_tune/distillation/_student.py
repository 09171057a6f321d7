"""The student's side: its steps on synthetic batches."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from dfkd_tune.classifiers import CompiledPasses, ForwardPass, TappedNetwork
from dfkd_tune.distillation._config import DistillationConfig
from dfkd_tune.distillation._cuda_graphs import (
    Capture,
    ReplayedPasses,
    ReplayedWork,
    Work,
    flattened,
    gathered,
)
from dfkd_tune.distillation._meter import EpochMeter
from dfkd_tune.distillation._optimisation import (
    learning_rate,
    load_optimiser,
    make_capturable,
    optimiser_state,
    set_learning_rate,
    student_optimiser,
)
from dfkd_tune.distillation.synthesis import Batch, StudentData
from dfkd_tune.distillation.terms import Objective, Step


class StudentTraining:
    """Trains the student, and the weights of its loss terms, on batches and the teacher's answers.

    Args:
        config: of the distillation.
        student: trained in place.
        objective: of the student.
        capture: of the device, if steps are to be captured and replayed.
    """

    def __init__(
        self,
        config: DistillationConfig,
        student: TappedNetwork,
        objective: Objective,
        capture: Capture | None = None,
    ) -> None:
        self.config, self.taps = config, student
        self.network, self.objective = student.network, objective
        self.trained = [*self.network.parameters(), *objective.trained()]
        self.optimiser = student_optimiser(self.trained, config.student_optimiser)
        self.steps = 0
        self._update: Work = self._updated
        if capture is not None and objective.can_be_replayed:
            make_capturable(self.optimiser, self.trained[0].device)
            self._update = ReplayedWork(self._update, capture)

    @property
    def learning_rate(self) -> float:
        """Of the student, now."""
        return float(self.optimiser.param_groups[0]["lr"])

    def step(self, batch: Batch, teacher: ForwardPass, meter: EpochMeter) -> None:
        """Do one step.

        Args:
            batch: synthetic images and their labels.
            teacher: its pass on them, with features where the objective needs them.
            meter: of the epoch; counts the terms and the seconds.
        """
        with meter.timing("student"):
            parts = self._step(batch, teacher)
        meter.add(dict(zip(self.objective.names, parts, strict=True)))

    def _step(self, batch: Batch, teacher: ForwardPass) -> tuple[Tensor, ...]:
        """A step at the learning rate that is due; gives the loss's summands."""
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
        self.network.train()
        parts = self._update(batch.images, batch.labels, *flattened(teacher))
        self.steps += 1
        return parts

    def _updated(self, images: Tensor, labels: Tensor, *teacher: Tensor) -> tuple[Tensor, ...]:
        """A step on a batch and the teacher's flattened pass on it; gives the loss's summands."""
        student = self.taps(images, features="student_features" in self.objective.needs)
        step = Step(images=images, labels=labels, teacher=gathered(teacher), student=student)
        loss, parts = self.objective(step)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if self.config.student_optimiser.gradient_clip > 0:
            largest = self.config.student_optimiser.gradient_clip
            torch.nn.utils.clip_grad_norm_(self.trained, largest)
        self.optimiser.step()
        return tuple(parts.values())

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs to go on; tensors are those in use."""
        return {
            "network": self.network.state_dict(),
            "objective": self.objective.state_dict(),
            "optimiser": optimiser_state(self.optimiser),
            "steps": self.steps,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, whose tensors become those in use."""
        self.network.load_state_dict(state["network"])
        self.objective.load_state_dict(state["objective"])
        load_optimiser(self.optimiser, state["optimiser"])
        self.steps = state["steps"]


class StudentBatches:
    """What students train on: batches, and what the teacher makes of each.

    Args:
        data: gives the batches.
        teacher: frozen.
        features: whether a student's objective needs the teacher's.
    """

    def __init__(
        self,
        data: StudentData,
        teacher: TappedNetwork | CompiledPasses | ReplayedPasses,
        *,
        features: bool,
    ) -> None:
        self.data, self.teacher, self.features = data, teacher, features
        self._last: tuple[Batch, ForwardPass] | None = None

    def iterate(
        self, steps: int, meter: EpochMeter, train: Callable[[Batch, ForwardPass], None]
    ) -> Tensor:
        """Do one iteration's steps.

        Args:
            steps: of the iteration.
            meter: of the epoch; counts the teacher's answers and the seconds until they are there.
            train: does a step with a batch and the teacher's pass on it.

        Returns:
            The last batch's images.
        """
        self.data.begin_iteration()
        images = torch.empty(0)
        for _ in range(steps):
            with meter.timing("student"):
                batch = self.data.next()
                teacher = self._taught(batch)
                meter.add_predictions(teacher.logits)
            meter.images += len(batch)
            train(batch, teacher)
            images = batch.images
        self._last = None
        return images

    @torch.no_grad()
    def _taught(self, batch: Batch) -> ForwardPass:
        """The teacher's pass on a batch; made once where steps share it, or where it is kept."""
        if batch.answers is not None:
            return ForwardPass(logits=batch.answers)
        if self._last is None or self._last[0] is not batch:
            self._last = (batch, self.teacher(batch.images, features=self.features))
        return self._last[1]
