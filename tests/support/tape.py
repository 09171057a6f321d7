"""A tape for the CPU: real operations recorded once, then done again in the same memory.

It does what a CUDA graph does: no line of Python runs when it is replayed, and everything lies
where it lay. It refuses what a CUDA graph refuses or would repeat: numbers asked for, tensors made
of Python's numbers, shapes that depend on values, and draws from a generator of one's own.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

Result = TypeVar("Result")

_NO_NUMBERS = "asks for a number, which waits for the GPU"
_BY_VALUES = "has a shape that depends on values, for which a GPU is waited for"
_REFUSED: Mapping[Any, str] = {
    torch.ops.aten._local_scalar_dense.default: _NO_NUMBERS,
    torch.ops.aten.is_nonzero.default: _NO_NUMBERS,
    torch.ops.aten.lift_fresh.default: "makes a tensor of Python's numbers",
    torch.ops.aten.nonzero.default: _BY_VALUES,
    torch.ops.aten.masked_select.default: _BY_VALUES,
}


def why_waiting(func: Any, args: tuple[Any, ...]) -> str | None:
    """Why a GPU would be waited for in an operation; None where it would not."""
    if func is torch.ops.aten.index.Tensor and any(
        each.dtype == torch.bool for each in _tensors(args[1])
    ):
        return _BY_VALUES
    return _REFUSED.get(func)


class RefusedError(RuntimeError):
    """An operation that no CUDA graph can hold."""


def _tensors(value: object) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, list | tuple):
        return [each for part in value for each in _tensors(part)]
    return []


def _place(tensor: Tensor) -> int:
    """Which memory it lies in."""
    return tensor.untyped_storage()._cdata


def _places(value: object) -> set[int]:
    return {_place(each) for each in _tensors(value)}


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Tensor | None]]] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        refused = why_waiting(func, args)
        if refused is not None:
            raise RefusedError(f"{func} {refused}")
        if given.get("generator") is not None:
            raise RefusedError(f"{func} draws from a generator of one's own")
        made = func(*args, **given)
        taken = _places([*args, *given.values()])
        # What is a view of what was given, or is it, is there again by itself.
        new = [None if _place(each) in taken else each for each in _tensors(made)]
        self.done.append((func, args, given, new))
        return made


class Tape:
    """Captures work on a CPU, as `CudaCapture` does on a GPU.

    All that was recorded shares memory there. Here each has its own, so before one is replayed,
    what the others made is spoilt.
    """

    def __init__(self, device: torch.device) -> None:
        assert device.type == "cpu"
        self.replayed = 0
        self.made: list[list[Tensor]] = []

    @property
    def recorded(self) -> int:
        """How often."""
        return len(self.made)

    def warm_up(self, work: Callable[[], Result]) -> Result:
        """Do work."""
        return work()

    def record(
        self, work: Callable[[], tuple[Tensor, ...]]
    ) -> tuple[Callable[[], None], tuple[Tensor, ...]]:
        """Record work; unlike a GPU's, this tape can only do so by doing it.

        So the state that it changes is put back: a step that is captured is then replayed.
        """
        touched = _Touched()
        recorder = _Recorder()
        with touched, recorder:
            made = work()
        touched.put_back()
        own = [each for _, _, _, new in recorder.done for each in new if each is not None]
        self.made.append(own)

        def replay() -> None:
            self.replayed += 1
            self._spoil([each for other in self.made if other is not own for each in other])
            with torch._C._AutoDispatchBelowAutograd():
                for func, args, kwargs, new in recorder.done:
                    again = _tensors(func(*args, **kwargs))
                    for place, each in zip(new, again, strict=True):
                        if place is not None:
                            place.copy_(each)

        return replay, made

    def _spoil(self, made: list[Tensor]) -> None:
        with torch._C._AutoDispatchBelowAutograd():
            for each in made:
                if each.is_floating_point():
                    each.fill_(float("nan"))


class _Touched(TorchDispatchMode):
    """Keeps a copy of every tensor of before, when an operation first changes it."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}
        self.made: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if func._schema.is_mutable or "batch_norm" in str(func):
            for each in _tensors([*args, *given.values()]):
                if _place(each) not in self.made | set(self.kept):
                    self.kept[_place(each)] = (each, each.clone())
        made = func(*args, **given)
        self.made |= _places(made) - _places([*args, *given.values()])
        return made

    def put_back(self) -> None:
        """Undo the changes."""
        with torch._C._AutoDispatchBelowAutograd():
            for place, before in self.kept.values():
                place.copy_(before)
