"""What an epoch comes to, summed where it happens."""

from collections.abc import Mapping

import torch
from torch import Tensor


class EpochMeter:
    """Sums on the device, read once at the epoch's end: no host synchronisation in between."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.class_probability: Tensor | None = None
        self.class_count = 0
        self.images = 0
        self.seconds = {"synthesis": 0.0, "student": 0.0, "evaluation": 0.0}

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Count a step's weighted terms."""
        for name, value in losses.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()
            self.counts[name] = self.counts.get(name, 0) + 1

    def add_predictions(self, logits: Tensor) -> None:
        """Count the teacher's answer `(N, K)` to a synthetic batch."""
        mean = logits.detach().softmax(1).mean(0)
        old = self.class_probability
        self.class_probability = mean if old is None else old + mean
        self.class_count += 1

    def losses(self) -> dict[str, float]:
        """Mean of every term over its steps."""
        return {name: (value / self.counts[name]).item() for name, value in self.sums.items()}

    def class_entropy(self) -> float:
        """Of the mean prediction, in nats; NaN without one."""
        if self.class_probability is None:
            return float("nan")
        p = (self.class_probability / self.class_count).double()
        return -float(torch.special.xlogy(p, p).sum())
