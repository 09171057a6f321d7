"""Optimisers, and learning rates as pure functions of how far training is."""

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dfkd_tune.distillation._config import GeneratorOptimiserConfig, StudentOptimiserConfig


def learning_rate(
    peak: float,
    schedule: Literal["constant", "cosine", "step"],
    step: int,
    total: int,
    warmup: int = 0,
    milestones: tuple[float, ...] = (),
) -> float:
    """The learning rate of one step.

    Args:
        peak: the highest rate.
        schedule: constant; half a cosine down to 0 after the warm-up; or a tenth after each
            milestone.
        step: steps done before this one, from 0.
        total: steps in all.
        warmup: steps of linear rise to the peak.
        milestones: shares of all steps.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    if schedule == "constant":
        return peak
    if schedule == "step":
        return peak * 0.1 ** sum(step >= share * total for share in milestones)
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return peak * 0.5 * (1 + math.cos(math.pi * progress))


def set_learning_rate(optimiser: torch.optim.Optimizer, value: float) -> None:
    """Use this learning rate from the next step on."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(value)
        else:
            group["lr"] = value


def adam(trained: Iterable[Tensor], rate: float, betas: tuple[float, float]) -> torch.optim.Adam:
    """Adam, fused.

    Args:
        trained: what it changes.
        rate: of learning.
        betas: of its moments.
    """
    return torch.optim.Adam(trained, lr=rate, betas=betas, fused=True)


@torch.no_grad()
def forget_moments(optimiser: torch.optim.Adam) -> None:
    """Have Adam begin anew, in the memory that it has."""
    for state in optimiser.state.values():
        for value in state.values():
            value.zero_()


def make_capturable(optimiser: torch.optim.Optimizer, device: torch.device) -> None:
    """Have an optimiser's steps follow the learning rate where they are captured and replayed.

    Args:
        optimiser: fused.
        device: of what it trains.
    """
    for group in optimiser.param_groups:
        group["lr"] = torch.tensor(float(group["lr"]), device=device)
        if "capturable" in group:
            group["capturable"] = True


def optimiser_state(optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """The state of an optimiser, the same whether or not its steps are captured."""
    state = optimiser.state_dict()
    for group in state["param_groups"]:
        group["lr"] = float(group["lr"])
        if "capturable" in group:
            group["capturable"] = False
    return state


def load_optimiser(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Go on with an optimiser's moments, at its own learning rate.

    The state may be of a trial whose weights were taken over, and which had another rate.
    """
    own = [(group["lr"], group.get("capturable")) for group in optimiser.param_groups]
    optimiser.load_state_dict(state)
    for group, (rate, capturable) in zip(optimiser.param_groups, own, strict=True):
        group["lr"] = rate
        if capturable is not None:
            group["capturable"] = capturable


def generator_optimiser(generator: nn.Module, config: GeneratorOptimiserConfig) -> torch.optim.Adam:
    """Adam over the generator's weights."""
    return adam(generator.parameters(), config.learning_rate, (config.beta1, config.beta2))


def student_optimiser(
    parameters: Iterable[nn.Parameter], config: StudentOptimiserConfig
) -> torch.optim.Optimizer:
    """SGD with momentum, or Adam, over the student's weights and those of its loss terms."""
    if config.kind == "adam":
        return torch.optim.Adam(
            parameters,
            lr=config.learning_rate,
            betas=(config.momentum, 0.999),
            weight_decay=config.weight_decay,
            fused=True,
        )
    return torch.optim.SGD(
        parameters,
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        fused=True,
    )
