"""Rounds: one batch is optimised for many steps, and goes into the image bank."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dfkd_tune.distillation._config import DistillationConfig
from dfkd_tune.distillation._cuda_graphs import Capture, ReplayedWork, Work
from dfkd_tune.distillation._meter import EpochMeter
from dfkd_tune.distillation._optimisation import (
    adam,
    forget_moments,
    learning_rate,
    load_optimiser,
    make_capturable,
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
from dfkd_tune.inputs import InputSpecification


@dataclass(kw_only=True)
class _Best:
    """The images of a round's best step so far."""

    loss: Tensor
    images: Tensor = field(default_factory=lambda: torch.empty(0))

    def keep(self, images: Tensor, loss: Tensor, *, always: bool) -> None:
        """Keep a step's images, where its loss is the least or they are kept in any case."""
        if always:
            self.images, self.loss = images, loss
            return
        self.images = torch.where(loss < self.loss, images, self.images)
        self.loss = torch.minimum(self.loss, loss)


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
        capture: of the device, if steps are to be captured and replayed.
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
        capture: Capture | None = None,
    ) -> None:
        self.config, self.inputs, self.generator = config, inputs, generator
        self.loss, self.labels, self.bank, self.source = loss, labels, bank, source
        settings = config.generator_optimiser
        betas = (settings.beta1, settings.beta2)
        self.terms_optimiser = terms_optimiser(loss.objective, settings.learning_rate, betas)
        self.meta_optimiser: torch.optim.Adam | None = None
        if generator is not None and config.synthesis.meta != "none":
            # As in Fast-DFKD: the rate of a round's step times their number.
            rate = settings.learning_rate * config.schedule.generator_steps
            self.meta_optimiser = adam(generator.parameters(), rate, betas)
        mean = torch.tensor(inputs.mean, device=source.device).view(-1, 1, 1)
        std = torch.tensor(inputs.std, device=source.device).view(-1, 1, 1)
        self._lowest, self._highest = (0 - mean) / std, (1 - mean) / std
        # What a round optimises lies where it lies, and begins anew in every round.
        self.count = config.synthesis.batch_size or config.schedule.batch_size
        self.fast = generator if self.meta_optimiser is None else copy.deepcopy(generator)
        shape = inputs.shape if generator is None else (config.generator.latent_size,)
        self.origin = torch.zeros(self.count, *shape, device=source.device)
        """Pixels, or the noise of a generator."""
        trained = [self.origin] if self.fast is None else list(self.fast.parameters())
        self.optimiser = adam(trained, settings.learning_rate, betas)
        self.latent_optimiser: torch.optim.Adam | None = None
        latent_rate = config.synthesis.latent_learning_rate
        if generator is not None and latent_rate > 0:
            self.latent_optimiser = adam([self.origin], latent_rate, betas)
        self.origin.requires_grad_(generator is None or self.latent_optimiser is not None)
        self.rounds = self.steps = 0
        self._rate = settings.learning_rate
        self._update: Work = self._updated
        self._update_last: Work = self._updated_last
        can_be_replayed = loss.objective.can_be_replayed and self.terms_optimiser is None
        if capture is not None and can_be_replayed:
            for each in (self.optimiser, self.latent_optimiser):
                if each is not None:
                    make_capturable(each, source.device)
            self._update = ReplayedWork(self._update, capture)
            self._update_last = ReplayedWork(self._update_last, capture)

    @property
    def learning_rate(self) -> float:
        """Of the last step."""
        return self._rate

    def _seed(self) -> int:
        return int(torch.randint(2**31 - 1, (1,), generator=self.source, device=self.source.device))

    @torch.no_grad()
    def _begin(self) -> None:
        """Begin a round: the generator as it is to begin, new noise or pixels, no moments."""
        for optimiser in (self.optimiser, self.latent_optimiser):
            if optimiser is not None:
                forget_moments(optimiser)
        if self.generator is None or self.fast is None:
            return
        every = self.config.synthesis.restart_every
        if every and self.rounds and self.rounds % every == 0:
            restart_generator(self.generator, self._seed())
        redraw_noisy_layer(self.generator, self._seed())
        if self.fast is not self.generator:
            for tensors in ("parameters", "buffers"):
                new, old = getattr(self.fast, tensors)(), getattr(self.generator, tensors)()
                for place, value in zip(new, old, strict=True):
                    place.copy_(value)
        self.fast.train()

    @torch.no_grad()
    def _draw_first(self) -> None:
        shape = self.origin.shape
        drawn = torch.randn(shape, generator=self.source, device=self.source.device)
        self.origin.copy_(drawn)
        if self.fast is None:
            self._clamp()

    def _draw_view(self) -> list[Tensor]:
        """How the networks are to see the images in a step: shifted and mirrored."""
        synthesis, drawn = self.config.synthesis, []
        if synthesis.jitter:
            reach = synthesis.jitter
            drawn.append(
                torch.randint(
                    -reach, reach + 1, (2,), generator=self.source, device=self.source.device
                )
            )
        if synthesis.flip:
            side = torch.rand((), generator=self.source, device=self.source.device)
            drawn.append(side < 0.5)
        return drawn

    def _seen(self, images: Tensor, view: Sequence[Tensor]) -> Tensor:
        """The images as `_draw_view` has it."""
        synthesis = self.config.synthesis
        if synthesis.jitter:
            images = _rolled(images, view[0])
        if synthesis.flip:
            images = torch.where(view[-1], images.flip(3), images)
        return images

    def iterate(self, meter: EpochMeter) -> Tensor:
        """Do one round; gives the images that it came to."""
        self._begin()
        labels, targets = self.labels.draw(self.count)
        self._draw_first()
        if self.meta_optimiser is not None and self.generator is not None:
            for parameter in self.generator.parameters():
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                # In place: steps that are replayed add to what lies here.
                parameter.grad.zero_()
        best = _Best(loss=torch.full((), float("inf"), device=labels.device))
        for index in range(self.config.schedule.generator_steps):
            self._step(index, labels, targets, best, meter)
        self._learn()
        self.bank.add(best.images, labels)
        self.rounds += 1
        return best.images

    def _step(
        self, index: int, labels: Tensor, targets: Tensor | None, best: _Best, meter: EpochMeter
    ) -> None:
        """One step of a round."""
        config, total = self.config.generator_optimiser, self.config.schedule.generator_steps
        self._rate = learning_rate(config.learning_rate, config.schedule, index, total)
        set_learning_rate(self.optimiser, self._rate)
        update = self._update_last if index == total - 1 else self._update
        targeted = [] if targets is None else [targets]
        images, loss, logits, *parts = update(labels, *self._draw_view(), *targeted)
        names = self.loss.objective.names
        meter.add_synthesis(dict(zip(names, parts, strict=True)), logits)
        best.keep(images, loss, always=index == 0 or self.config.synthesis.keep == "last")
        self.steps += 1

    def _updated_last(self, labels: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        """A round's last step, of which the terms hear."""
        return self._updated(labels, *given, last=True)

    def _updated(self, labels: Tensor, *given: Tensor, last: bool = False) -> tuple[Tensor, ...]:
        """A step on the view, and for the targets, that are given.

        Returns:
            Images, as they were before the step; the loss; the teacher's answer; the summands.
        """
        views = bool(self.config.synthesis.jitter) + self.config.synthesis.flip
        view, targets = given[:views], given[views:]
        if self.fast is None:
            # A copy: they are changed in place.
            images, before = self.origin, self.origin.detach().clone()
        else:
            images = self.loss.generate(self.fast, self.origin, labels)
            before = images.detach()
        loss, parts, step = self.loss(
            self._seen(images, view), labels, targets[0] if targets else None
        )
        every = (self.optimiser, self.latent_optimiser, self.terms_optimiser)
        optimisers = [each for each in every if each is not None]
        for each in optimisers:
            each.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        largest = self.config.generator_optimiser.gradient_clip
        if largest > 0 and self.fast is not None:
            torch.nn.utils.clip_grad_norm_(self.fast.parameters(), largest)
        for each in optimisers:
            each.step()
        if self.fast is None:
            self._clamp()
        elif self.config.synthesis.meta == "fomaml":
            self._add_gradients(self.fast)
        if last:
            self.loss.objective.synthesised(step)
        return before, loss.detach(), step.teacher.logits.detach(), *parts.values()

    @torch.no_grad()
    def _clamp(self) -> None:
        """Pixels back into the range of real ones."""
        pixels = self.origin
        pixels.copy_(torch.maximum(torch.minimum(pixels, self._highest), self._lowest))

    @torch.no_grad()
    def _add_gradients(self, fast: Generator) -> None:
        assert self.generator is not None
        for slow, quick in zip(self.generator.parameters(), fast.parameters(), strict=True):
            if slow.grad is not None and quick.grad is not None:
                slow.grad.add_(quick.grad)

    @torch.no_grad()
    def _learn(self) -> None:
        """Let a round teach the generator from which rounds begin."""
        if self.meta_optimiser is None or self.generator is None or self.fast is None:
            return
        if self.config.synthesis.meta == "reptile":
            for slow, quick in zip(
                self.generator.parameters(), self.fast.parameters(), strict=True
            ):
                slow.grad = slow - quick
        self.meta_optimiser.step()
        for kept, buffer in zip(self.generator.buffers(), self.fast.buffers(), strict=True):
            kept.copy_(buffer)

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
