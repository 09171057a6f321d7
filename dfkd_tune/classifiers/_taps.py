"""Feature taps: what passes through an unchanged network, read by hooks.

A network needs no method or attribute of its own for this. Its stages are the last feature maps
before each change of resolution; its penultimate vector is the input of its last linear layer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dfkd_tune.classifiers._modes import evaluation_mode
from dfkd_tune.errors import TeacherError
from dfkd_tune.inputs import InputSpecification


@dataclass(frozen=True, kw_only=True)
class BatchStatistics:
    """Statistics of a batch at the input of one BatchNorm layer, and the layer's own.

    Args:
        mean: `(C,)`, of the batch, over images and positions.
        variance: `(C,)`, of the batch, biased.
        running_mean: `(C,)`, of the layer.
        running_variance: `(C,)`, of the layer.
    """

    mean: Tensor
    variance: Tensor
    running_mean: Tensor
    running_variance: Tensor


@dataclass(frozen=True, kw_only=True)
class ForwardPass:
    """What a network made of a batch.

    Args:
        logits: `(N, K)`.
        stages: feature maps `(N, C_l, H_l, W_l)`, from the largest resolution to the smallest;
            empty where not asked for.
        penultimate: `(N, D)`; None where not asked for.
        statistics: of every BatchNorm layer, in order; empty where not asked for.
    """

    logits: Tensor
    stages: tuple[Tensor, ...] = ()
    penultimate: Tensor | None = None
    statistics: tuple[BatchStatistics, ...] = ()


def _batch_statistics(x: Tensor, layer: nn.BatchNorm2d) -> BatchStatistics:
    if layer.running_mean is None or layer.running_var is None:
        raise TeacherError("a BatchNorm layer of the teacher keeps no running statistics")
    variance, mean = torch.var_mean(x.float(), dim=(0, 2, 3), unbiased=False)
    return BatchStatistics(
        mean=mean,
        variance=variance,
        running_mean=layer.running_mean,
        running_variance=layer.running_var,
    )


Size = tuple[int, int]


def _stage_modules(network: nn.Module, inputs: InputSpecification) -> dict[Size, str]:
    """The last module to give a map of each size, largest size first."""
    last: dict[Size, str] = {}

    def note(name: str) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.dim() == 4:
                last[output.shape[2], output.shape[3]] = name

        return hook

    handles = [
        module.register_forward_hook(note(name)) for name, module in network.named_modules() if name
    ]
    device = next(network.parameters()).device
    try:
        with evaluation_mode(network), torch.no_grad():
            network(torch.zeros(1, *inputs.shape, device=device))
    finally:
        for handle in handles:
            handle.remove()
    if len(last) > 1:
        last.pop((1, 1), None)
    return {size: last[size] for size in sorted(last, reverse=True)}


def find_stages(network: nn.Module, inputs: InputSpecification) -> tuple[str, ...]:
    """Name the modules whose outputs are the last feature maps of each resolution.

    Args:
        network: any classifier; run once on a blank image, in evaluation mode.
        inputs: shape of its input.

    Returns:
        Module names, from the largest resolution to the smallest; a module that serves several
        resolutions is named for each. Maps of a single position are passed over where there are
        larger ones: pooling made them.
    """
    return tuple(_stage_modules(network, inputs).values())


class TappedNetwork:
    """A network with hooks on its stages, penultimate vector and BatchNorm layers.

    The hooks cost nothing while a pass does not ask for them. The network itself is unchanged;
    `remove` takes the hooks off.

    Args:
        network: any classifier with a linear last layer.
        inputs: shape and classes of its input.

    Raises:
        TeacherError: if the network has no linear layer.
    """

    def __init__(self, network: nn.Module, inputs: InputSpecification) -> None:
        self.network = network
        stages = _stage_modules(network, inputs)
        self.stage_names = tuple(stages.values())
        self._sizes = tuple(stages)
        self._features = False
        self._statistics = False
        self._stages: dict[Size, Tensor] = {}
        self._penultimate: Tensor | None = None
        self._batch: list[BatchStatistics] = []
        modules = dict(network.named_modules())
        linear = [module for module in modules.values() if isinstance(module, nn.Linear)]
        if not linear:
            raise TeacherError("the network has no linear layer, so no penultimate vector")
        self.batch_norms = [m for m in modules.values() if isinstance(m, nn.BatchNorm2d)]
        self._handles = [
            modules[name].register_forward_hook(
                self._stage_hook({size for size, other in stages.items() if other == name})
            )
            for name in dict.fromkeys(stages.values())
        ]
        self._handles.append(linear[-1].register_forward_pre_hook(self._penultimate_hook))
        self._handles += [
            m.register_forward_pre_hook(self._statistics_hook) for m in self.batch_norms
        ]

    def _stage_hook(self, sizes: set[Size]) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Tensor) -> None:
            if self._features and output.dim() == 4:
                size = (output.shape[2], output.shape[3])
                if size in sizes:
                    self._stages[size] = output

        return hook

    def _penultimate_hook(self, _module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if self._features:
            self._penultimate = args[0]

    def _statistics_hook(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if self._statistics and isinstance(module, nn.BatchNorm2d):
            self._batch.append(_batch_statistics(args[0], module))

    @contextmanager
    def _asking(self, features: bool, statistics: bool) -> Iterator[None]:
        self._features, self._statistics = features, statistics
        try:
            yield
        finally:
            self._features = self._statistics = False
            self._stages, self._penultimate, self._batch = {}, None, []

    def __call__(
        self, images: Tensor, *, features: bool = False, statistics: bool = False
    ) -> ForwardPass:
        """Run the network.

        Args:
            images: `(N, C, H, W)`, normalised.
            features: also give stages and penultimate vector.
            statistics: also give the batch statistics at every BatchNorm layer.
        """
        with self._asking(features, statistics):
            logits = self.network(images)
            return ForwardPass(
                logits=logits,
                stages=tuple(self._stages[size] for size in self._sizes) if features else (),
                penultimate=self._penultimate,
                statistics=tuple(self._batch),
            )

    def remove(self) -> None:
        """Take all hooks off the network."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
