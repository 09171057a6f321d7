"""Networks, counters and random state of a distillation, of one student or of several."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dfkd_tune.classifiers import (
    CompiledPasses,
    ForwardPass,
    TappedNetwork,
    build_classifier,
    lay_out,
    tapped_copy,
)
from dfkd_tune.distillation._collapse import CollapseSigns, CollapseWatch
from dfkd_tune.distillation._config import DistillationConfig
from dfkd_tune.distillation._cuda_graphs import CudaCapture, ReplayedPasses
from dfkd_tune.distillation._meter import EpochMeter
from dfkd_tune.distillation._progress import Stage, State
from dfkd_tune.distillation._samples import newest_per_class, sample_per_class
from dfkd_tune.distillation._student import StudentBatches, StudentTraining
from dfkd_tune.distillation.synthesis import (
    Batch,
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


@dataclass
class Member:
    """One student of a distillation.

    Args:
        index: among all that began.
        config: its own; with the others it shares all but the student's side.
        student: its training.
        watch: looks for a collapse.
        meter: of its own terms and seconds in the epoch.
    """

    index: int
    config: DistillationConfig
    student: StudentTraining
    watch: CollapseWatch
    meter: EpochMeter


Leave = Callable[[Member, Exception], None]
"""Hears of a member that an error has ended; may raise, which ends them all."""


def _on_cpu(value: Any) -> Any:
    """A copy whose tensors are on the CPU: where a checkpoint is written from, at any time."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        # Of the same kind and with its attributes, as a network's state has them.
        copied = copy.copy(value)
        copied.update({key: _on_cpu(each) for key, each in value.items()})
        return copied
    if isinstance(value, list | tuple):
        return type(value)(_on_cpu(each) for each in value)
    return copy.deepcopy(value)


