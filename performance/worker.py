"""One way of computing a case, in a process of its own: it trains blocks when it is told to."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dfkd_tune.checkpoints import CheckpointStore
from dfkd_tune.classifiers import (
    CompiledPasses,
    build_classifier,
    lay_out,
    tapped_copy,
)
from dfkd_tune.distillation import (
    DistillationConfig,
    Progress,
    State,
    build_generator,
    configuration_hash,
    distil,
)
from dfkd_tune.evaluation import predict_stored
from performance.cases import PLAIN, Case
from performance.device import full_float32, median_seconds, peak_memory_mib
from performance.reference import HookedNetwork, PlainLoop, upsampling_apart

EVALUATED = 512


@dataclass(kw_only=True)
class Block:
    """What a block of epochs came to; its first epoch warms up and is left out of the seconds.

    Args:
        steps: student steps of an epoch.
        images: that passed through training in an epoch.
        seconds: of each epoch.
        cpu: seconds of CPU of each epoch, of all threads of the process.
        synthesis: seconds of it.
        student: seconds of it.
    """

    steps: int
    images: int
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    synthesis: list[float] = field(default_factory=list)
    student: list[float] = field(default_factory=list)

    def count(self, synthesis: float, student: float, total: float) -> None:
        """Take in an epoch after the first."""
        self.synthesis.append(synthesis)
        self.student.append(student)
        self.seconds.append(total)


class Measured:
    """A case in one of its ways.

    Args:
        case: what is computed.
        way: one of `WAYS`.
    """

    def __init__(self, case: Case, way: str) -> None:
        self.case, self.way, self.inputs, self.device = case, way, case.pair.inputs, case.device
        self.config = case.configuration(way)
        self.short = replace(case, epochs=1, iterations=1).configuration(way)

    def _loop(self, config: DistillationConfig, folder: str) -> PlainLoop:
        return PlainLoop(config, self.case.teacher(), self.inputs, Path(folder), self.device)

    def _distil(self, config: DistillationConfig, report: Callable[[Progress], None]) -> None:
        distil(config, self.case.teacher(), self.inputs, device=self.device, report=report)

    def _empty_block(self) -> Block:
        schedule = self.config.schedule
        steps = schedule.student_steps * schedule.iterations_per_epoch
        made = schedule.generator_steps * schedule.iterations_per_epoch
        return Block(steps=steps, images=(steps + made) * schedule.batch_size)

    def block(self) -> Block:
        """Train a block of epochs."""
        return self._plain() if self.way == PLAIN else self._ours()

    def _plain(self) -> Block:
        block = self._empty_block()
        with tempfile.TemporaryDirectory() as folder:
            loop = self._loop(self.config, folder)
            for epoch in range(self.config.schedule.epochs):
                began, used = time.perf_counter(), time.process_time()
                loop.epoch()
                if epoch:
                    block.cpu.append(time.process_time() - used)
                    total = time.perf_counter() - began
                    block.count(loop.seconds["synthesis"], loop.seconds["student"], total)
        return block

    def _ours(self) -> Block:
        block, used = self._empty_block(), [0.0]

        def report(progress: Progress) -> None:
            used.append(time.process_time())
            if progress.epoch > 1:
                block.cpu.append(used[-1] - used[-2])
                seconds = progress.seconds
                block.count(seconds["synthesis"], seconds["student"], seconds["total"])

        self._distil(self.config, report)
        return block

    def losses(self) -> dict[str, float]:
        """Mean of every weighted term over an iteration, the first, in full precision."""
        with full_float32():
            if self.way == PLAIN:
                with tempfile.TemporaryDirectory() as folder:
                    return self._loop(self.short, folder).epoch()
            found: dict[str, float] = {}
            self._distil(self.short, lambda progress: found.update(progress.losses))
            return found

    def operations(self) -> int:
        """Floating point operations of an epoch's networks, forward and backward."""
        counter = FlopCounterMode(display=False)
        if self.way == PLAIN:
            with tempfile.TemporaryDirectory() as folder:
                loop = self._loop(self.short, folder)
                with counter:
                    loop.epoch()
            return self.case.iterations * counter.get_total_flops()
        schedule = self.short.schedule.model_copy(update={"epochs": 2})
        # Compiled or captured it is the same arithmetic, of which the counter would see nothing.
        config = self.short.model_copy(
            update={"schedule": schedule, "compile_teacher": False, "cuda_graphs": False}
        )
        counts: list[int] = []
        with counter:
            self._distil(config, lambda _progress: counts.append(counter.get_total_flops()))
        # All iterations compute the same.
        return self.case.iterations * (counts[1] - counts[0])

    def phases(self) -> dict[str, float]:
        """Median seconds of what a loop does, each by itself."""
        count, device = self.config.schedule.batch_size, self.device
        images = torch.randn(count, *self.inputs.shape, device=device)
        stored = torch.randint(0, 256, (EVALUATED, *self.inputs.shape), dtype=torch.uint8)
        student = build_classifier(self.config.student, self.inputs, 0).to(device).eval()
        generator = build_generator(self.config.generator, self.inputs, 0)
        noise = torch.randn(count, self.config.generator.latent_size, device=device)
        labels = torch.randint(self.inputs.num_classes, (count,), device=device)
        pass_on: Callable[[Tensor], object]
        if self.way == PLAIN:
            upsampling_apart(generator)
            teacher = self.case.teacher().to(device).eval()
            pass_on = HookedNetwork(teacher, self.inputs, statistics=True)
        else:
            lay_out(student)
            copied = tapped_copy(
                self.case.teacher(), self.inputs, device=device, precision=self.config.precision
            )
            pass_on = CompiledPasses(copied) if self.config.compile_teacher else copied
        generator.to(device)
        works: dict[str, Callable[[], object]] = {
            "teacher forward": lambda: pass_on(images),
            "sampling": lambda: generator(noise, labels),
            f"evaluation of {EVALUATED} images": lambda: self._evaluate(student, stored),
        }
        with torch.no_grad():
            found = {name: median_seconds(work, device) for name, work in works.items()}
        with tempfile.TemporaryDirectory() as folder:
            found["checkpoint"] = self._checkpoint(student, generator, Path(folder))
        return found

    def _evaluate(self, student: nn.Module, stored: Tensor) -> None:
        if self.way != PLAIN:
            predict_stored(student, stored, self.inputs)
            return
        mean = torch.tensor(self.inputs.mean, device=self.device).view(-1, 1, 1)
        std = torch.tensor(self.inputs.std, device=self.device).view(-1, 1, 1)
        for batch in torch.split(stored.to(self.device), self.config.schedule.batch_size):
            (student((batch.float() / 255 - mean) / std).argmax(1) == 0).sum().item()

    def _checkpoint(self, student: nn.Module, generator: nn.Module, folder: Path) -> float:
        if self.way == PLAIN:
            state = {"student": student.state_dict(), "generator": generator.state_dict()}
            return median_seconds(lambda: torch.save(state, folder / "state.pt"), self.device)
        store = CheckpointStore(folder, configuration_hash(self.config))
        states: list[State] = []
        self._distil(self.short, lambda progress: states.append(progress.state()))
        return median_seconds(lambda: store.save(1, states[0]), self.device)


def serve(connection: Connection, case: Case, way: str) -> None:
    """Do what is asked for over a connection: block, losses, phases, operations, memory; end.

    Args:
        connection: gives words, takes answers.
        case: what is computed.
        way: one of `WAYS`.
    """
    torch.set_num_threads(case.threads)
    measured = Measured(case, way)
    while True:
        word = connection.recv()
        if word == "end":
            return
        if word == "block":
            connection.send(asdict(measured.block()))
        elif word == "losses":
            connection.send(measured.losses())
        elif word == "phases":
            connection.send(measured.phases())
        elif word == "operations":
            connection.send(measured.operations())
        else:
            connection.send(peak_memory_mib(case.device))
