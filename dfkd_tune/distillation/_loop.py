"""The data-free loop: a teacher in, a student out. It knows no Ray and no data."""

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from dfkd_tune.classifiers import ForwardPass, TappedNetwork, build_classifier
from dfkd_tune.distillation._config import DistillationConfig
from dfkd_tune.distillation._generator_terms import GENERATOR_TERMS
from dfkd_tune.distillation._generators import Generator, build_generator
from dfkd_tune.distillation._image_bank import ImageBank
from dfkd_tune.distillation._meter import EpochMeter
from dfkd_tune.distillation._objective import Objective
from dfkd_tune.distillation._optimisation import (
    generator_optimiser,
    learning_rate,
    set_learning_rate,
    student_optimiser,
)
from dfkd_tune.distillation._step import Step
from dfkd_tune.distillation._student_terms import STUDENT_TERMS
from dfkd_tune.errors import CheckpointError, DivergedError, UsageError
from dfkd_tune.inputs import InputSpecification

Stage = Literal["generator", "student", "alternating"]
State = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What the loop tells after each epoch.

    Args:
        epoch: epochs done, from 1.
        stage: who trained in it.
        student_steps: since the start; the budget used.
        generator_steps: since the start.
        losses: epoch means of the weighted terms, such as `student/kd`.
        learning_rates: of `generator` and `student` at the epoch's end.
        class_entropy: of the teacher's mean prediction on the epoch's synthetic images, in nats;
            0 where all are of one class, log K where all classes are equally frequent.
        validation: what `evaluate` returned; empty where the epoch was not evaluated.
        seconds: by `synthesis`, `student`, `evaluation`, `total`.
        images: synthetic images that passed through training in the epoch.
        student: the student as it is now.
        generator: the generator as it is now.
        state: makes the whole state, from which `distil` goes on bit for bit.
    """

    epoch: int
    stage: Stage
    student_steps: int
    generator_steps: int
    losses: Mapping[str, float]
    learning_rates: Mapping[str, float]
    class_entropy: float
    validation: Mapping[str, float]
    seconds: Mapping[str, float]
    images: int
    student: nn.Module
    generator: Generator
    state: Callable[[], State]


class Evaluate(Protocol):
    """Scores a student; owned by the caller, the only place where real images may be."""

    def __call__(self, student: nn.Module, /) -> Mapping[str, float]:
        """Score the student without changing it or drawing random numbers."""


class _Distillation:
    """Networks, optimisers, counters and random state of one distillation."""

    def __init__(
        self,
        config: DistillationConfig,
        teacher: nn.Module,
        inputs: InputSpecification,
        device: torch.device,
        teacher_stages: tuple[str, ...],
    ) -> None:
        self.config, self.inputs, self.device = config, inputs, device
        self.schedule = config.schedule
        self.generator_objective = Objective(
            "generator", config.generator_objective, GENERATOR_TERMS
        )
        self.student_objective = Objective("student", config.student_objective, STUDENT_TERMS)
        # What can fail comes before the teacher is touched.
        self.student = build_classifier(config.student, inputs, config.seed).to(device)
        self.generator = build_generator(config.generator, inputs, config.seed + 1).to(device)
        self.student_taps = TappedNetwork(self.student, inputs, config.student.stages)
        self.teacher = TappedNetwork(teacher, inputs, teacher_stages)
        if "teacher_statistics" in self.generator_objective.needs and not self.teacher.batch_norms:
            self.teacher.remove()
            raise UsageError(
                "the teacher has no BatchNorm layers, which generator_objective.bn_statistics "
                "needs; set its weight to 0"
            )
        self.teacher_modes = [(module, module.training) for module in teacher.modules()]
        self.teacher_grads = [(p, p.requires_grad) for p in teacher.parameters()]
        teacher.to(device).eval().requires_grad_(False)
        self.generator_optimiser = generator_optimiser(self.generator, config.generator_optimiser)
        self.student_optimiser = student_optimiser(self.student, config.student_optimiser)
        self.source = torch.Generator(device).manual_seed(config.seed + 2)
        self.bank = (
            ImageBank(config.image_bank.size, inputs, device) if config.image_bank.size else None
        )
        self.epoch = self.student_steps = self.generator_steps = 0

    def close(self) -> None:
        """Give the teacher back as it came."""
        self.teacher.remove()
        self.student_taps.remove()
        for parameter, requires_grad in self.teacher_grads:
            parameter.requires_grad_(requires_grad)
        for module, training in self.teacher_modes:
            module.training = training

    # ---------------------------------------------------------------- state

    def state(self) -> State:
        state: State = {
            "student": self.student.state_dict(),
            "generator": self.generator.state_dict(),
            "student_optimiser": self.student_optimiser.state_dict(),
            "generator_optimiser": self.generator_optimiser.state_dict(),
            "image_bank": self.bank.state_dict() if self.bank else None,
            "random": {"source": self.source.get_state(), "torch": torch.get_rng_state()},
            "epoch": self.epoch,
            "student_steps": self.student_steps,
            "generator_steps": self.generator_steps,
        }
        if self.device.type == "cuda":
            state["random"]["cuda"] = torch.cuda.get_rng_state(self.device)
        # A copy: training goes on in the same tensors.
        return copy.deepcopy(state)

    def load(self, state: State) -> None:
        # A copy: the optimisers train in the tensors that they are given.
        state = copy.deepcopy(state)
        try:
            self.student.load_state_dict(state["student"])
            self.generator.load_state_dict(state["generator"])
            self.student_optimiser.load_state_dict(state["student_optimiser"])
            self.generator_optimiser.load_state_dict(state["generator_optimiser"])
            if self.bank is not None:
                self.bank.load_state_dict(state["image_bank"])
            self.source.set_state(state["random"]["source"])
            torch.set_rng_state(state["random"]["torch"])
            if "cuda" in state["random"]:
                torch.cuda.set_rng_state(state["random"]["cuda"], self.device)
            self.epoch = state["epoch"]
            self.student_steps = state["student_steps"]
            self.generator_steps = state["generator_steps"]
        except (
            AttributeError,
            IndexError,
            KeyError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise CheckpointError(
                f"the checkpoint does not fit the configuration: {reason}"
            ) from error

    # ---------------------------------------------------------------- synthesis

    def _labels(self) -> Tensor:
        count, classes = self.schedule.batch_size, self.inputs.num_classes
        if self.schedule.label_sampling == "balanced":
            order = torch.randperm(count, generator=self.source, device=self.device)
            # Which classes get the surplus changes from batch to batch.
            names = torch.randperm(classes, generator=self.source, device=self.device)
            return names[order % classes]
        return torch.randint(classes, (count,), generator=self.source, device=self.device)

    def _synthesise(self) -> tuple[Tensor, Tensor]:
        labels = self._labels()
        noise = torch.randn(
            len(labels),
            self.config.generator.latent_size,
            generator=self.source,
            device=self.device,
        )
        return self.generator(noise, labels), labels

    # ---------------------------------------------------------------- steps

    def generator_step(self, meter: EpochMeter) -> None:
        config = self.config.generator_optimiser
        total = self._generator_epochs() * self.schedule.iterations_per_epoch
        total *= self.schedule.generator_steps
        rate = learning_rate(config.learning_rate, config.schedule, self.generator_steps, total)
        set_learning_rate(self.generator_optimiser, rate)
        needs = self.generator_objective.needs
        self.generator.train()
        images, labels = self._synthesise()
        teacher = self.teacher(
            images,
            features="teacher_features" in needs,
            statistics="teacher_statistics" in needs,
        )
        student: ForwardPass | None = None
        if "student" in needs:
            self.student.train(self.schedule.student_mode_in_generator_step == "train")
            self.student.requires_grad_(False)
            student = self.student_taps(images)
            self.student.requires_grad_(True)
        step = Step(images=images, labels=labels, teacher=teacher, student=student)
        loss, parts = self.generator_objective(step)
        self.generator_optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.generator_optimiser.step()
        self.generator_steps += 1
        meter.add(parts)
        meter.add_predictions(teacher.logits)
        meter.images += len(labels)

    def _generator_epochs(self) -> int:
        schedule = self.schedule
        return schedule.generator_epochs if schedule.mode == "two_stage" else schedule.total_epochs

    @torch.no_grad()
    def _student_batch(self) -> tuple[Tensor, Tensor]:
        self.generator.train(self.schedule.generator_mode_when_sampling == "train")
        images, labels = self._synthesise()
        if self.bank is None:
            return images, labels
        replayed = round(self.config.image_bank.replay_share * len(labels))
        if self.bank.filled and replayed:
            kept, kept_labels = self.bank.sample(replayed, self.source)
            fresh = len(labels) - replayed
            self.bank.add(images[:fresh], labels[:fresh])
            return torch.cat([images[:fresh], kept]), torch.cat([labels[:fresh], kept_labels])
        self.bank.add(images, labels)
        return images, labels

    def student_step(self, meter: EpochMeter) -> None:
        config, schedule = self.config.student_optimiser, self.schedule
        per_epoch = schedule.iterations_per_epoch * schedule.student_steps
        rate = learning_rate(
            config.learning_rate,
            config.schedule,
            self.student_steps,
            schedule.total_student_steps,
            config.warmup_epochs * per_epoch,
        )
        set_learning_rate(self.student_optimiser, rate)
        images, labels = self._student_batch()
        needs = self.student_objective.needs
        with torch.no_grad():
            teacher = self.teacher(images, features="teacher_features" in needs)
        self.student.train()
        student = self.student_taps(images, features="student_features" in needs)
        step = Step(images=images, labels=labels, teacher=teacher, student=student)
        loss, parts = self.student_objective(step)
        self.student_optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.student_optimiser.step()
        self.student_steps += 1
        meter.add(parts)
        meter.add_predictions(teacher.logits)
        meter.images += len(labels)

    # ---------------------------------------------------------------- epochs

    def stage(self, epoch: int) -> Stage:
        if epoch <= self.schedule.generator_epochs:
            return "generator"
        return "student" if self.schedule.mode == "two_stage" else "alternating"

    def train_epoch(self) -> tuple[Stage, EpochMeter]:
        self.epoch += 1
        stage, meter = self.stage(self.epoch), EpochMeter()
        for _ in range(self.schedule.iterations_per_epoch):
            if stage != "student":
                began = time.perf_counter()
                for _ in range(self.schedule.generator_steps):
                    self.generator_step(meter)
                meter.seconds["synthesis"] += time.perf_counter() - began
            if stage != "generator":
                began = time.perf_counter()
                for _ in range(self.schedule.student_steps):
                    self.student_step(meter)
                meter.seconds["student"] += time.perf_counter() - began
        return stage, meter

    def check_finite(self, losses: Mapping[str, float]) -> None:
        for name, value in losses.items():
            if not abs(value) < float("inf"):
                raise DivergedError(name, self.epoch)
        for which, network in (("student", self.student), ("generator", self.generator)):
            finite = [torch.isfinite(p).all() for p in network.parameters()]
            if not bool(torch.stack(finite).all()):
                raise DivergedError(f"{which}'s weights", self.epoch)


def distil(
    config: DistillationConfig,
    teacher: nn.Module,
    inputs: InputSpecification,
    *,
    device: torch.device | None = None,
    evaluate: Evaluate | None = None,
    evaluate_every: int = 1,
    report: Callable[[Progress], None] = lambda _progress: None,
    restore: State | None = None,
    teacher_stages: tuple[str, ...] = (),
) -> nn.Module:
    """Distil a student from a teacher without any real image.

    Deterministic for a seed on one kind of CPU with one number of threads; a run that goes on from
    a state ends in the same weights, bit for bit, as one never interrupted.

    Args:
        config: method, student, generator and schedule.
        teacher: the frozen classifier; used in evaluation mode, given back unchanged.
        inputs: shape, normalisation and classes of its input.
        device: where to compute; the CPU by default.
        evaluate: scores the student; owned by the caller.
        evaluate_every: epochs between evaluations; the last epoch is always evaluated.
        report: told after each epoch; may raise to end the run.
        restore: state of an earlier run of the same configuration, from `Progress.state`.
        teacher_stages: modules whose outputs are its stages; found by themselves where empty.

    Returns:
        The student, in evaluation mode.

    Raises:
        DivergedError: if a loss or weight became non-finite.
        CheckpointError: if `restore` does not fit the configuration.
        UsageError: if the teacher cannot serve the method.
    """
    run = _Distillation(config, teacher, inputs, device or torch.device("cpu"), teacher_stages)
    try:
        if restore is not None:
            run.load(restore)
        began = time.perf_counter()
        while run.epoch < run.schedule.total_epochs:
            stage, meter = run.train_epoch()
            losses = meter.losses()
            run.check_finite(losses)
            validation: Mapping[str, float] = {}
            last = run.epoch == run.schedule.total_epochs
            if evaluate is not None and (last or run.epoch % evaluate_every == 0):
                evaluated = time.perf_counter()
                run.student.eval()
                with torch.no_grad():
                    validation = dict(evaluate(run.student))
                meter.seconds["evaluation"] = time.perf_counter() - evaluated
            ended = time.perf_counter()
            seconds = {**meter.seconds, "total": ended - began}
            began = ended
            report(
                Progress(
                    epoch=run.epoch,
                    stage=stage,
                    student_steps=run.student_steps,
                    generator_steps=run.generator_steps,
                    losses=losses,
                    learning_rates={
                        "generator": run.generator_optimiser.param_groups[0]["lr"],
                        "student": run.student_optimiser.param_groups[0]["lr"],
                    },
                    class_entropy=meter.class_entropy(),
                    validation=validation,
                    seconds=seconds,
                    images=meter.images,
                    student=run.student,
                    generator=run.generator,
                    state=run.state,
                )
            )
        return run.student.eval()
    finally:
        run.close()
