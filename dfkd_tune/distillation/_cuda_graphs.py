"""Steps on a GPU that are captured once as a CUDA graph and then replayed.

A step of a small network is hundreds of short kernels, which Python starts more slowly than a GPU
computes them. Replayed, they are started at once. What Python decides in a step is as it was when
the step was captured, so a captured step draws no random numbers of its own, asks for no number,
and takes all that changes as tensors.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from dfkd_tune.classifiers import CompiledPasses, ForwardPass, TappedNetwork
from dfkd_tune.errors import UsageError

WARM_UP = 3
"""Steps of a kind before it is captured: what is set up once is not part of it."""

MOST_KINDS = 4
"""Kinds of batches of which one step is captured; each takes memory of its own."""

Work = Callable[..., tuple[Tensor, ...]]
Kind = tuple[tuple[torch.Size, tuple[int, ...], torch.dtype], ...]
Result = TypeVar("Result")


class Capture(Protocol):
    """How work on a device is captured."""

    def warm_up(self, work: Callable[[], Result]) -> Result:
        """Do work where it is to be captured later."""

    def record(
        self, work: Callable[[], tuple[Tensor, ...]]
    ) -> tuple[Callable[[], None], tuple[Tensor, ...]]:
        """Capture work without doing it.

        Returns:
            What does it, again and again, and the tensors in which its results then are.
        """


class CudaCapture:
    """Captures work on a GPU. All that it captures shares memory but for what it is given.

    Args:
        device: a GPU.

    Raises:
        UsageError: if it is none.
    """

    def __init__(self, device: torch.device) -> None:
        if device.type != "cuda":
            raise UsageError(
                f"settings.cuda_graphs: needs a CUDA GPU, and this trial computes on the "
                f"{device.type}; set it to false"
            )
        self.device = device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.pool = torch.cuda.graph_pool_handle()

    def warm_up(self, work: Callable[[], Result]) -> Result:
        """Do work on the stream on which it is to be captured later."""
        now = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(now)
        with torch.cuda.stream(self.stream), warnings.catch_warnings():
            # Optimisers that can be captured warn where they are not.
            warnings.filterwarnings("ignore", message=".*without CUDA graph capture")
            made = work()
        now.wait_stream(self.stream)
        return made

    def record(
        self, work: Callable[[], tuple[Tensor, ...]]
    ) -> tuple[Callable[[], None], tuple[Tensor, ...]]:
        """Capture work without doing it.

        Raises:
            UsageError: if it cannot be captured.
        """
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads of the process may use the GPU meanwhile.
            with torch.cuda.graph(
                graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"
            ):
                made = work()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise UsageError(
                f"settings.cuda_graphs: a step could not be captured ({reason[0]}); set it to false"
            ) from error
        return graph.replay, made


class ReplayedWork:
    """Work on tensors that is captured for each kind of them after a few times, then replayed.

    Args:
        work: takes tensors, gives detached ones; what else it depends on stays where it is.
        capture: of the device.
    """

    def __init__(self, work: Work, capture: Capture) -> None:
        self.work, self.capture = work, capture
        self._times: dict[Kind, int] = {}
        self._recorded: dict[Kind, tuple[list[Tensor], Callable[[], None], tuple[Tensor, ...]]] = {}

    def __call__(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Do the work."""
        kind = tuple((each.shape, each.stride(), each.dtype) for each in given)
        if kind not in self._recorded:
            times = self._times.get(kind, 0)
            if times < WARM_UP:
                self._times[kind] = times + 1
                return self.capture.warm_up(lambda: self.work(*given))
            if len(self._recorded) == MOST_KINDS:
                return self.work(*given)
            places = [each.clone() for each in given]
            self._recorded[kind] = places, *self.capture.record(lambda: self.work(*places))
        places, replay, made = self._recorded[kind]
        for place, each in zip(places, given, strict=True):
            place.copy_(each)
        replay()
        # The memory of all that is captured is one: what is replayed next may write over it.
        return tuple(each.clone() for each in made)


class ReplayedPasses:
    """The passes of a frozen network, without gradient, replayed.

    Args:
        passes: of the network.
        capture: of the device.
    """

    def __init__(self, passes: TappedNetwork | CompiledPasses, capture: Capture) -> None:
        self.passes = passes
        self._logits = ReplayedWork(self._run, capture)
        self._features = ReplayedWork(self._run_with_features, capture)

    @torch.no_grad()
    def _run(self, images: Tensor) -> tuple[Tensor, ...]:
        return (self.passes(images).logits,)

    @torch.no_grad()
    def _run_with_features(self, images: Tensor) -> tuple[Tensor, ...]:
        return flattened(self.passes(images, features=True))

    def __call__(self, images: Tensor, *, features: bool = False) -> ForwardPass:
        """Run the network.

        Args:
            images: `(N, C, H, W)`, normalised.
            features: also give stages and penultimate vector.
        """
        return gathered((self._features if features else self._logits)(images))


def flattened(made: ForwardPass) -> tuple[Tensor, ...]:
    """A pass without statistics as tensors: logits, then penultimate vector and stages if any."""
    if made.penultimate is None:
        return (made.logits,)
    return (made.logits, made.penultimate, *made.stages)


def gathered(tensors: Sequence[Tensor]) -> ForwardPass:
    """The pass of which `flattened` gave these."""
    logits, *features = tensors
    if not features:
        return ForwardPass(logits=logits)
    return ForwardPass(logits=logits, penultimate=features[0], stages=tuple(features[1:]))
