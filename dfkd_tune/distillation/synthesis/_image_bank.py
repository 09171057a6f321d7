"""Kept synthetic images, from which the student also samples."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dfkd_tune.distillation.synthesis._batch import Batch
from dfkd_tune.inputs import InputSpecification


class ImageBank:
    """A ring of the newest synthetic images and their preset labels.

    They are kept in half precision, or as pixels of eight bits, as image files have them.

    Args:
        size: images that it holds at most; at least 1.
        inputs: shape and normalisation of an image.
        device: where it is kept.
        pixels: keep them as pixels; for images within the range of real ones.
        ask: gives the teacher's logits `(N, K)` of images; they are kept with these. None: are not.
    """

    def __init__(
        self,
        size: int,
        inputs: InputSpecification,
        device: torch.device,
        *,
        pixels: bool = False,
        ask: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.size = size
        self.filled = 0
        self._next = 0
        self._mean = torch.tensor(inputs.mean, device=device).view(-1, 1, 1)
        self._std = torch.tensor(inputs.std, device=device).view(-1, 1, 1)
        dtype = torch.uint8 if pixels else torch.float16
        self._images = torch.zeros(size, *inputs.shape, dtype=dtype, device=device)
        self._labels = torch.zeros(size, dtype=torch.int64, device=device)
        self._ask = ask
        kept = size if ask is not None else 0
        self._answers = torch.zeros(kept, inputs.num_classes, device=device)

    def _packed(self, images: Tensor) -> Tensor:
        """Normalised images as they are kept; a state's may be kept so already."""
        if images.dtype == self._images.dtype or self._images.dtype == torch.float16:
            return images.to(self._images.dtype)
        pixels = (images.float() * self._std + self._mean) * 255
        return pixels.round().clamp(0, 255).to(torch.uint8)

    def _normalised(self, places: Tensor) -> Tensor:
        kept = self._images[places]
        if kept.dtype == torch.uint8:
            return (kept.float() / 255 - self._mean) / self._std
        return kept.float()

    def add(self, images: Tensor, labels: Tensor) -> None:
        """Keep images `(N, C, H, W)` and labels `(N,)`, over the oldest where it is full."""
        images, labels = images[-self.size :], labels[-self.size :]
        places = (torch.arange(len(labels), device=labels.device) + self._next) % self.size
        self._images[places] = self._packed(images.detach())
        self._labels[places] = labels
        if self._ask is not None:
            # Of the images as they are kept: these are what the student sees.
            self._answers[places] = self._ask(self._normalised(places))
        self._next = (self._next + len(labels)) % self.size
        self.filled = min(self.size, self.filled + len(labels))

    def sample(self, count: int, source: torch.Generator) -> Batch:
        """Draw `count` images with replacement; the bank must not be empty."""
        chosen = torch.randint(self.filled, (count,), generator=source, device=self._labels.device)
        return Batch(
            images=self._normalised(chosen),
            labels=self._labels[chosen],
            answers=self._answers[chosen] if self._ask is not None else None,
        )

    def newest(self, label: int, count: int) -> Tensor:
        """At most `count` of the newest images with a label, `(n, C, H, W)`, newest first."""
        ages = torch.arange(self.filled, device=self._labels.device)
        # The newest lies before the place that is written next.
        places = (self._next - 1 - ages) % max(1, self.filled)
        found = places[self._labels[places] == label][:count]
        return self._normalised(found)

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs to go on."""
        state = {
            "images": self._images[: self.filled].clone(),
            "labels": self._labels[: self.filled].clone(),
            "next": self._next,
        }
        if self._ask is not None:
            state["answers"] = self._answers[: self.filled].clone()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.filled = len(state["labels"])
        self._images[: self.filled] = self._packed(state["images"].to(self._images.device))
        self._labels[: self.filled] = state["labels"].to(self._labels.device)
        self._next = state["next"]
        if self._ask is not None:
            self._answers[: self.filled] = state["answers"]
