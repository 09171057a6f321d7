"""Syntheses with an objective of the test's own, on the tiny teacher."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dfkd_tune.classifiers import TappedNetwork, build_classifier
from dfkd_tune.distillation import (
    DistillationConfig,
    Generator,
    GeneratorObjective,
    ImageBank,
    Step,
    TermSettings,
)
from dfkd_tune.distillation._meter import EpochMeter
from dfkd_tune.distillation.synthesis import (
    StreamSynthesis,
    Synthesis,
    build_synthesis,
    first_generator,
)
from dfkd_tune.distillation.terms import LossTerm, Objective, TermContext, TermModule
from dfkd_tune.inputs import InputSpecification

CPU = torch.device("cpu")
Loss = Callable[[Tensor, int], Tensor]


class Observed(TermModule):
    """A loss term of the test's own, which keeps the steps that it sees."""

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self.loss = loss
        self.steps: list[Step] = []
        self.told: list[Step] = []
        self.images: list[Tensor] = []

    def forward(self, step: Step) -> Tensor:
        self.steps.append(step)
        # A copy: pixels are optimised in place.
        self.images.append(step.images.detach().clone())
        return self.loss(step.images, len(self.steps) - 1)

    def synthesised(self, step: Step) -> None:
        self.told.append(step)


@dataclass
class Parts:
    """A synthesis with what it was made of.

    Args:
        synthesis: as the loop builds it.
        generator: the same that the synthesis has; None for pixels.
        bank: takes images where there is one.
        source: of random numbers.
        term: the objective's one term.
        student: whose weights must not change.
        meter: what was counted.
        noises: noise and labels that the generator, or its average, was given, in order.
    """

    synthesis: Synthesis
    generator: Generator | None
    bank: ImageBank | None
    source: torch.Generator
    term: Observed
    student: nn.Module
    meter: EpochMeter = field(default_factory=lambda: EpochMeter(torch.device("cpu")))
    noises: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def iterate(self) -> Tensor:
        """One iteration, or round."""
        return self.synthesis.iterate(self.meter)


@pytest.fixture
def assemble(
    teacher: nn.Module, inputs: InputSpecification
) -> Callable[[DistillationConfig, Loss], Parts]:
    """Build a configuration's synthesis, trained for `loss(images, step)` in place of its own."""

    def build(config: DistillationConfig, loss: Loss) -> Parts:
        term = Observed(loss)

        def make(_settings: TermSettings, _context: TermContext | None) -> TermModule:
            return term

        own = LossTerm(name="preset_label", settings=TermSettings, build=make)
        section = GeneratorObjective.model_validate({"preset_label": {"weight": 1}})
        objective = Objective("generator", section, {"preset_label": own})
        network = build_classifier(config.student, inputs, config.seed)
        bank = ImageBank(config.image_bank.size, inputs, CPU) if config.image_bank.size else None
        source = torch.Generator().manual_seed(config.seed)
        generator = first_generator(config, inputs, CPU)
        teacher.eval().requires_grad_(False)
        synthesis = build_synthesis(
            config,
            inputs,
            generator,
            objective,
            TappedNetwork(teacher, inputs),
            TappedNetwork(network, inputs),
            bank,
            source,
        )
        parts = Parts(synthesis, generator, bank, source, term, network)

        def note(_module: nn.Module, given: tuple[Any, ...]) -> None:
            parts.noises.append((given[0].detach().clone(), given[1].clone()))

        other = synthesis.average if isinstance(synthesis, StreamSynthesis) else synthesis.fast
        for made in {generator, other}:
            if made is not None:
                made.register_forward_pre_hook(note)
        return parts

    return build
