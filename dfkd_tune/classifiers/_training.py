"""Training a classifier on real, labelled images: teachers and yardsticks, never distillation."""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from dfkd_tune.classifiers._precision import Precision, computing_in, used_precision
from dfkd_tune.classifiers._preprocessing import (
    normalise,
    random_crops,
    random_flips,
    random_resized_crops,
)
from dfkd_tune.errors import CheckpointError, DivergedError
from dfkd_tune.inputs import InputSpecification


class TrainingRecipe(BaseModel):
    """How a classifier is trained: SGD with momentum on labelled images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=40, ge=1)
    batch_size: int = Field(default=128, ge=2)
    learning_rate: float = Field(
        default=0.1, gt=0, allow_inf_nan=False, description="peak of the schedule"
    )
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0, allow_inf_nan=False)
    schedule: Literal["one_cycle", "cosine", "step"] = Field(
        default="one_cycle",
        description="one_cycle: up, then down; cosine: down to 0; step: a tenth after each third",
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    crop_padding: int = Field(default=0, ge=0, description="pixels; random crop after padding")
    resized_crop: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="smallest share of the image's area in a random crop that is resized",
    )
    flip: bool = Field(default=False, description="random horizontal flips")
    precision: Precision = Field(
        default="float32", description="auto: bfloat16 where the device computes it fast"
    )
    channels_last: bool = Field(default=False, description="memory format; faster on most devices")
    initial_weights: Path | None = Field(
        default=None,
        description="weights file to start from, such as ImageNet's; its last layer may be of "
        "another width and is then left out",
    )
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """What training tells after each epoch.

    Args:
        epoch: epochs done, from 1.
        epochs: of the recipe.
        loss: mean of the epoch.
        learning_rate: at the epoch's end.
        state: makes the whole state, from which training goes on bit for bit.
    """

    epoch: int
    epochs: int
    loss: float
    learning_rate: float
    state: Callable[[], dict[str, Any]]


Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of a batch's input `(N, C, H, W)`, logits `(N, K)` and labels `(N,)`: a scalar."""


