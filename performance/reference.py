"""A plain data-free loop, written in the manner of public code, for comparison only.

Statistics hooks are always on, the teacher's weights have gradients, every step's loss and accuracy
are fetched to the host, images lie channels first, and where a method keeps images they are PNG
files that fresh worker processes read in every round. Its random numbers are drawn in the order of
`dfkd_tune.distillation`, so that both give the same losses.
"""

import copy
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from dfkd_tune.classifiers import (
    BatchStatistics,
    ForwardPass,
    TappedNetwork,
    build_classifier,
    random_crops,
    random_flips,
)
from dfkd_tune.distillation import DistillationConfig, Generator, build_generator, learning_rate
from dfkd_tune.distillation.generators import UpsampledConvolution
from dfkd_tune.distillation.terms import (
    GENERATOR_TERMS,
    STUDENT_TERMS,
    Objective,
    Step,
    TermContext,
)
from dfkd_tune.inputs import InputSpecification

WORKERS = 2


class HookedNetwork:
    """A network whose hooks keep features in every pass, and compute BatchNorm statistics.

    Args:
        network: with any number of BatchNorm layers.
        inputs: shape and classes of its input.
        statistics: of the teacher; public code has no such hooks on the student.
    """

    def __init__(self, network: nn.Module, inputs: InputSpecification, *, statistics: bool) -> None:
        self.network = network
        taps = TappedNetwork(network, inputs)
        self.shapes = taps.shapes()
        names, last, norms = taps.stage_names, taps.penultimate_name, taps.batch_norms
        taps.remove()
        self.stages: dict[str, Tensor] = {}
        self.penultimate = torch.empty(0)
        self.statistics: list[BatchStatistics] = []
        modules = dict(network.named_modules())
        for name in names:
            modules[name].register_forward_hook(self._keep(name))
        modules[last].register_forward_pre_hook(self._keep_input)
        for layer in norms if statistics else ():
            layer.register_forward_pre_hook(self._measure)

    def _keep(self, name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: Any, output: Tensor) -> None:
            self.stages[name] = output

        return hook

    def _keep_input(self, _module: nn.Module, args: tuple[Tensor, ...]) -> None:
        self.penultimate = args[0].flatten(1)

    def _measure(self, layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        x = args[0]
        channels = x.shape[1]
        mean = x.mean([0, 2, 3])
        variance = x.permute(1, 0, 2, 3).contiguous().view(channels, -1).var(1, unbiased=False)
        assert isinstance(layer, nn.BatchNorm2d)
        assert layer.running_mean is not None
        assert layer.running_var is not None
        self.statistics.append(
            BatchStatistics(
                mean=mean,
                variance=variance,
                running_mean=layer.running_mean,
                running_variance=layer.running_var,
            )
        )

    def __call__(self, images: Tensor) -> ForwardPass:
        """Run the network."""
        self.stages, self.statistics = {}, []
        logits = self.network(images)
        return ForwardPass(
            logits=logits,
            stages=tuple(self.stages.values()),
            penultimate=self.penultimate,
            statistics=tuple(self.statistics),
        )


def upsampling_apart(generator: Generator) -> Generator:
    """Have a generator make the upsampled maps that this project's does without, in place.

    Args:
        generator: any; its weights stay the same ones.
    """
    for index, layer in enumerate(generator.convs):
        if isinstance(layer, UpsampledConvolution):
            conv = nn.Conv2d(layer.in_channels, layer.out_channels, 3, padding=1)
            conv.weight, conv.bias = layer.weight, layer.bias
            generator.convs[index] = nn.Sequential(nn.Upsample(scale_factor=2), conv)
    return generator


class PngFiles(Dataset[tuple[Tensor, int]]):
    """Kept images as PNG files, one per image, named by number and label."""

    def __init__(self, files: list[tuple[Path, int]], inputs: InputSpecification) -> None:
        self.files, self.inputs = files, inputs

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Read an image, normalised."""
        path, label = self.files[index]
        with Image.open(path) as image:
            pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        mean = torch.tensor(self.inputs.mean).view(-1, 1, 1)
        std = torch.tensor(self.inputs.std).view(-1, 1, 1)
        return (pixels - mean) / std, label


class PlainLoop:
    """The loop.

    Args:
        config: of a stream, or of rounds with a meta-learned generator.
        teacher: trained.
        inputs: shape and normalisation.
        folder: for PNG files.
        device: where to compute; the CPU by default.
    """

    def __init__(
        self,
        config: DistillationConfig,
        teacher: nn.Module,
        inputs: InputSpecification,
        folder: Path,
        device: torch.device | None = None,
    ) -> None:
        self.config, self.inputs, self.folder = config, inputs, folder
        self.device = device = device or torch.device("cpu")
        self.teacher = HookedNetwork(teacher.to(device).eval(), inputs, statistics=True)
        student = build_classifier(config.student, inputs, config.seed).to(device)
        self.student = HookedNetwork(student, inputs, statistics=False)
        self.generator = upsampling_apart(
            build_generator(config.generator, inputs, config.seed + 1)
        ).to(device)
        self.source = torch.Generator(device).manual_seed(config.seed + 2)
        self.host_source = torch.Generator().manual_seed(config.seed + 5)
        context = TermContext(
            teacher=self.teacher.shapes, student=self.student.shapes, source=self.host_source
        )
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(config.seed + 3)
            self.generator_objective = Objective(
                "generator", config.generator_objective, GENERATOR_TERMS, context
            )
            self.student_objective = Objective(
                "student", config.student_objective, STUDENT_TERMS, context
            )
        self.generator_objective.to(device)
        self.student_objective.to(device)
        made = config.generator_optimiser
        self.betas = (made.beta1, made.beta2)
        rate = made.learning_rate * (config.schedule.generator_steps if self.rounds else 1)
        self.generator_optimiser = torch.optim.Adam(
            self.generator.parameters(), lr=rate, betas=self.betas
        )
        trained = config.student_optimiser
        weights = [*self.student.network.parameters(), *self.student_objective.trained()]
        self.student_optimiser = torch.optim.SGD(
            weights,
            lr=trained.learning_rate,
            momentum=trained.momentum,
            weight_decay=trained.weight_decay,
        )
        self.files: list[tuple[Path, int]] = []
        self.student_steps = 0
        self.losses: dict[str, list[float]] = {}
        self.running_loss = self.running_accuracy = 0.0
        self.seconds = {"synthesis": 0.0, "student": 0.0}

    @property
    def rounds(self) -> bool:
        """Whether images come about in rounds."""
        return self.config.synthesis.kind == "rounds"

    def epoch(self) -> dict[str, float]:
        """Train an epoch; gives the mean of every weighted term."""
        self.losses, self.seconds = {}, {"synthesis": 0.0, "student": 0.0}
        for _ in range(self.config.schedule.iterations_per_epoch):
            began = time.perf_counter()
            if self.rounds:
                self._round()
            else:
                for _step in range(self.config.schedule.generator_steps):
                    self._generator_step()
            synthesised = time.perf_counter()
            for images, labels in self._batches():
                self._student_step(images, labels)
            self.seconds["synthesis"] += synthesised - began
            self.seconds["student"] += time.perf_counter() - synthesised
        return {name: sum(values) / len(values) for name, values in self.losses.items()}

    # ---------------------------------------------------------------- images

    def _labels(self, count: int) -> Tensor:
        return self._drawn(self.inputs.num_classes, count)

    def _noise(self, count: int) -> Tensor:
        size = (count, self.config.generator.latent_size)
        return torch.randn(size, generator=self.source, device=self.device)

    def _drawn(self, below: int, count: int) -> Tensor:
        return torch.randint(below, (count,), generator=self.source, device=self.device)

    def _loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Step]:
        mode = self.config.schedule.student_mode_in_generator_step
        self.student.network.train(mode == "train")
        student = self.student(images) if "student" in self.generator_objective.needs else None
        step = Step(
            images=images,
            labels=labels,
            teacher=self.teacher(images),
            student=student,
            ask_teacher=self.teacher,
        )
        loss, parts = self.generator_objective(step)
        self._log(parts)
        return loss, step

    def _log(self, parts: dict[str, Tensor]) -> None:
        for name, value in parts.items():
            self.losses.setdefault(name, []).append(value.item())

    def _generator_step(self) -> None:
        count = self.config.schedule.batch_size
        self.generator.train()
        labels = self._labels(count)
        images = self.generator(self._noise(count), labels)
        loss, step = self._loss(images, labels)
        self.generator_optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.generator_optimiser.step()
        self.generator_objective.synthesised(step)

    def _round(self) -> None:
        """A round of Fast-DFKD: a copy of the generator learns one batch, then teaches it."""
        config, synthesis = self.config, self.config.synthesis
        count = synthesis.batch_size or config.schedule.batch_size
        # Of a noisy layer, which there is none, a seed would be drawn.
        self._drawn(2**31 - 1, 1)
        fast = copy.deepcopy(self.generator).train()
        labels = self._labels(count)
        noise = self._noise(count).requires_grad_(True)
        optimiser = torch.optim.Adam(
            [
                {"params": fast.parameters(), "lr": config.generator_optimiser.learning_rate},
                {"params": [noise], "lr": synthesis.latent_learning_rate},
            ],
            betas=self.betas,
        )
        self.generator_optimiser.zero_grad()
        best, kept, step = float("inf"), torch.empty(0), None
        for _ in range(config.schedule.generator_steps):
            images = fast(noise, labels)
            loss, step = self._loss(images, labels)
            if loss.item() < best:
                best, kept = loss.item(), images.detach()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            for slow, quick in zip(self.generator.parameters(), fast.parameters(), strict=True):
                if quick.grad is not None:
                    slow.grad = quick.grad.clone() if slow.grad is None else slow.grad + quick.grad
        self.generator_optimiser.step()
        for kept_buffer, buffer in zip(self.generator.buffers(), fast.buffers(), strict=True):
            kept_buffer.copy_(buffer)
        if step is not None:
            self.generator_objective.synthesised(step)
        self._save(kept, labels)

    def _save(self, images: Tensor, labels: Tensor) -> None:
        mean = torch.tensor(self.inputs.mean, device=images.device).view(-1, 1, 1)
        std = torch.tensor(self.inputs.std, device=images.device).view(-1, 1, 1)
        pixels = ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8).cpu()
        for pixel, label in zip(pixels, labels.tolist(), strict=True):
            path = self.folder / f"{len(self.files)}.png"
            Image.fromarray(pixel.permute(1, 2, 0).numpy()).save(path)
            self.files.append((path, label))

    # ---------------------------------------------------------------- student

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        schedule = self.config.schedule
        count, steps = schedule.batch_size, schedule.student_steps
        if not self.rounds:
            for _ in range(steps):
                with torch.no_grad():
                    self.generator.train()
                    labels = self._labels(count)
                    images = self.generator(self._noise(count), labels)
                yield images, labels
            return
        # Batches as the seed has them, from fresh workers.
        order: list[int] = []
        for _ in range(steps):
            order += self._drawn(len(self.files), count).tolist()
        loader = DataLoader(
            PngFiles(self.files, self.inputs), count, sampler=order, num_workers=WORKERS
        )
        for images, labels in loader:
            yield self._augmented(images.to(self.device)), labels.to(self.device)

    def _augmented(self, images: Tensor) -> Tensor:
        if self.config.image_bank.augmentation == "crop_flip":
            height, width = self.inputs.height, self.inputs.width
            padding = max(1, min(height, width) // 8)
            images = nn.functional.pad(images, (padding,) * 4, mode="reflect")
            images = random_crops(images, 0, height, width, self.host_source)
        return random_flips(images, self.host_source)

    def _student_step(self, images: Tensor, labels: Tensor) -> None:
        config, schedule = self.config.student_optimiser, self.config.schedule
        total = schedule.total_student_steps
        rate = learning_rate(config.learning_rate, config.schedule, self.student_steps, total)
        for group in self.student_optimiser.param_groups:
            group["lr"] = rate
        self.student.network.train()
        with torch.no_grad():
            teacher = self.teacher(images)
        student = self.student(images)
        step = Step(images=images, labels=labels, teacher=teacher, student=student)
        loss, parts = self.student_objective(step)
        self.student_optimiser.zero_grad()
        loss.backward()
        self.student_optimiser.step()
        self.student_steps += 1
        self._log(parts)
        agreement = (student.logits.argmax(1) == teacher.logits.argmax(1)).float().mean()
        self.running_accuracy = 0.9 * self.running_accuracy + 0.1 * agreement.item()
        self.running_loss = 0.9 * self.running_loss + 0.1 * loss.item()
