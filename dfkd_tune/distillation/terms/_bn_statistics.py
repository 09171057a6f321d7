"""The distance of a batch's statistics from those that the teacher's BatchNorm layers keep."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from dfkd_tune.classifiers import BatchStatistics
from dfkd_tune.distillation.terms._step import Step
from dfkd_tune.distillation.terms._term import TermContext, TermModule, TermSettings


class BatchNormStatistics(TermSettings):
    """Distance of the images' statistics from those that the teacher's BatchNorm layers keep.

    Published: the un-squared form with biased variance (DFKD-FGVC eq. 3; ADI eq. 4; CMI); the
    squared form (Luo et al. 2020); the moving average over synthesis rounds (Fast-DFKD, 0.9), with
    which a small batch need not look like the whole data set. `normalised` is this project's:
    a mean over layers and channels in units of the layer's own deviation, so that a weight means
    the same for every teacher. Inferred for CGDD: that this term is its "teacher knowledge", and
    the weight of 1.
    """

    weight: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    distance: Literal["l2", "l2_squared", "normalised"] = "l2"
    first_layer_factor: float = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="extra weight of layer 1"
    )
    momentum: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="of the statistics' moving average over rounds, or steps of a stream",
    )


# Added to a running variance before it divides: that of PyTorch's BatchNorm.
_EPSILON = 1e-5


def statistics_distance(
    kind: Literal["l2", "l2_squared", "normalised"], mean: Tensor, variance: Tensor, of: Tensor
) -> Tensor:
    """The distance at one layer.

    Args:
        kind: the form.
        mean: `(C,)`, of the images.
        variance: `(C,)`, of the images.
        of: `(2, C)`, the layer's running mean and variance.

    Returns:
        A scalar: `l2` ||mean - m|| + ||variance - v||; `l2_squared` with both norms squared;
        `normalised` the root mean square over channels of (mean - m) / sqrt(v) and of
        (variance - v) / v, added.
    """
    differences = [mean - of[0], variance - of[1]]
    if kind == "normalised":
        running = of[1] + _EPSILON
        differences = [differences[0] / running.sqrt(), differences[1] / running]
    norms: list[Tensor] = [torch.linalg.vector_norm(each) for each in differences]
    if kind == "normalised":
        norms = [norm / len(mean) ** 0.5 for norm in norms]
    if kind == "l2_squared":
        norms = [norm**2 for norm in norms]
    return norms[0] + norms[1]


class BatchNormTerm(TermModule):
    """Sum over layers, or their mean where normalised, of the distance of the statistics.

    Args:
        settings: form and moving average.
        context: channels of the teacher's BatchNorm layers; needed for a moving average.
    """

    def __init__(self, settings: BatchNormStatistics, context: TermContext | None) -> None:
        super().__init__()
        self.settings = settings
        self.layers = 0
        if settings.momentum > 0:
            if context is None:
                raise TypeError("a moving average must know the teacher's BatchNorm layers")
            self.layers = len(context.teacher.batch_norms)
            for index, channels in enumerate(context.teacher.batch_norms):
                self.register_buffer(f"average_{index}", torch.zeros(2, channels))
            self.register_buffer("rounds", torch.zeros((), dtype=torch.int64))

    def _mixed(self, index: int, layer: BatchStatistics) -> tuple[Tensor, Tensor]:
        momentum = self.settings.momentum
        if momentum == 0:
            return layer.mean, layer.variance
        average = self.get_buffer(f"average_{index}")
        # Nothing to lean on in the first round.
        kept = momentum * (self.get_buffer("rounds") > 0).to(average.dtype)
        mean = kept * average[0] + (1 - kept) * layer.mean
        return mean, kept * average[1] + (1 - kept) * layer.variance

    def forward(self, step: Step) -> Tensor:
        """The distance of a batch, or of the moving average with it."""
        settings = self.settings
        total = torch.zeros((), device=step.images.device)
        for index, layer in enumerate(step.teacher.statistics):
            mean, variance = self._mixed(index, layer)
            of = torch.stack([layer.running_mean, layer.running_variance])
            distance = statistics_distance(settings.distance, mean, variance, of)
            total = total + distance * (settings.first_layer_factor if index == 0 else 1)
        if settings.distance == "normalised":
            return total / max(1, len(step.teacher.statistics))
        return total

    @torch.no_grad()
    def synthesised(self, step: Step) -> None:
        """Take a batch into the moving average."""
        if self.layers == 0:
            return
        for index, layer in enumerate(step.teacher.statistics):
            mean, variance = self._mixed(index, layer)
            self.get_buffer(f"average_{index}").copy_(torch.stack([mean, variance]))
        self.get_buffer("rounds").add_(1)