class Distillation:
    """A distillation of one student, or of several that share teacher and images.

    Args:
        configs: of each student.
        teacher: given back unchanged by `close`.
        inputs: shape, normalisation and classes of its input.
        device: where to compute.
        teacher_stages: modules whose outputs are its stages; found by themselves where empty.
        leave: hears of students that an error has ended.

    Raises:
        UsageError: if the teacher cannot serve the method.
    """

    def __init__(
        self,
        configs: Sequence[DistillationConfig],
        teacher: nn.Module,
        inputs: InputSpecification,
        device: torch.device,
        teacher_stages: tuple[str, ...],
        leave: Leave,
    ) -> None:
        # What is shared is the same in all.
        self.config, self.inputs, self.device, self.leave = configs[0], inputs, device, leave
        self.schedule = self.config.schedule
        # What can fail comes before the teacher is touched.
        precision = self.config.precision
        networks = [
            lay_out(build_classifier(config.student, inputs, config.seed).to(device))
            for config in configs
        ]
        self.generator = first_generator(self.config, inputs, device)
        self.taps = [
            TappedNetwork(network, inputs, config.student.stages, precision=precision)
            for network, config in zip(networks, configs, strict=True)
        ]
        # Of the teacher as it comes, without the taps of its own.
        self.answering = tapped_copy(
            teacher, inputs, teacher_stages, device=device, precision=precision
        )
        self.teacher = TappedNetwork(teacher, inputs, teacher_stages, precision=precision)
        self.teacher_modes = [(module, module.training) for module in teacher.modules()]
        self.teacher_grads = [(p, p.requires_grad) for p in teacher.parameters()]
        try:
            self._check_teacher()
            lay_out(teacher.to(device)).eval().requires_grad_(False)
            self.source = torch.Generator(device).manual_seed(self.config.seed + 2)
            self.host_source = torch.Generator().manual_seed(self.config.seed + 5)
            self._build(configs)
        except BaseException:
            self.close()
            raise
        self.meter = EpochMeter(self.device)
        self.epoch = 0

    def _check_teacher(self) -> None:
        needs = objective_needs(self.config.generator_objective, GENERATOR_TERMS)
        if "teacher_statistics" in needs and not self.teacher.batch_norms:
            raise UsageError(
                "the teacher has no BatchNorm layers, which generator_objective.bn_statistics "
                "needs; set its weight to 0"
            )

    def _objectives(self, config: DistillationConfig, taps: TappedNetwork) -> list[Objective]:
        """Of generator and student; the weights of the one come before those of the other."""
        context = TermContext(
            teacher=self.teacher.shapes(), student=taps.shapes(), source=self.host_source
        )
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(config.seed + 3)
            objectives = [
                Objective("generator", config.generator_objective, GENERATOR_TERMS, context),
                Objective("student", config.student_objective, STUDENT_TERMS, context),
            ]
        for objective in objectives:
            objective.to(self.device)
        return objectives

    def _build(self, configs: Sequence[DistillationConfig]) -> None:
        config = self.config
        made = [self._objectives(*each) for each in zip(configs, self.taps, strict=True)]
        capture = CudaCapture(self.device) if config.cuda_graphs else None
        answers = CompiledPasses(self.answering) if config.compile_teacher else self.answering
        self.answers = answers if capture is None else ReplayedPasses(answers, capture)
        bank = None
        if config.image_bank.size:
            # Other images may lie outside the range of pixels.
            within = config.generator.output_head == "sigmoid_normalise"
            pixels = within or config.synthesis.optimise == "pixels"
            bank = ImageBank(
                config.image_bank.size,
                self.inputs,
                self.device,
                pixels=pixels,
                ask=self._logits if config.image_bank.keep_answers else None,
            )
        self.synthesis = build_synthesis(
            config,
            self.inputs,
            self.generator,
            made[0][0],
            self.teacher,
            # Several share images only where no term looks at a student.
            self.taps[0],
            bank,
            self.source,
            capture,
        )
        self.data = StudentData(
            config, self.inputs, self.synthesis, bank, self.source, self.host_source
        )
        needs = frozenset().union(*(student.needs for _, student in made))
        self.batches = StudentBatches(self.data, self.answers, features="teacher_features" in needs)
        self.members = [
            Member(
                index,
                config,
                StudentTraining(config, taps, objective, capture),
                CollapseWatch(config.collapse, self.inputs, self.device),
                EpochMeter(self.device),
            )
            for index, (config, taps, (_, objective)) in enumerate(
                zip(configs, self.taps, made, strict=True)
            )
        ]

    @torch.no_grad()
    def _logits(self, images: Tensor) -> Tensor:
        return self.answers(images).logits

    def close(self) -> None:
        """Give the teacher back as it came."""
        for taps in (self.teacher, self.answering, *self.taps):
            taps.remove()
        for parameter, requires_grad in self.teacher_grads:
            parameter.requires_grad_(requires_grad)
        for module, training in self.teacher_modes:
            module.training = training

    # ---------------------------------------------------------------- state

    def state(self, member: Member) -> State:
        """A student's whole state: that of a distillation of this student alone."""
        random = {
            "source": self.source.get_state(),
            "host_source": self.host_source.get_state(),
            "torch": torch.get_rng_state(),
        }
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        # A copy: training goes on in the same tensors.
        copied: State = _on_cpu(
            {
                "student": member.student.state_dict(),
                "synthesis": self.synthesis.state_dict(),
                "data": self.data.state_dict(),
                "watch": member.watch.state_dict(),
                "random": random,
                "epoch": self.epoch,
            }
        )
        return copied

    def load(self, states: Sequence[State]) -> None:
        """Go on from a state of each student, all after the same epoch.

        Raises:
            CheckpointError: if one does not fit.
        """
        for member, given in zip(self.members, states, strict=True):
            # A copy: the optimisers train in the tensors that they are given.
            state = copy.deepcopy(given)
            try:
                self._load(member, state)
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

    def _load(self, member: Member, state: State) -> None:
        member.student.load_state_dict(state["student"])
        member.watch.load_state_dict(state["watch"])
        # The rest is the same in the states of all.
        if member.index > 0:
            return
        self.synthesis.load_state_dict(state["synthesis"])
        self.data.load_state_dict(state["data"])
        self.source.set_state(state["random"]["source"])
        self.host_source.set_state(state["random"]["host_source"])
        torch.set_rng_state(state["random"]["torch"])
        if "cuda" in state["random"]:
            torch.cuda.set_rng_state(state["random"]["cuda"], self.device)
        self.epoch = state["epoch"]

    # ---------------------------------------------------------------- epochs

    def _stage(self) -> Stage:
        if self.epoch <= self.schedule.generator_epochs:
            return "generator"
        return "student" if self.schedule.mode == "two_stage" else "alternating"

    def train_epoch(self) -> tuple[Stage, Tensor]:
        """Train an epoch; gives its stage and the last images."""
        self.epoch += 1
        stage, images = self._stage(), torch.empty(0)
        self.meter = EpochMeter(self.device)
        for member in self.members:
            member.meter = EpochMeter(self.device)
        for _ in range(self.schedule.iterations_per_epoch):
            if stage != "student":
                with self.meter.timing("synthesis"):
                    images = self.synthesis.iterate(self.meter)
            if stage != "generator":
                steps = self.schedule.student_steps
                images = self.batches.iterate(steps, self.meter, self._train_students)
        if self.device.type == "cuda":
            # What comes next is timed by the host.
            torch.cuda.synchronize(self.device)
        return stage, images

    def _train_students(self, batch: Batch, teacher: ForwardPass) -> None:
        for member in tuple(self.members):
            with self.surviving(member):
                member.student.step(batch, teacher, member.meter)

    @contextmanager
    def surviving(self, member: Member) -> Iterator[None]:
        """What ends a student in this context ends no other."""
        try:
            yield
        except Exception as error:
            self.leave(member, error)
            self.members.remove(member)

    def losses(self, member: Member) -> Mapping[str, float]:
        """Epoch means of the weighted terms of the generator and of a student."""
        return {**self.meter.losses(), **member.meter.losses()}

    def look(self, member: Member, stage: Stage, images: Tensor) -> CollapseSigns:
        """Check a student's epoch, and watch for a collapse.

        Raises:
            DivergedError: if a loss or weight became non-finite.
        """
        losses = self.losses(member)
        self._check_finite(member, losses)
        kd, weight = losses.get("student/kd"), member.config.student_objective.kd.weight
        return member.watch.look(
            self.teacher,
            member.student.network,
            images,
            self.meter.class_entropy(),
            student_trained=stage != "generator",
            kd=None if kd is None else kd / weight,
        )

    def _check_finite(self, member: Member, losses: Mapping[str, float]) -> None:
        for name, value in losses.items():
            if not abs(value) < float("inf"):
                raise DivergedError(name, self.epoch)
        checked = (("student", member.student.network), ("generator", self.generator))
        for which, network in checked:
            if network is None:
                continue
            finite = [torch.isfinite(p).all() for p in network.parameters()]
            if not bool(torch.stack(finite).all()):
                raise DivergedError(f"{which}'s weights", self.epoch)

    def pictures(self, rows: int, seed: int) -> Tensor:
        """Images to look at: `(rows, K, C, H, W)`, pixels in [0, 1]."""
        if isinstance(self.synthesis, RoundSynthesis):
            return newest_per_class(self.synthesis.bank, rows, self.inputs)
        return sample_per_class(self.synthesis.generator, rows, seed)
