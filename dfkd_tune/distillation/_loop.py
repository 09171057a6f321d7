"""The data-free loop: a teacher in, a student out. It knows no Ray and no data."""

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from dfkd_tune.classifiers import TappedNetwork, build_classifier, channels_last
from dfkd_tune.distillation._collapse import CollapseSigns, CollapseWatch
from dfkd_tune.distillation._config import DistillationConfig
from dfkd_tune.distillation._meter import EpochMeter
from dfkd_tune.distillation._samples import newest_per_class, sample_per_class
from dfkd_tune.distillation._student import StudentTraining
from dfkd_tune.distillation.generators import Generator
from dfkd_tune.distillation.synthesis import (
    ImageBank,
    RoundSynthesis,
    StudentData,
    build_synthesis,
    first_generator,
)
from dfkd_tune.distillation.terms import (
    GENERATOR_TERMS,
    STUDENT_TERMS,
    Objective,
    TermContext,
    objective_needs,
)
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
        collapse: what the collapse watch saw.
        student: the student as it is now.
        generator: the generator as it is now; None where pixels are optimised.
        pictures: makes `(rows, K, C, H, W)` pixels in [0, 1] to look at, `rows` of each class,
            from a seed: of the generator, or the newest of the image bank.
        kept: images of this and earlier epochs `(N, C, H, W)`, normalised, float16, as the collapse
            watch keeps them: a sample of all that the student has seen.
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
    collapse: CollapseSigns
    student: nn.Module
    generator: Generator | None
    pictures: Callable[[int, int], Tensor]
    kept: Tensor
    state: Callable[[], State]


class Evaluate(Protocol):
    """Scores a student; owned by the caller, the only place where real images may be."""

    def __call__(self, student: nn.Module, /) -> Mapping[str, float]:
        """Score the student without changing it or drawing random numbers."""


