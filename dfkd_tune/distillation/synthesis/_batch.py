"""A batch of synthetic images with what was asked for."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Synthetic images.

    Args:
        images: `(N, C, H, W)`, normalised as the teacher takes them.
        labels: `(N,)`, preset labels.
        answers: `(N, K)`, the teacher's logits, where they are known.
    """

    images: Tensor
    labels: Tensor
    answers: Tensor | None = None

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)


def joined(parts: list[Batch]) -> Batch:
    """One batch of several."""
    return Batch(
        images=torch.cat([part.images for part in parts]),
        labels=torch.cat([part.labels for part in parts]),
    )
