"""Training a classifier on real, labelled images: teachers and yardsticks, never distillation."""

from collections.abc import Callable

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional


class TrainingRecipe(BaseModel):
    """How a classifier is trained: SGD with momentum under a one-cycle schedule."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=40, ge=1)
    batch_size: int = Field(default=128, ge=2)
    learning_rate: float = Field(
        default=0.1, gt=0, allow_inf_nan=False, description="peak of the schedule"
    )
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0, allow_inf_nan=False)
    crop_padding: int = Field(default=0, ge=0, description="pixels; random crop after padding")
    flip: bool = Field(default=False, description="random horizontal flips")
    seed: int = Field(default=0, ge=0)


def _augment(images: Tensor, recipe: TrainingRecipe, source: torch.Generator) -> Tensor:
    """Shift and flip each image at random; `(N, C, H, W)` in and out."""
    count, _, height, width = images.shape
    pad = recipe.crop_padding
    if pad:
        padded = functional.pad(images, (pad,) * 4, value=float(images.amin()))
        top = torch.randint(0, 2 * pad + 1, (count, 1, 1), generator=source)
        left = torch.randint(0, 2 * pad + 1, (count, 1, 1), generator=source)
        rows = top + torch.arange(height).view(1, -1, 1)
        columns = left + torch.arange(width).view(1, 1, -1)
        images = padded[torch.arange(count).view(-1, 1, 1), :, rows, columns].permute(0, 3, 1, 2)
    if recipe.flip:
        flipped = torch.rand(count, generator=source) < 0.5
        images = torch.where(flipped.view(-1, 1, 1, 1), images.flip(3), images)
    return images


def train_classifier(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    recipe: TrainingRecipe,
    *,
    device: torch.device,
    progress: Callable[[int, float], None] = lambda _epoch, _loss: None,
) -> None:
    """Train a classifier in place; deterministic for a seed on CPU.

    Args:
        network: with its initial weights; left on `device`, in evaluation mode.
        images: `(N, C, H, W)`, normalised.
        labels: `(N,)`.
        recipe: optimisation, augmentation and seed.
        device: where to compute.
        progress: called after each epoch with its number, from 1, and its mean loss.
    """
    source = torch.Generator().manual_seed(recipe.seed)
    network.to(device).train()
    batches = max(1, len(labels) // recipe.batch_size)
    optimiser = torch.optim.SGD(
        network.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=recipe.learning_rate, total_steps=recipe.epochs * batches
    )
    for epoch in range(1, recipe.epochs + 1):
        order = torch.randperm(len(labels), generator=source)
        total = torch.zeros((), device=device)
        for batch in range(batches):
            chosen = order[batch * recipe.batch_size : (batch + 1) * recipe.batch_size]
            x = _augment(images[chosen], recipe, source).to(device)
            loss = functional.cross_entropy(network(x), labels[chosen].to(device))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += loss.detach()
        progress(epoch, total.item() / batches)
    network.eval()
