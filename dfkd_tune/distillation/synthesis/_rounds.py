"""Rounds: one batch is optimised for many steps, and goes into the image bank."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dfkd_tune.distillation._config import DistillationConfig
from dfkd_tune.distillation._meter import EpochMeter
from dfkd_tune.distillation._optimisation import (
    learning_rate,
    load_optimiser,
    set_learning_rate,
)
from dfkd_tune.distillation.generators import (
    Generator,
    redraw_noisy_layer,
    restart_generator,
)
from dfkd_tune.distillation.synthesis._image_bank import ImageBank
from dfkd_tune.distillation.synthesis._labels import Labels
from dfkd_tune.distillation.synthesis._loss import SynthesisLoss, terms_optimiser
from dfkd_tune.distillation.terms import Step
from dfkd_tune.inputs import InputSpecification


@dataclass(kw_only=True)
class _Round:
    """One round: what is optimised, by what, and the images of its best step so far."""

    labels: Tensor
    targets: Tensor | None
    generator: Generator | None
    noise: Tensor | None
    pixels: Tensor | None
    optimiser: torch.optim.Adam
    optimisers: list[torch.optim.Adam]
    least: Tensor
    kept: Tensor = field(default_factory=lambda: torch.empty(0))

    def keep(self, images: Tensor, loss: Tensor, *, always: bool) -> None:
        """Keep a step's images, where its loss is the least or they are kept in any case."""
        if always:
            self.kept, self.least = images.detach().clone(), loss.detach()
            return
        self.kept = torch.where(loss.detach() < self.least, images.detach(), self.kept)
        self.least = torch.minimum(self.least, loss.detach())


def _rolled(images: Tensor, shift: Tensor) -> Tensor:
    """Images shifted down and right by `(2,)` pixels, around the edges; without asking by how many.

    `torch.roll` takes numbers, for which a GPU would be waited for in every step.
    """
    for axis, by in zip((2, 3), shift, strict=True):
        places = torch.arange(images.shape[axis], device=images.device) - by
        images = images.index_select(axis, places % images.shape[axis])
    return images


