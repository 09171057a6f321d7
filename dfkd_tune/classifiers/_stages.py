"""Finding a network's stages: the last feature maps before each down-sampling."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dfkd_tune.classifiers._blank import blank_image
from dfkd_tune.classifiers._modes import evaluation_mode
from dfkd_tune.inputs import InputSpecification

Size = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class ModuleCall:
    """One call of a module while a network ran on a blank image.

    Args:
        name: of the module.
        module: the module.
        given: size of the feature map that it was given; None where that was none.
        made: shape `(C, H, W)` of the feature map that it gave; None where that was none.
        dimensions: of the tensor that it gave; 0 where that was none.
        source: identity of what it was given, to be compared with calls of inner modules only.
    """

    name: str
    module: nn.Module
    given: Size | None
    made: tuple[int, int, int] | None
    dimensions: int
    source: int

    @property
    def size(self) -> Size | None:
        """Height and width of what it gave."""
        return None if self.made is None else self.made[1:]

    @property
    def shrinks(self) -> bool:
        """Whether a feature map goes in and one of another size comes out."""
        return None not in (self.given, self.size) and self.given != self.size

    def is_inside(self, other: "ModuleCall") -> bool:
        """Whether it is a call of a module within another's."""
        return self.name.startswith(f"{other.name}.")


def _map_size(value: Any, square: bool) -> Size | None:
    """Height and width of a feature map `(N, C, H, W)`; None for anything else."""
    if not isinstance(value, Tensor) or value.dim() != 4:
        return None
    height, width = value.shape[2:]
    # Of a square image, a map that is not square has its channels last, or is no map of places.
    return None if square and height != width else (height, width)


def module_calls(network: nn.Module, inputs: InputSpecification) -> list[ModuleCall]:
    """Run a network once on a blank image, in evaluation mode, and note what its modules did.

    Args:
        network: any network; left as it was.
        inputs: shape of its input.

    Returns:
        Calls in the order in which they ended, so that a module comes behind those within it.
    """
    calls: list[ModuleCall] = []
    square = inputs.height == inputs.width

    def note(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            first = args[0] if args else None
            made = None if _map_size(output, square) is None else tuple(output.shape[1:])
            calls.append(
                ModuleCall(
                    name=name,
                    module=module,
                    given=_map_size(first, square),
                    made=made,
                    dimensions=output.dim() if isinstance(output, Tensor) else 0,
                    source=id(first),
                )
            )

        return hook

    handles = [
        module.register_forward_hook(note(name)) for name, module in network.named_modules() if name
    ]
    try:
        with evaluation_mode(network), torch.no_grad():
            network(blank_image(network, inputs))
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _is_down_sampling_block(block: ModuleCall, inner: list[ModuleCall]) -> bool:
    """Whether all that a block makes before it shrinks its input is its own affair.

    So it is where the input itself is shrunk on one of the block's ways, such as a shortcut; and
    where nothing looks at neighbouring places before, such as an expansion by a 1x1 convolution.
    """
    shrunk_at_once = any(
        call.source == block.source and call.given == block.given and call.size == block.size
        for call in inner
    )
    looks_around = any(
        call.given == call.size == block.given and _kernel(call.module) > 1 for call in inner
    )
    return shrunk_at_once or not looks_around


def _kernel(module: nn.Module) -> int:
    kernel = getattr(module, "kernel_size", 1)
    sides = kernel if isinstance(kernel, tuple) else (kernel,)
    return max((side for side in sides if isinstance(side, int)), default=1)


def stage_calls(calls: list[ModuleCall]) -> dict[Size, ModuleCall]:
    """Choose the stages: per size, the last map that no down-sampling block keeps to itself.

    Args:
        calls: of one run.

    Returns:
        By size, largest first. A size counts where a module with weights of its own is given or
        makes a map of it, so that a map that is only pooled and flattened does not. Maps of a
        single position are passed over where there are larger ones: pooling or squeeze-excitation
        made them.
    """
    blocks = []
    for position, call in enumerate(calls):
        inner = [other for other in calls[:position] if other.is_inside(call)]
        if call.shrinks and inner and _is_down_sampling_block(call, inner):
            blocks.append(call)
    used = set()
    for call in calls:
        if next(call.module.parameters(recurse=False), None) is not None:
            used |= {call.given, call.size}
    last: dict[Size, ModuleCall] = {}
    free: dict[Size, ModuleCall] = {}
    for call in calls:
        size = call.size
        if size is None or size not in used:
            continue
        last[size] = call
        if not any(block.given == size and call.is_inside(block) for block in blocks):
            free[size] = call
    chosen = {**last, **free}
    if len(chosen) > 1:
        chosen.pop((1, 1), None)
    return {size: chosen[size] for size in sorted(chosen, reverse=True)}


def find_stages(network: nn.Module, inputs: InputSpecification) -> tuple[str, ...]:
    """Name the modules whose outputs are the last feature maps before each down-sampling.

    Args:
        network: any classifier; run once on a blank image, in evaluation mode.
        inputs: shape of its input.

    Returns:
        Module names, from the largest resolution to the smallest; a module that serves several
        resolutions is named for each. Maps of a single position are passed over where there are
        larger ones.
    """
    chosen = stage_calls(module_calls(network, inputs))
    return tuple(call.name for call in chosen.values())
