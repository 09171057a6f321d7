"""What a distillation tells its caller, and what the caller gives it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from torch import Tensor, nn

from dfkd_tune.distillation._collapse import CollapseSigns
from dfkd_tune.distillation.generators import Generator

Stage = Literal["generator", "student", "alternating"]
State = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What the loop tells after each epoch.

    Args:
        epoch: epochs done, from 1.
        stage: who trained in it.
        student_steps: since the start; the budget used.
        generator_steps: since the start.
        losses: epoch means of the weighted terms, such as `student/kd`.
        learning_rates: of `generator` and `student` at the epoch's end.
        class_entropy: of the teacher's mean prediction on the epoch's synthetic images, in nats;
            0 where all are of one class, log K where all classes are equally frequent.
        validation: what `evaluate` returned; empty where the epoch was not evaluated.
        seconds: by `synthesis`, `student`, `evaluation`, `total`.
        images: synthetic images that passed through training in the epoch.
        collapse: what the collapse watch saw.
        student: the student as it is now.
        generator: the generator as it is now; None where pixels are optimised.
        pictures: makes `(rows, K, C, H, W)` pixels in [0, 1] to look at, `rows` of each class,
            from a seed: of the generator, or the newest of the image bank.
        kept: images of this and earlier epochs `(N, C, H, W)`, normalised, float16, as the collapse
            watch keeps them: a sample of all that the student has seen.
        state: makes the whole state, from which `distil` goes on bit for bit.
    """

    epoch: int
    stage: Stage
    student_steps: int
    generator_steps: int
    losses: Mapping[str, float]
    learning_rates: Mapping[str, float]
    class_entropy: float
    validation: Mapping[str, float]
    seconds: Mapping[str, float]
    images: int
    collapse: CollapseSigns
    student: nn.Module
    generator: Generator | None
    pictures: Callable[[int, int], Tensor]
    kept: Tensor
    state: Callable[[], State]


class Evaluate(Protocol):
    """Scores a student; owned by the caller, the only place where real images may be."""

    def __call__(self, student: nn.Module, /) -> Mapping[str, float]:
        """Score the student without changing it or drawing random numbers."""
