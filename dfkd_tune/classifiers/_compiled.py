"""Passes of a frozen network, compiled for one kind of batch at a time."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from dfkd_tune.classifiers._taps import ForwardPass, TappedNetwork
from dfkd_tune.errors import TeacherError

Outputs = tuple[Tensor, tuple[Tensor, ...], Tensor | None]
Kind = tuple[tuple[int, ...], torch.device, bool]


class CompiledPasses:
    """Gives the passes of a network whose weights and modes stay as they are, without gradient.

    The first pass on a batch of a new shape compiles, which takes some seconds. Weights are built
    into the result: BatchNorm is folded into convolutions, and ReLU computed with them. Sums are
    rounded in another order, otherwise nothing changes.

    Args:
        taps: of the network, frozen and in evaluation mode.
    """

    def __init__(self, taps: TappedNetwork) -> None:
        self.taps = taps
        self._compiled: dict[Kind, Callable[[Tensor], Outputs]] = {}

    @torch.no_grad()
    def __call__(self, images: Tensor, *, features: bool = False) -> ForwardPass:
        """Run the network.

        Args:
            images: `(N, C, H, W)`, normalised.
            features: also give stages and penultimate vector.

        Raises:
            TeacherError: if it cannot be compiled, such as where there is no C++ compiler.
        """
        # The compiled pass takes images as they lay when it was made.
        images = self.taps.arranged(images)
        kind = (tuple(images.shape), images.device, features)
        if kind not in self._compiled:
            self._compiled[kind] = self._compile(images, features)
        logits, stages, penultimate = self._compiled[kind](images)
        return ForwardPass(logits=logits, stages=stages, penultimate=penultimate)

    def _compile(self, images: Tensor, features: bool) -> Callable[[Tensor], Outputs]:
        # Loaded here: it takes seconds, and few need it.
        from torch.fx.experimental.proxy_tensor import make_fx

        def outputs(batch: Tensor) -> Outputs:
            made = self.taps(batch, features=features)
            return made.logits, made.stages, made.penultimate

        try:
            with _freezing():
                compiled: Callable[[Tensor], Outputs] = torch.compile(make_fx(outputs)(images))
                compiled(images)
        # The compiler's own errors are of many kinds and no common class.
        except Exception as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise TeacherError(
                f"settings.compile_teacher: the teacher could not be compiled here "
                f"({reason[0]}); install a C++ compiler such as g++, or set it to false"
            ) from error
        return compiled


@contextmanager
def _freezing() -> Iterator[None]:
    """Weights as constants, and no words about a CUDA toolkit beside a machine without GPU."""
    from torch._inductor import config

    logger = logging.getLogger("torch.utils.cpp_extension")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with config.patch(freezing=True):
            yield
    finally:
        logger.setLevel(level)