class _Distillation:
    """Networks, counters and random state of one distillation."""

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
        # What can fail comes before the teacher is touched.
        network = channels_last(build_classifier(config.student, inputs, config.seed).to(device))
        self.generator = first_generator(config, inputs, device)
        precision = config.precision
        student = TappedNetwork(network, inputs, config.student.stages, precision=precision)
        self.teacher = TappedNetwork(teacher, inputs, teacher_stages, precision=precision)
        self.teacher_modes = [(module, module.training) for module in teacher.modules()]
        self.teacher_grads = [(p, p.requires_grad) for p in teacher.parameters()]
        self.student_taps = student
        try:
            self._check_teacher()
            channels_last(teacher.to(device)).eval().requires_grad_(False)
            self.source = torch.Generator(device).manual_seed(config.seed + 2)
            self.host_source = torch.Generator().manual_seed(config.seed + 5)
            self._build(student)
        except BaseException:
            self.close()
            raise
        self.watch = CollapseWatch(config.collapse, inputs, device)
        self.epoch = 0

    def _check_teacher(self) -> None:
        needs = objective_needs(self.config.generator_objective, GENERATOR_TERMS)
        if "teacher_statistics" in needs and not self.teacher.batch_norms:
            raise UsageError(
                "the teacher has no BatchNorm layers, which generator_objective.bn_statistics "
                "needs; set its weight to 0"
            )

    def _build(self, student: TappedNetwork) -> None:
        config = self.config
        context = TermContext(
            teacher=self.teacher.shapes(), student=student.shapes(), source=self.host_source
        )
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(config.seed + 3)
            objectives = [
                Objective("generator", config.generator_objective, GENERATOR_TERMS, context),
                Objective("student", config.student_objective, STUDENT_TERMS, context),
            ]
        for objective in objectives:
            objective.to(self.device)
        bank = None
        if config.image_bank.size:
            # Other images may lie outside the range of pixels.
            within = config.generator.output_head == "sigmoid_normalise"
            pixels = within or config.synthesis.optimise == "pixels"
            bank = ImageBank(config.image_bank.size, self.inputs, self.device, pixels=pixels)
        self.synthesis = build_synthesis(
            config,
            self.inputs,
            self.generator,
            objectives[0],
            self.teacher,
            student,
            bank,
            self.source,
        )
        self.data = StudentData(
            config, self.inputs, self.synthesis, bank, self.source, self.host_source
        )
        self.student = StudentTraining(config, self.teacher, student, objectives[1], self.data)

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
        random = {
            "source": self.source.get_state(),
            "host_source": self.host_source.get_state(),
            "torch": torch.get_rng_state(),
        }
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        # A copy: training goes on in the same tensors.
        return copy.deepcopy(
            {
                "student": self.student.state_dict(),
                "synthesis": self.synthesis.state_dict(),
                "data": self.data.state_dict(),
                "watch": self.watch.state_dict(),
                "random": random,
                "epoch": self.epoch,
            }
        )

    def load(self, state: State) -> None:
        # A copy: the optimisers train in the tensors that they are given.
        state = copy.deepcopy(state)
        try:
            self.student.load_state_dict(state["student"])
            self.synthesis.load_state_dict(state["synthesis"])
            self.data.load_state_dict(state["data"])
            self.watch.load_state_dict(state["watch"])
            self.source.set_state(state["random"]["source"])
            self.host_source.set_state(state["random"]["host_source"])
            torch.set_rng_state(state["random"]["torch"])
            if "cuda" in state["random"]:
                torch.cuda.set_rng_state(state["random"]["cuda"], self.device)
            self.epoch = state["epoch"]
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

    # ---------------------------------------------------------------- epochs

    def stage(self, epoch: int) -> Stage:
        if epoch <= self.schedule.generator_epochs:
            return "generator"
        return "student" if self.schedule.mode == "two_stage" else "alternating"

    def train_epoch(self) -> tuple[Stage, EpochMeter, CollapseSigns]:
        self.epoch += 1
        stage, meter = self.stage(self.epoch), EpochMeter()
        images = torch.empty(0)
        for _ in range(self.schedule.iterations_per_epoch):
            if stage != "student":
                began = time.perf_counter()
                images = self.synthesis.iterate(meter)
                meter.seconds["synthesis"] += time.perf_counter() - began
            if stage != "generator":
                began = time.perf_counter()
                images = self.student.iterate(meter)
                meter.seconds["student"] += time.perf_counter() - began
        losses = meter.losses()
        self.check_finite(losses)
        kd, weight = losses.get("student/kd"), self.config.student_objective.kd.weight
        signs = self.watch.look(
            self.teacher,
            self.student.network,
            images,
            meter.class_entropy(),
            student_trained=stage != "generator",
            kd=None if kd is None else kd / weight,
        )
        return stage, meter, signs

    def check_finite(self, losses: Mapping[str, float]) -> None:
        for name, value in losses.items():
            if not abs(value) < float("inf"):
                raise DivergedError(name, self.epoch)
        for which, network in (("student", self.student.network), ("generator", self.generator)):
            if network is None:
                continue
            finite = [torch.isfinite(p).all() for p in network.parameters()]
            if not bool(torch.stack(finite).all()):
                raise DivergedError(f"{which}'s weights", self.epoch)

    def pictures(self, rows: int, seed: int) -> Tensor:
        if isinstance(self.synthesis, RoundSynthesis):
            return newest_per_class(self.synthesis.bank, rows, self.inputs)
        return sample_per_class(self.synthesis.generator, rows, seed)


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
        CollapsedError: if the synthesis collapsed and `collapse.stop` is set.
        CheckpointError: if `restore` does not fit the configuration.
        UsageError: if the teacher cannot serve the method.
    """
    run = _Distillation(config, teacher, inputs, device or torch.device("cpu"), teacher_stages)
    try:
        if restore is not None:
            run.load(restore)
        began = time.perf_counter()
        while run.epoch < run.schedule.total_epochs:
            stage, meter, signs = run.train_epoch()
            validation: Mapping[str, float] = {}
            last = run.epoch == run.schedule.total_epochs
            if evaluate is not None and (last or run.epoch % evaluate_every == 0):
                evaluated = time.perf_counter()
                run.student.network.eval()
                with torch.no_grad():
                    validation = dict(evaluate(run.student.network))
                meter.seconds["evaluation"] = time.perf_counter() - evaluated
            ended = time.perf_counter()
            seconds = {**meter.seconds, "total": ended - began}
            began = ended
            report(
                Progress(
                    epoch=run.epoch,
                    stage=stage,
                    student_steps=run.student.steps,
                    generator_steps=run.synthesis.steps,
                    losses=meter.losses(),
                    learning_rates={
                        "generator": run.synthesis.learning_rate,
                        "student": run.student.learning_rate,
                    },
                    class_entropy=meter.class_entropy(),
                    validation=validation,
                    seconds=seconds,
                    images=meter.images,
                    collapse=signs,
                    student=run.student.network,
                    generator=run.generator,
                    pictures=run.pictures,
                    kept=run.watch.images,
                    state=run.state,
                )
            )
            run.watch.check(signs, run.epoch)
        return run.student.network.eval()
    finally:
        run.close()
