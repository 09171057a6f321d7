"""What a classifier's input looks like: all that distillation is told about the teacher's data."""

import math
from dataclasses import dataclass

from dfkd_tune.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class InputSpecification:
    """Shape, normalisation and classes of a classifier's input. It cannot carry an image.

    Args:
        channels: number of colour channels, at least 1.
        height: pixels, at least 1.
        width: pixels, at least 1.
        mean: per channel, of pixels in [0, 1]; subtracted before the classifier.
        std: per channel, of pixels in [0, 1]; divided by; positive.
        num_classes: width of the classifier's output, at least 2.

    Raises:
        UsageError: if a number is out of range or a length does not match `channels`.
    """

    channels: int
    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    num_classes: int

    def __post_init__(self) -> None:
        """Check every field."""
        if min(self.channels, self.height, self.width) < 1:
            raise UsageError(f"input shape {self.shape} needs positive sizes; give C, H, W >= 1")
        for name in ("mean", "std"):
            values: tuple[float, ...] = getattr(self, name)
            if len(values) != self.channels:
                raise UsageError(
                    f"input {name} has {len(values)} values for {self.channels} channels; "
                    f"give one value per channel"
                )
        if not all(math.isfinite(value) for value in self.mean):
            raise UsageError(f"input mean {self.mean} must be finite in every channel")
        if not all(value > 0 and math.isfinite(value) for value in self.std):
            raise UsageError(f"input std {self.std} must be positive in every channel")
        if self.num_classes < 2:
            raise UsageError(f"num_classes is {self.num_classes}; a classifier needs at least 2")

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape `(C, H, W)` of one image."""
        return self.channels, self.height, self.width
