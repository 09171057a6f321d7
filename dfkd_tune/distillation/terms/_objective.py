"""The weighted sum of an objective's active terms."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dfkd_tune.distillation.terms._sections import (
    GeneratorObjective,
    StudentObjective,
    active_terms,
)
from dfkd_tune.distillation.terms._step import Step
from dfkd_tune.distillation.terms._term import LossTerm, Need, TermContext, TermModule


class Objective(nn.Module):
    """The weighted sum of an objective's active terms.

    Args:
        prefix: of the terms' names in the records: generator or student.
        config: weights and settings.
        registry: the terms by name.
        context: shapes of teacher and student; needed by terms with weights of their own.
    """

    def __init__(
        self,
        prefix: str,
        config: GeneratorObjective | StudentObjective,
        registry: Mapping[str, LossTerm],
        context: TermContext | None = None,
    ) -> None:
        super().__init__()
        self.prefix = prefix
        active = active_terms(config)
        self.weights = {name: settings.weight for name, settings in active.items()}
        self.needs = objective_needs(config, registry)
        self.terms = nn.ModuleDict(
            {name: registry[name].build(settings, context) for name, settings in active.items()}
        )

    def forward(self, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum, and each weighted summand, detached."""
        weighted = {
            f"{self.prefix}/{name}": self.weights[name] * module(step)
            for name, module in self.terms.items()
        }
        return torch.stack(list(weighted.values())).sum(), {
            name: value.detach() for name, value in weighted.items()
        }

    @property
    def names(self) -> tuple[str, ...]:
        """Of the summands, in their order."""
        return tuple(f"{self.prefix}/{name}" for name in self.weights)

    @property
    def can_be_replayed(self) -> bool:
        """Whether a step with this objective comes to the same without Python."""
        terms = [module for module in self.terms.values() if isinstance(module, TermModule)]
        return all(module.can_be_replayed for module in terms)

    def synthesised(self, step: Step) -> None:
        """Tell the terms of a batch that a round, or a step of a stream, came to."""
        for module in self.terms.values():
            if isinstance(module, TermModule):
                module.synthesised(step)

    def trained(self) -> list[nn.Parameter]:
        """The terms' own weights that are trained."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]


def objective_needs(
    config: GeneratorObjective | StudentObjective, registry: Mapping[str, LossTerm]
) -> frozenset[Need]:
    """The passes that an objective's active terms need."""
    return frozenset().union(*(registry[name].needs for name in active_terms(config)))
