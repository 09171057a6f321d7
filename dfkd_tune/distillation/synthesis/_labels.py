"""Which classes are asked for."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

LabelSampling = Literal["uniform", "balanced", "dirichlet"]

# ZSKD draws half of its targets with each of these scales of the concentration.
DIRICHLET_SCALES = (1.0, 0.1)


def class_similarity(head: nn.Linear) -> Tensor:
    """How alike classes are to the teacher: cosines of its last weights, scaled to [0, 1] by row.

    Args:
        head: the layer that gives the logits, `(K, D)` weights.

    Returns:
        `(K, K)`. Source: ZSKD (Nayak et al., ICML 2019), eq. 2 and section 3.2.
    """
    weights = functional.normalize(head.weight.detach(), dim=1)
    cosines = weights @ weights.T
    lowest, highest = cosines.amin(1, keepdim=True), cosines.amax(1, keepdim=True)
    return (cosines - lowest) / (highest - lowest).clamp_min(1e-12)


class Labels:
    """Draws preset labels, and preset distributions where the sampling makes them.

    Args:
        sampling: uniform: independent; balanced: every class equally often; dirichlet:
            distributions around balanced labels, shaped by the classes' similarity (ZSKD).
        num_classes: K.
        head: the teacher's last layer; for dirichlet.
        source: of random numbers; decides the device.
    """

    def __init__(
        self,
        sampling: LabelSampling,
        num_classes: int,
        head: nn.Module,
        source: torch.Generator,
    ) -> None:
        self.sampling, self.num_classes, self.source = sampling, num_classes, source
        self.similarity: Tensor | None = None
        if sampling == "dirichlet":
            if not isinstance(head, nn.Linear):
                raise TypeError("the teacher's last layer must be linear")
            self.similarity = class_similarity(head)

    def draw(self, count: int) -> tuple[Tensor, Tensor | None]:
        """Labels `(count,)` and, for dirichlet, distributions `(count, K)`."""
        device = self.source.device
        if self.sampling == "uniform":
            shape = (count,)
            return torch.randint(
                self.num_classes, shape, generator=self.source, device=device
            ), None
        order = torch.randperm(count, generator=self.source, device=device)
        # Which classes get the surplus changes from batch to batch.
        names = torch.randperm(self.num_classes, generator=self.source, device=device)
        labels = names[order % self.num_classes]
        if self.similarity is None:
            return labels, None
        scales = torch.tensor(DIRICHLET_SCALES, device=device)
        chosen = torch.randint(len(scales), (count,), generator=self.source, device=device)
        concentration = self.similarity.to(device)[labels] * scales[chosen].unsqueeze(1)
        return labels, self._dirichlet(concentration.clamp_min(1e-3))

    def _dirichlet(self, concentration: Tensor) -> Tensor:
        # torch's sampler takes no generator: a seed of ours, and the global state as it was.
        seed = int(torch.randint(2**31 - 1, (1,), generator=self.source, device=self.source.device))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            drawn = torch.distributions.Dirichlet(concentration.cpu()).sample()
        return drawn.to(concentration.device)
