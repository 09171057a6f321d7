"""Labelled images in memory. Only teacher training and evaluation may hold these."""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """Real images of one split.

    Args:
        images: `(N, C, H, W)`, uint8, 0 to 255; at least as large as the classifier's input.
        labels: `(N,)`, int64, class indices from 0.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    def sha256(self) -> str:
        """Hash of all pixels and labels."""
        digest = hashlib.sha256()
        for part in torch.split(self.images, 4096):
            digest.update(part.contiguous().numpy().tobytes())
        digest.update(self.labels.contiguous().numpy().tobytes())
        return digest.hexdigest()
