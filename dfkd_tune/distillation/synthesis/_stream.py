"""A generator trained step by step on fresh noise."""

import copy
from collections.abc import Mapping
from typing import Any

import torch

from dfkd_tune.distillation._config import DistillationConfig
from dfkd_tune.distillation._cuda_graphs import Capture, ReplayedWork, Work
from dfkd_tune.distillation._meter import EpochMeter
from dfkd_tune.distillation._optimisation import (
    generator_optimiser,
    learning_rate,
    load_optimiser,
    make_capturable,
    optimiser_state,
    set_learning_rate,
)
from dfkd_tune.distillation.generators import Generator
from dfkd_tune.distillation.synthesis._batch import Batch
from dfkd_tune.distillation.synthesis._labels import Labels
from dfkd_tune.distillation.synthesis._loss import SynthesisLoss, terms_optimiser


class StreamSynthesis:
    """A generator trained step by step, from which fresh batches can be drawn at any time.

    Args:
        config: of the distillation.
        generator: on its device.
        loss: what it is trained for.
        labels: which classes are asked for.
        source: of noise.
        capture: of the device, if steps are to be captured and replayed.
    """

    def __init__(
        self,
        config: DistillationConfig,
        generator: Generator,
        loss: SynthesisLoss,
        labels: Labels,
        source: torch.Generator,
        capture: Capture | None = None,
    ) -> None:
        self.config, self.generator, self.loss = config, generator, loss
        self.labels, self.source = labels, source
        optimiser = config.generator_optimiser
        self.optimiser = generator_optimiser(generator, optimiser)
        self.terms_optimiser = terms_optimiser(
            loss.objective, optimiser.learning_rate, (optimiser.beta1, optimiser.beta2)
        )
        self.average: Generator | None = None
        if config.generator_average.momentum > 0:
            self.average = copy.deepcopy(generator).requires_grad_(False)
        self.steps = 0
        self._update: Work = self._updated
        self._sample: Work = self._sampled
        self._sample_average: Work = self._sampled_of_average
        if capture is not None:
            self._sample = ReplayedWork(self._sample, capture)
            self._sample_average = ReplayedWork(self._sample_average, capture)
            if loss.objective.can_be_replayed and self.terms_optimiser is None:
                make_capturable(self.optimiser, source.device)
                self._update = ReplayedWork(self._update, capture)

    @property
    def learning_rate(self) -> float:
        """Of the generator, now."""
        return float(self.optimiser.param_groups[0]["lr"])

    def _draw(self, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Noise, labels and, for some samplings of them, distributions."""
        labels, targets = self.labels.draw(count)
        size = (count, self.config.generator.latent_size)
        noise = torch.randn(size, generator=self.source, device=self.source.device)
        return noise, labels, targets

    def iterate(self, meter: EpochMeter) -> torch.Tensor:
        """Do one iteration's steps; gives the last batch's images."""
        images = torch.empty(0)
        for _ in range(self.config.schedule.generator_steps):
            images = self._step(meter)
        return images

    def _step(self, meter: EpochMeter) -> torch.Tensor:
        config, schedule = self.config.generator_optimiser, self.config.schedule
        total = schedule.synthesis_epochs * schedule.iterations_per_epoch
        total *= schedule.generator_steps
        rate = learning_rate(config.learning_rate, config.schedule, self.steps, total)
        set_learning_rate(self.optimiser, rate)
        self.generator.train()
        noise, labels, targets = self._draw(schedule.batch_size)
        given = (noise, labels) if targets is None else (noise, labels, targets)
        images, logits, *parts = self._update(*given)
        names = self.loss.objective.names
        meter.add_synthesis(dict(zip(names, parts, strict=True)), logits)
        self.steps += 1
        return images

    def _updated(
        self, noise: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, ...]:
        """A step of the generator; gives images, the teacher's answer and the loss's summands."""
        config = self.config.generator_optimiser
        images = self.loss.generate(self.generator, noise, labels)
        loss, parts, step = self.loss(images, labels, targets)
        optimisers = [o for o in (self.optimiser, self.terms_optimiser) if o is not None]
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if config.gradient_clip > 0:
            torch.nn.utils.clip_grad_norm_(self.generator.parameters(), config.gradient_clip)
        for optimiser in optimisers:
            optimiser.step()
        self.loss.objective.synthesised(step)
        self._follow()
        return images.detach(), step.teacher.logits.detach(), *parts.values()

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the generator; statistics and counters are its own of now."""
        if self.average is None:
            return
        momentum = self.config.generator_average.momentum
        averaged, now = self.average.state_dict(), self.generator.state_dict()
        learned = {name for name, _ in self.generator.named_parameters()}
        for name, new in now.items():
            if name in learned:
                averaged[name].lerp_(new, 1 - momentum)
            else:
                averaged[name].copy_(new)

    def fresh(self, count: int, *, averaged: bool = False) -> Batch:
        """Draw new images, of the generator or of its average."""
        noise, labels, _ = self._draw(count)
        averaged = averaged and self.average is not None
        (images,) = (self._sample_average if averaged else self._sample)(noise, labels)
        return Batch(images=images, labels=labels)

    def _sampled(self, noise: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self._generated(self.generator, noise, labels),)

    def _sampled_of_average(
        self, noise: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        assert self.average is not None
        return (self._generated(self.average, noise, labels),)

    @torch.no_grad()
    def _generated(
        self, generator: Generator, noise: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        generator.train(self.config.schedule.generator_mode_when_sampling == "train")
        return self.loss.generate(generator, noise, labels)

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs to go on; tensors are those in use."""
        return {
            "generator": self.generator.state_dict(),
            "optimiser": optimiser_state(self.optimiser),
            "objective": self.loss.objective.state_dict(),
            "terms_optimiser": self.terms_optimiser.state_dict() if self.terms_optimiser else None,
            "average": self.average.state_dict() if self.average else None,
            "steps": self.steps,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, whose tensors become those in use."""
        self.generator.load_state_dict(state["generator"])
        load_optimiser(self.optimiser, state["optimiser"])
        self.loss.objective.load_state_dict(state["objective"])
        if self.terms_optimiser is not None:
            load_optimiser(self.terms_optimiser, state["terms_optimiser"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.steps = state["steps"]
