"""Inversion: images optimised in their pixels so that the teacher sees a class in them.

It needs the teacher alone: no generator, no student, no real image.
"""

from collections.abc import Callable

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from dfkd_tune.classifiers import TappedNetwork
from dfkd_tune.distillation._optimisation import learning_rate, set_learning_rate
from dfkd_tune.distillation.terms import (
    GENERATOR_TERMS,
    BatchNormStatistics,
    GeneratorObjective,
    Objective,
    PresetLabel,
    Step,
    neighbour_differences,
)
from dfkd_tune.inputs import InputSpecification


class InversionConfig(BaseModel):
    """How images are inverted from a teacher (Yin et al., DeepInversion, CVPR 2020, eq. 2 to 4).

    The weights are this project's, for a BatchNorm term that is a sum of norms over layers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: int = Field(default=256, ge=2, description="optimised together, classes in turn")
    steps: int = Field(default=200, ge=1)
    learning_rate: float = Field(default=0.1, gt=0, allow_inf_nan=False, description="of Adam")
    preset_label: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    bn_statistics: float = Field(
        default=1.0, ge=0, allow_inf_nan=False, description="0 for a teacher without BatchNorm"
    )
    total_variation: float = Field(default=0.01, ge=0, allow_inf_nan=False)
    l2: float = Field(default=1e-3, ge=0, allow_inf_nan=False)
    jitter: int = Field(default=0, ge=0, description="pixels of random shift in every step")
    first_label: int = Field(default=0, ge=0, description="of the first image's class")
    seed: int = Field(default=0, ge=0)


def invert(
    teacher: nn.Module,
    inputs: InputSpecification,
    config: InversionConfig,
    *,
    device: torch.device,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> tuple[Tensor, Tensor]:
    """Optimise images from noise until the teacher sees their preset labels in them.

    Args:
        teacher: frozen, in evaluation mode, on `device`; given back unchanged.
        inputs: shape, normalisation and classes of its input.
        config: weights, steps and seed.
        device: where to compute.
        progress: told the steps done, and all.

    Returns:
        Images `(N, C, H, W)`, normalised and within the range of real pixels, and their preset
        labels `(N,)`; both on the CPU.
    """
    source = torch.Generator().manual_seed(config.seed)
    places = torch.arange(config.images) + config.first_label
    labels = (places % inputs.num_classes).to(device)
    mean = torch.tensor(inputs.mean, device=device).view(-1, 1, 1)
    std = torch.tensor(inputs.std, device=device).view(-1, 1, 1)
    lowest, highest = (0 - mean) / std, (1 - mean) / std
    images = torch.randn(config.images, *inputs.shape, generator=source).to(device)
    images = torch.maximum(torch.minimum(images, highest), lowest).requires_grad_(True)
    taps = TappedNetwork(teacher, inputs)
    weight = config.bn_statistics if taps.batch_norms else 0.0
    objective = Objective(
        "inversion",
        GeneratorObjective(
            preset_label=PresetLabel(weight=config.preset_label),
            bn_statistics=BatchNormStatistics(weight=weight),
        ),
        GENERATOR_TERMS,
    )
    optimiser = torch.optim.Adam([images], lr=config.learning_rate, betas=(0.5, 0.9))
    try:
        for step in range(config.steps):
            shown = images
            if config.jitter:
                shift = torch.randint(
                    -config.jitter, config.jitter + 1, (2,), generator=source
                ).tolist()
                shown = torch.roll(images, shift, (2, 3))
            passed = taps(shown, statistics="teacher_statistics" in objective.needs)
            loss, _ = objective(Step(images=shown, labels=labels, teacher=passed, student=None))
            loss = loss + config.total_variation * neighbour_differences(images)
            loss = loss + config.l2 * images.square().mean()
            rate = learning_rate(config.learning_rate, "cosine", step, config.steps)
            set_learning_rate(optimiser, rate)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            with torch.no_grad():
                images.copy_(torch.maximum(torch.minimum(images, highest), lowest))
            progress(step + 1, config.steps)
    finally:
        taps.remove()
    return images.detach().cpu(), labels.cpu()
