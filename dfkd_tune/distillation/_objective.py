"""The weighted sum of an objective's active terms."""

from collections.abc import Mapping

import torch
from torch import Tensor

from dfkd_tune.distillation._config import GeneratorObjective, StudentObjective, active_terms
from dfkd_tune.distillation._step import Step
from dfkd_tune.distillation._terms import LossTerm, Need, TermSettings


class Objective:
    """The weighted sum of an objective's active terms.

    Args:
        prefix: of the terms' names in the records: generator or student.
        config: weights and settings.
        registry: the terms by name.
    """

    def __init__(
        self,
        prefix: str,
        config: GeneratorObjective | StudentObjective,
        registry: Mapping[str, LossTerm],
    ) -> None:
        self.prefix = prefix
        self.terms: list[tuple[LossTerm, TermSettings]] = [
            (registry[name], settings) for name, settings in active_terms(config).items()
        ]
        self.needs: frozenset[Need] = frozenset().union(*(term.needs for term, _ in self.terms))

    def __call__(self, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum, and each weighted summand, detached."""
        weighted = {
            f"{self.prefix}/{term.name}": settings.weight * term.compute(settings, step)
            for term, settings in self.terms
        }
        return torch.stack(list(weighted.values())).sum(), {
            name: value.detach() for name, value in weighted.items()
        }
