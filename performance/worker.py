"""One way of computing a case, in a process of its own: it trains blocks when it is told to."""

import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dfkd_tune.checkpoints import CheckpointStore
from dfkd_tune.classifiers import (
    CompiledPasses,
    NetworkConfig,
    build_classifier,
    lay_out,
    tapped_copy,
)
from dfkd_tune.distillation import Progress, build_generator, configuration_hash, distil
from dfkd_tune.evaluation import predict_stored
from performance.cases import PAIRS, PLAIN, Pair, configuration
from performance.reference import HookedNetwork, PlainLoop, upsampling_apart

REPEATS = 5
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


class _Case:
    def __init__(self, pair: Pair, recipe: str, way: str, epochs: int, iterations: int) -> None:
        self.pair, self.way, self.inputs = pair, way, pair.inputs
        self.config = configuration(pair, recipe, way, epochs, iterations)
        self.short = configuration(pair, recipe, way, 1, 1)

    def teacher(self) -> nn.Module:
        """A teacher for one use: hooks that a loop leaves on it would slow the next one."""
        network = NetworkConfig(architecture=self.pair.teacher, width=1.0)
        return build_classifier(network, self.inputs, 1)

    def empty_block(self) -> Block:
        schedule = self.config.schedule
        steps = schedule.student_steps * schedule.iterations_per_epoch
        made = schedule.generator_steps * schedule.iterations_per_epoch
        return Block(steps=steps, images=(steps + made) * schedule.batch_size)

    def block(self) -> Block:
        return self._plain() if self.way == PLAIN else self._ours()

    def _plain(self) -> Block:
        block = self.empty_block()
        with tempfile.TemporaryDirectory() as folder:
            loop = PlainLoop(self.config, self.teacher(), self.inputs, Path(folder))
            for epoch in range(self.config.schedule.epochs):
                began, used = time.perf_counter(), time.process_time()
                loop.epoch()
                if epoch:
                    block.cpu.append(time.process_time() - used)
                    total = time.perf_counter() - began
                    block.count(loop.seconds["synthesis"], loop.seconds["student"], total)
        return block

    def _ours(self) -> Block:
        block, used = self.empty_block(), [0.0]

        def report(progress: Progress) -> None:
            used.append(time.process_time())
            if progress.epoch > 1:
                block.cpu.append(used[-1] - used[-2])
                seconds = progress.seconds
                block.count(seconds["synthesis"], seconds["student"], seconds["total"])

        distil(self.config, self.teacher(), self.inputs, report=report)
        return block

    def losses(self) -> dict[str, float]:
        """Mean of every weighted term over an iteration, the first."""
        if self.way == PLAIN:
            with tempfile.TemporaryDirectory() as folder:
                loop = PlainLoop(self.short, self.teacher(), self.inputs, Path(folder))
                return loop.epoch()
        found: dict[str, float] = {}
        distil(
            self.short,
            self.teacher(),
            self.inputs,
            report=lambda progress: found.update(progress.losses),
        )
        return found

    def operations(self) -> int:
        """Floating point operations of an epoch's networks, forward and backward."""
        counter = FlopCounterMode(display=False)
        if self.way == PLAIN:
            with tempfile.TemporaryDirectory() as folder:
                loop = PlainLoop(self.config, self.teacher(), self.inputs, Path(folder))
                with counter:
                    loop.epoch()
            return counter.get_total_flops()
        schedule = self.config.schedule.model_copy(update={"epochs": 2})
        # Compiled it is the same arithmetic, and the counter's hooks would be compiled as well.
        config = self.config.model_copy(update={"schedule": schedule, "compile_teacher": False})
        counts: list[int] = []
        with counter:
            distil(
                config,
                self.teacher(),
                self.inputs,
                report=lambda _progress: counts.append(counter.get_total_flops()),
            )
        return counts[1] - counts[0]

    def phases(self) -> dict[str, float]:
        """Median seconds of what a loop does, each by itself."""
        count = self.config.schedule.batch_size
        images = torch.randn(count, *self.inputs.shape)
        stored = torch.randint(0, 256, (EVALUATED, *self.inputs.shape), dtype=torch.uint8)
        student = build_classifier(self.config.student, self.inputs, 0).eval()
        generator = build_generator(self.config.generator, self.inputs, 0)
        noise = torch.randn(count, self.config.generator.latent_size)
        labels = torch.randint(self.inputs.num_classes, (count,))
        pass_on: Callable[[Tensor], object]
        if self.way == PLAIN:
            upsampling_apart(generator)
            pass_on = HookedNetwork(self.teacher().eval(), self.inputs, statistics=True)
        else:
            lay_out(student)
            copied = tapped_copy(
                self.teacher(),
                self.inputs,
                device=images.device,
                precision=self.config.precision,
            )
            pass_on = CompiledPasses(copied) if self.config.compile_teacher else copied
        with torch.no_grad():
            found = {
                "teacher forward": _median(lambda: pass_on(images)),
                "sampling": _median(lambda: generator(noise, labels)),
                f"evaluation of {EVALUATED} images": _median(
                    lambda: self._evaluate(student, stored)
                ),
            }
        with tempfile.TemporaryDirectory() as folder:
            found["checkpoint"] = self._checkpoint(student, generator, Path(folder))
        return found

    def _evaluate(self, student: nn.Module, stored: Tensor) -> None:
        if self.way != PLAIN:
            predict_stored(student, stored, self.inputs)
            return
        mean = torch.tensor(self.inputs.mean).view(-1, 1, 1)
        std = torch.tensor(self.inputs.std).view(-1, 1, 1)
        for batch in torch.split(stored, self.config.schedule.batch_size):
            (student((batch.float() / 255 - mean) / std).argmax(1) == 0).sum().item()

    def _checkpoint(self, student: nn.Module, generator: nn.Module, folder: Path) -> float:
        if self.way == PLAIN:
            state = {"student": student.state_dict(), "generator": generator.state_dict()}
            return _median(lambda: torch.save(state, folder / "state.pt"))
        store = CheckpointStore(folder, configuration_hash(self.config))
        states = []
        distil(
            self.short,
            self.teacher(),
            self.inputs,
            report=lambda progress: states.append(progress.state()),
        )
        return _median(lambda: store.save(1, states[0]))


def _median(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def serve(
    connection: Connection,
    pair: str,
    recipe: str,
    way: str,
    epochs: int,
    iterations: int,
    threads: int,
) -> None:
    """Do what is asked for over a connection: block, losses, phases, operations, memory; end.

    Args:
        connection: gives words, takes answers.
        pair: name of a pair.
        recipe: name of a method.
        way: one of `WAYS`.
        epochs: of a block.
        iterations: of an epoch.
        threads: of PyTorch.
    """
    torch.set_num_threads(threads)
    case = _Case(PAIRS[pair], recipe, way, epochs, iterations)
    while True:
        word = connection.recv()
        if word == "end":
            return
        if word == "block":
            connection.send(asdict(case.block()))
        elif word == "losses":
            connection.send(case.losses())
        elif word == "phases":
            connection.send(case.phases())
        elif word == "operations":
            connection.send(case.operations())
        else:
            connection.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
