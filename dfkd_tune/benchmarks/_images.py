"""Labelled images in memory. Only teacher training and evaluation may hold these."""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from dfkd_tune.inputs import InputSpecification


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """Real images of one split.

    Args:
        images: `(N, C, H, W)`, uint8, 0 to 255.
        labels: `(N,)`, int64, class indices from 0.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    def normalised(self, inputs: InputSpecification) -> Tensor:
        """The images as a classifier takes them: `(N, C, H, W)`, float32, normalised."""
        mean = torch.tensor(inputs.mean).view(-1, 1, 1)
        std = torch.tensor(inputs.std).view(-1, 1, 1)
        return (self.images.float() / 255 - mean) / std

    def sha256(self) -> str:
        """Hash of all pixels and labels."""
        digest = hashlib.sha256(self.images.contiguous().numpy().tobytes())
        digest.update(self.labels.contiguous().numpy().tobytes())
        return digest.hexdigest()