class RoundSynthesis:
    """Optimises one batch per round: its pixels, or a generator and its noise.

    Args:
        config: of the distillation.
        inputs: shape and normalisation of an image.
        generator: on its device; None where pixels are optimised.
        loss: what the images are optimised for.
        labels: which classes are asked for.
        bank: takes what a round came to.
        source: of random numbers.
    """

    def __init__(
        self,
        config: DistillationConfig,
        inputs: InputSpecification,
        generator: Generator | None,
        loss: SynthesisLoss,
        labels: Labels,
        bank: ImageBank,
        source: torch.Generator,
    ) -> None:
        self.config, self.inputs, self.generator = config, inputs, generator
        self.loss, self.labels, self.bank, self.source = loss, labels, bank, source
        optimiser = config.generator_optimiser
        self.betas = (optimiser.beta1, optimiser.beta2)
        self.terms_optimiser = terms_optimiser(loss.objective, optimiser.learning_rate, self.betas)
        self.meta_optimiser: torch.optim.Adam | None = None
        if generator is not None and config.synthesis.meta != "none":
            # As in Fast-DFKD: the rate of a round's step times their number.
            rate = optimiser.learning_rate * config.schedule.generator_steps
            self.meta_optimiser = torch.optim.Adam(
                generator.parameters(), lr=rate, betas=self.betas
            )
        mean = torch.tensor(inputs.mean, device=source.device).view(-1, 1, 1)
        std = torch.tensor(inputs.std, device=source.device).view(-1, 1, 1)
        self._lowest, self._highest = (0 - mean) / std, (1 - mean) / std
        self.rounds = self.steps = 0
        self._rate = optimiser.learning_rate

    @property
    def learning_rate(self) -> float:
        """Of the last step."""
        return self._rate

    def _seed(self) -> int:
        return int(torch.randint(2**31 - 1, (1,), generator=self.source, device=self.source.device))

    def _begin(self) -> Generator | None:
        """The generator with which a round begins."""
        if self.generator is None:
            return None
        every = self.config.synthesis.restart_every
        if every and self.rounds and self.rounds % every == 0:
            restart_generator(self.generator, self._seed())
        redraw_noisy_layer(self.generator, self._seed())
        if self.meta_optimiser is None:
            return self.generator.train()
        return copy.deepcopy(self.generator).train()

    def _first_pixels(self, count: int) -> Tensor:
        shape = (count, *self.inputs.shape)
        pixels = torch.randn(shape, generator=self.source, device=self.source.device)
        self._clamp(pixels)
        return pixels

    def _seen(self, images: Tensor) -> Tensor:
        """The images as the networks see them in this step: shifted and mirrored."""
        synthesis = self.config.synthesis
        if synthesis.jitter:
            reach = synthesis.jitter
            shift = torch.randint(
                -reach, reach + 1, (2,), generator=self.source, device=self.source.device
            )
            images = _rolled(images, shift)
        if synthesis.flip:
            flips = torch.rand((), generator=self.source, device=self.source.device) < 0.5
            images = torch.where(flips, images.flip(3), images)
        return images

    def iterate(self, meter: EpochMeter) -> Tensor:
        """Do one round; gives the images that it came to."""
        attempt = self._attempt()
        if self.meta_optimiser is not None:
            self.meta_optimiser.zero_grad(set_to_none=False)
        step = None
        for index in range(self.config.schedule.generator_steps):
            step = self._step(attempt, index, meter)
        if attempt.generator is not None:
            self._learn_from(attempt.generator)
        if step is not None:
            self.loss.objective.synthesised(step)
        self.bank.add(attempt.kept, attempt.labels)
        self.rounds += 1
        return attempt.kept

    def _attempt(self) -> _Round:
        """A new round: what is optimised in it, and by what."""
        config, synthesis = self.config.generator_optimiser, self.config.synthesis
        count = synthesis.batch_size or self.config.schedule.batch_size
        generator = self._begin()
        labels, targets = self.labels.draw(count)
        pixels = noise = latent_optimiser = None
        if generator is None:
            pixels = self._first_pixels(count).requires_grad_(True)
            trained: list[Tensor] = [pixels]
        else:
            size = (count, self.config.generator.latent_size)
            noise = torch.randn(size, generator=self.source, device=self.source.device)
            trained = list(generator.parameters())
        optimiser = torch.optim.Adam(trained, lr=config.learning_rate, betas=self.betas)
        if noise is not None and synthesis.latent_learning_rate > 0:
            noise.requires_grad_(True)
            latent_optimiser = torch.optim.Adam(
                [noise], lr=synthesis.latent_learning_rate, betas=self.betas
            )
        every = (optimiser, latent_optimiser, self.terms_optimiser)
        return _Round(
            labels=labels,
            targets=targets,
            generator=generator,
            noise=noise,
            pixels=pixels,
            optimiser=optimiser,
            optimisers=[each for each in every if each is not None],
            least=torch.full((), float("inf"), device=labels.device),
        )

    def _step(self, attempt: _Round, index: int, meter: EpochMeter) -> Step:
        """One step of a round."""
        config, synthesis = self.config.generator_optimiser, self.config.synthesis
        total = self.config.schedule.generator_steps
        self._rate = learning_rate(config.learning_rate, config.schedule, index, total)
        set_learning_rate(attempt.optimiser, self._rate)
        images, generator = self._images(attempt), attempt.generator
        loss, parts, step = self.loss(self._seen(images), attempt.labels, attempt.targets)
        meter.add_synthesis(parts, step.teacher.logits)
        attempt.keep(images, loss, always=index == 0 or synthesis.keep == "last")
        for each in attempt.optimisers:
            each.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if config.gradient_clip > 0 and generator is not None:
            torch.nn.utils.clip_grad_norm_(generator.parameters(), config.gradient_clip)
        for each in attempt.optimisers:
            each.step()
        if attempt.pixels is not None:
            self._clamp(attempt.pixels)
        if synthesis.meta == "fomaml" and generator is not None:
            self._add_gradients(generator)
        self.steps += 1
        return step

    def _images(self, attempt: _Round) -> Tensor:
        """As they are now: the pixels, or what the generator makes of the noise."""
        if attempt.pixels is not None:
            return attempt.pixels
        assert attempt.generator is not None
        assert attempt.noise is not None
        return self.loss.generate(attempt.generator, attempt.noise, attempt.labels)

    @torch.no_grad()
    def _clamp(self, pixels: Tensor) -> None:
        """Back into the range of real pixels."""
        pixels.copy_(torch.maximum(torch.minimum(pixels, self._highest), self._lowest))

    @torch.no_grad()
    def _add_gradients(self, fast: Generator) -> None:
        assert self.generator is not None
        for slow, quick in zip(self.generator.parameters(), fast.parameters(), strict=True):
            if quick.grad is not None:
                slow.grad = quick.grad.clone() if slow.grad is None else slow.grad + quick.grad

    @torch.no_grad()
    def _learn_from(self, fast: Generator) -> None:
        """Let a round teach the generator from which rounds begin."""
        if self.meta_optimiser is None or self.generator is None:
            return
        if self.config.synthesis.meta == "reptile":
            for slow, quick in zip(self.generator.parameters(), fast.parameters(), strict=True):
                slow.grad = slow - quick
        self.meta_optimiser.step()
        for slow_buffer, buffer in zip(self.generator.buffers(), fast.buffers(), strict=True):
            slow_buffer.copy_(buffer)

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs to go on; tensors are those in use."""
        return {
            "generator": self.generator.state_dict() if self.generator else None,
            "objective": self.loss.objective.state_dict(),
            "terms_optimiser": self.terms_optimiser.state_dict() if self.terms_optimiser else None,
            "meta_optimiser": self.meta_optimiser.state_dict() if self.meta_optimiser else None,
            "rounds": self.rounds,
            "steps": self.steps,
            "rate": self._rate,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, whose tensors become those in use."""
        if self.generator is not None:
            self.generator.load_state_dict(state["generator"])
        self.loss.objective.load_state_dict(state["objective"])
        if self.terms_optimiser is not None:
            load_optimiser(self.terms_optimiser, state["terms_optimiser"])
        if self.meta_optimiser is not None:
            load_optimiser(self.meta_optimiser, state["meta_optimiser"])
        self.rounds, self.steps, self._rate = state["rounds"], state["steps"], state["rate"]
