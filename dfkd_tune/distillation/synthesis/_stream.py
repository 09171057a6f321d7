"""A generator trained step by step on fresh noise."""

import copy
from collections.abc import Mapping
from typing import Any

import torch

from dfkd_tune.distillation._config import DistillationConfig
from dfkd_tune.distillation._meter import EpochMeter
from dfkd_tune.distillation._optimisation import (
    generator_optimiser,
    learning_rate,
    load_optimiser,
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
    """

    def __init__(
        self,
        config: DistillationConfig,
        generator: Generator,
        loss: SynthesisLoss,
        labels: Labels,
        source: torch.Generator,
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

    @property
    def learning_rate(self) -> float:
        """Of the generator, now."""
        return float(self.optimiser.param_groups[0]["lr"])

    def _draw(self, generator: Generator, count: int) -> tuple[Batch, torch.Tensor | None]:
        labels, targets = self.labels.draw(count)
        noise = torch.randn(
            count,
            self.config.generator.latent_size,
            generator=self.source,
            device=self.source.device,
        )
        return Batch(images=self.loss.generate(generator, noise, labels), labels=labels), targets

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
        batch, targets = self._draw(self.generator, schedule.batch_size)
        loss, step = self.loss(batch.images, batch.labels, targets, meter)
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
        self.steps += 1
        return batch.images.detach()

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

    @torch.no_grad()
    def fresh(self, count: int, *, averaged: bool = False) -> Batch:
        """Draw new images, of the generator or of its average."""
        generator = self.average if averaged and self.average is not None else self.generator
        generator.train(self.config.schedule.generator_mode_when_sampling == "train")
        return self._draw(generator, count)[0]

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs to go on; tensors are those in use."""
        return {
            "generator": self.generator.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "objective": self.loss.objective.state_dict(),
            "terms_optimiser": self.terms_optimiser.state_dict() if self.terms_optimiser else None,
            "average": self.average.state_dict() if self.average else None,
            "steps": self.steps,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, whose tensors become those in use."""
        self.generator.load_state_dict(state["generator"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.loss.objective.load_state_dict(state["objective"])
        if self.terms_optimiser is not None:
            load_optimiser(self.terms_optimiser, state["terms_optimiser"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.steps = state["steps"]
