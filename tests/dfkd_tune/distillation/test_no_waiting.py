"""In a step no number is fetched, and none made into a tensor: for either a GPU is waited for.

On a CPU the operations that would do so can be counted. Some are done once in an iteration or an
epoch; none may be done in every step.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from small_methods import INPUTS, small_config, small_teacher
from tape import why_waiting
from torch.utils._python_dispatch import TorchDispatchMode

from dfkd_tune.distillation import METHODS, DistillationConfig, distil


class Counter(TorchDispatchMode):
    """Counts operations for which a GPU would be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.looking = True

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        self.count += self.looking and why_waiting(func, args) is not None
        return func(*args, **(kwargs or {}))

    @contextmanager
    def looking_away(self) -> Iterator[None]:
        """Count nothing for the moment."""
        self.looking = False
        yield
        self.looking = True


def waits(config: DistillationConfig, monkeypatch: pytest.MonkeyPatch) -> int:
    """How often a distillation would wait for a GPU."""
    counter = Counter()
    step = torch.optim.Adam.step

    def uncounted(self: torch.optim.Adam, closure: Any = None) -> Any:
        # Its counters of steps lie on the CPU.
        with counter.looking_away():
            return step(self, closure)

    monkeypatch.setattr(torch.optim.Adam, "step", uncounted)
    with counter:
        distil(config, small_teacher(), INPUTS)
    monkeypatch.undo()
    return counter.count


def with_steps(method: str, times: int, changes: Mapping[str, Any]) -> DistillationConfig:
    """A method's small recipe with so many times the steps of an iteration."""
    config = small_config(method)
    schedule = {
        **changes.get("schedule", {}),
        "generator_steps": times * config.schedule.generator_steps,
        "student_steps": times * config.schedule.student_steps,
    }
    return small_config(method, {**changes, "schedule": schedule})


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{method: (method, {}) for method in METHODS},
    "augmented bank": (
        "dfq",
        {"image_bank": {"size": 30, "replay_share": 0.5, "augmentation": "crop_flip"}},
    ),
    "clipped": (
        "cgdd",
        {
            "student_optimiser": {"gradient_clip": 1.0, "kind": "adam"},
            "generator_optimiser": {"gradient_clip": 1.0},
        },
    ),
    "pixels": (
        "cmi",
        {
            "synthesis": {"optimise": "pixels", "jitter": 2, "flip": True, "meta": "none"},
            "generator_average": {"momentum": 0.0},
        },
    ),
    "memory and average": (
        "cgdd",
        {
            "generative_replay": {"share": 0.25, "latent_size": 3, "width": 2},
            "generator_average": {"momentum": 0.9, "share": 0.25},
        },
    ),
    "bfloat16": ("dfkd_fgvc", {"precision": "bfloat16"}),
}


@pytest.mark.parametrize("case", CASES)
def test_no_step_waits_for_a_gpu(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method, changes = CASES[case]
    few, many = (waits(with_steps(method, times, changes), monkeypatch) for times in (1, 3))
    assert few == many


def test_what_waits_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the test above can fail."""
    counter = Counter()
    with counter:
        x = torch.ones(3)
        assert x.sum().item() == 3
        assert len(x[x > 0]) == 3
        torch.tensor([1.0])
    assert counter.count == 3
    # Every epoch fetches what it came to.
    config = with_steps("dfq", 1, {})
    assert waits(config, monkeypatch) > config.schedule.total_epochs