def scheduled_rate(recipe: TrainingRecipe, step: int, total: int) -> float:
    """Learning rate of one step.

    Args:
        recipe: its peak and schedule.
        step: from 0.
        total: steps of the whole training.

    Source: one_cycle is Smith and Topin 2018 with cosine arms, 30 % up from 1/25 of the peak, down
    to 1/250,000 of it, as PyTorch's `OneCycleLR` has it.
    """
    peak, last = recipe.learning_rate, max(total - 1, 1)
    if recipe.schedule == "cosine":
        return peak * (1 + math.cos(math.pi * step / total)) / 2
    if recipe.schedule == "step":
        return peak * 0.1 ** min(2, 3 * step // total)
    turn = 0.3 * total - 1
    start, end = peak / 25, peak / 25 / 1e4
    if step <= turn:
        low, high, share = start, peak, step / turn if turn > 0 else 1.0
    else:
        low, high, share = peak, end, (step - turn) / (last - turn) if last > turn else 1.0
    return high + (low - high) / 2 * (1 + math.cos(math.pi * share))


def _cross_entropy(label_smoothing: float, _x: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)


def _augment(
    images: Tensor, recipe: TrainingRecipe, inputs: InputSpecification, source: torch.Generator
) -> Tensor:
    """Crop, flip and normalise a batch: uint8 as stored to float32 as the network takes it."""
    height, width = inputs.height, inputs.width
    if recipe.resized_crop is not None:
        x = random_resized_crops(
            normalise(images, inputs), recipe.resized_crop, height, width, source
        )
        return random_flips(x, source) if recipe.flip else x
    images = random_crops(images, recipe.crop_padding, height, width, source)
    return normalise(random_flips(images, source) if recipe.flip else images, inputs)


def train_classifier(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    recipe: TrainingRecipe,
    inputs: InputSpecification,
    *,
    device: torch.device,
    loss: Loss | None = None,
    report: Callable[[TrainingProgress], None] = lambda _progress: None,
    restore: Mapping[str, Any] | None = None,
) -> None:
    """Train a classifier in place; deterministic for a seed on CPU.

    A training that goes on from a state ends in the same weights as one never interrupted.

    Args:
        network: with its initial weights; left on `device`, in evaluation mode.
        images: `(N, C, H, W)`, uint8, at least as large as the input.
        labels: `(N,)`.
        recipe: optimisation, augmentation and seed.
        inputs: shape and normalisation of the network's input.
        device: where to compute.
        loss: of a batch's input `(N, C, H, W)`, logits `(N, K)` and labels `(N,)`; cross entropy
            with the recipe's label smoothing where there is none.
        report: told after each epoch; may raise to end the training.
        restore: state of an earlier training of the same recipe.

    Raises:
        DivergedError: if the loss became non-finite.
        CheckpointError: if `restore` does not fit.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        # Of dropout.
        torch.manual_seed(recipe.seed)
        chosen = loss or partial(_cross_entropy, recipe.label_smoothing)
        _train(network, images, labels, recipe, inputs, device, chosen, report, restore)
    network.eval()


def _train(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    recipe: TrainingRecipe,
    inputs: InputSpecification,
    device: torch.device,
    loss_of: Loss,
    report: Callable[[TrainingProgress], None],
    restore: Mapping[str, Any] | None,
) -> None:
    source = torch.Generator().manual_seed(recipe.seed)
    network.to(device).train()
    if recipe.channels_last:
        network.to(memory_format=torch.channels_last)
    precision = used_precision(recipe.precision, device)
    batches = max(1, len(labels) // recipe.batch_size)
    total = recipe.epochs * batches
    optimiser = torch.optim.SGD(
        network.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
    )
    done = 0 if restore is None else _load(restore, network, optimiser, source)
    for epoch in range(done + 1, recipe.epochs + 1):
        order = torch.randperm(len(labels), generator=source)
        sum_of_losses = torch.zeros((), device=device)
        rate = recipe.learning_rate
        for batch in range(batches):
            rate = scheduled_rate(recipe, (epoch - 1) * batches + batch, total)
            for group in optimiser.param_groups:
                group["lr"] = rate
            chosen = order[batch * recipe.batch_size : (batch + 1) * recipe.batch_size]
            x = _augment(images[chosen].to(device), recipe, inputs, source)
            if recipe.channels_last:
                x = x.contiguous(memory_format=torch.channels_last)
            with computing_in(precision, device):
                logits = network(x)
            loss = loss_of(x, logits.float(), labels[chosen].to(device))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            sum_of_losses += loss.detach()
        mean = sum_of_losses.item() / batches
        if not math.isfinite(mean):
            raise DivergedError("the classifier's loss", epoch)
        report(
            TrainingProgress(
                epoch=epoch,
                epochs=recipe.epochs,
                loss=mean,
                learning_rate=rate,
                state=partial(_state, epoch, network, optimiser, source),
            )
        )


def _state(
    epoch: int, network: nn.Module, optimiser: torch.optim.Optimizer, source: torch.Generator
) -> dict[str, Any]:
    state = {
        "epoch": epoch,
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "source": source.get_state(),
        "random": torch.get_rng_state(),
    }
    # A copy: training goes on in the same tensors.
    return copy.deepcopy(state)


def _load(
    state: Mapping[str, Any],
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    source: torch.Generator,
) -> int:
    try:
        network.load_state_dict(state["network"])
        # A copy: the optimiser trains in the tensors that it is given.
        optimiser.load_state_dict(copy.deepcopy(state["optimiser"]))
        source.set_state(state["source"])
        torch.set_rng_state(state["random"])
        return int(state["epoch"])
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"the checkpoint does not fit the recipe: {reason}") from error
