"""What an epoch comes to, summed where it happens."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

Phase = Literal["synthesis", "student", "evaluation"]


class EpochMeter:
    """Sums on the device, read once at the epoch's end: no host synchronisation in between.

    Args:
        device: on which is computed what is timed.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.class_probability: Tensor | None = None
        self.class_count = 0
        self.images = 0
        self._seconds: dict[Phase, float] = {"synthesis": 0.0, "student": 0.0, "evaluation": 0.0}
        self._events: list[tuple[Phase, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def timing(self, phase: Phase) -> Iterator[None]:
        """Count the seconds of a block; on a GPU those in which it computes, which come later."""
        if self.device.type == "cuda":
            began = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            ended = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            began.record()
            yield
            ended.record()
            self._events.append((phase, began, ended))
            return
        started = time.perf_counter()
        yield
        self._seconds[phase] += time.perf_counter() - started

    @property
    def seconds(self) -> Mapping[Phase, float]:
        """Of every phase so far; a GPU is waited for."""
        if self._events:
            self._events[-1][2].synchronize()
        for phase, began, ended in self._events:
            self._seconds[phase] += began.elapsed_time(ended) / 1000
        self._events.clear()
        return self._seconds

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

    def add_synthesis(self, losses: Mapping[str, Tensor], logits: Tensor) -> None:
        """Count a generator step: its weighted terms, and the teacher's answer `(N, K)`."""
        self.add(losses)
        self.add_predictions(logits)
        self.images += len(logits)

    def losses(self) -> dict[str, float]:
        """Mean of every term over its steps."""
        return {name: (value / self.counts[name]).item() for name, value in self.sums.items()}

    def class_entropy(self) -> float:
        """Of the mean prediction, in nats; NaN without one."""
        if self.class_probability is None:
            return float("nan")
        p = (self.class_probability / self.class_count).double()
        return -float(torch.special.xlogy(p, p).sum())
