"""Feature taps: what passes through an unchanged network, read by hooks.

A network needs no method or attribute of its own for this. Its stages are the last feature maps
before each down-sampling; its penultimate vector is the input of the linear layer that gives the
logits.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from dfkd_tune.classifiers._blank import blank_image
from dfkd_tune.classifiers._layout import arrange_for_wide
from dfkd_tune.classifiers._modes import evaluation_mode
from dfkd_tune.classifiers._precision import UsedPrecision, computing_in
from dfkd_tune.classifiers._stages import ModuleCall, Size, module_calls, stage_calls
from dfkd_tune.classifiers._statistics import BatchStatistics, batch_statistics
from dfkd_tune.errors import TeacherError, did_you_mean
from dfkd_tune.inputs import InputSpecification


@dataclass(frozen=True, kw_only=True)
class ForwardPass:
    """What a network made of a batch.

    Args:
        logits: `(N, K)`.
        stages: feature maps `(N, C_l, H_l, W_l)`, from the largest resolution to the smallest, or
            in the order in which they were named; empty where not asked for.
        penultimate: `(N, D)`; None where not asked for.
        statistics: of every BatchNorm layer, in order; empty where not asked for.
    """

    logits: Tensor
    stages: tuple[Tensor, ...] = ()
    penultimate: Tensor | None = None
    statistics: tuple[BatchStatistics, ...] = ()

    @property
    def penultimate_vector(self) -> Tensor:
        """The penultimate vector, where it was asked for."""
        if self.penultimate is None:
            raise ValueError("the pass has no penultimate vector: it was not asked for")
        return self.penultimate


@dataclass(frozen=True, kw_only=True)
class NetworkShapes:
    """What a network's pass gives for one image.

    Args:
        stages: `(C, H, W)` of each stage.
        penultimate: length of the penultimate vector.
        batch_norms: channels of each BatchNorm layer, in the order of the pass.
    """

    stages: tuple[tuple[int, int, int], ...]
    penultimate: int
    batch_norms: tuple[int, ...]


def _named_stages(
    network: nn.Module, calls: list[ModuleCall], stages: tuple[str, ...]
) -> list[tuple[str, Size | None]]:
    """Check modules that were named as stages; they serve every size."""
    names = [name for name, _ in network.named_modules() if name]
    last = {call.name: call for call in calls}
    for name in stages:
        if name not in names:
            # All of a network's modules are too many to list.
            known = {child for child, _ in network.named_children()}
            known.update(get_close_matches(name, names, n=5))
            raise TeacherError(
                f"stages: the network has no module '{name}'; {did_you_mean(name, known)}"
            )
        if name not in last:
            raise TeacherError(
                f"stages: module '{name}' is not run when the network classifies; "
                f"name one that gives a feature map"
            )
        if last[name].dimensions != 4:
            raise TeacherError(
                f"stages: module '{name}' gives no feature map (N, C, H, W); name one that does"
            )
    return [(name, None) for name in dict.fromkeys(stages)]


def _last_linear(calls: list[ModuleCall], num_classes: int) -> ModuleCall:
    """The linear layer that gives the logits; of an auxiliary head there is no call."""
    linear = [call for call in calls if isinstance(call.module, nn.Linear)]
    if not linear:
        raise TeacherError("the network has no linear layer, so no penultimate vector")
    heads = [call for call in linear if call.module.out_features == num_classes]
    return (heads or linear)[-1]


class TappedNetwork:
    """A network with hooks on its stages, penultimate vector and BatchNorm layers.

    The hooks cost nothing while a pass does not ask for them. The network itself is unchanged;
    `remove` takes the hooks off.

    Args:
        network: any classifier with a linear last layer; run once on a blank image, in evaluation
            mode.
        inputs: shape and classes of its input.
        stages: names of the modules whose outputs are the stages, in this order; found by
            `find_stages` where none is given.
        precision: in which the network computes. What a pass gives is float32 in any case, and
            statistics are computed in it.

    Raises:
        TeacherError: if no linear layer runs in the network, or a name in `stages` is not that of
            a module that gives feature maps.
    """

    def __init__(
        self,
        network: nn.Module,
        inputs: InputSpecification,
        stages: tuple[str, ...] = (),
        *,
        precision: UsedPrecision = "float32",
    ) -> None:
        self.network = network
        self.precision = precision
        self._inputs = inputs
        calls = module_calls(network, inputs)
        if stages:
            self._taps = _named_stages(network, calls, stages)
        else:
            self._taps = [(call.name, size) for size, call in stage_calls(calls).items()]
        self.stage_names = tuple(name for name, _ in self._taps)
        head = _last_linear(calls, inputs.num_classes)
        self.head = head.module
        self.penultimate_name = head.name
        self._features = False
        self._statistics = False
        self._stages: dict[int, Tensor] = {}
        self._penultimate: Tensor | None = None
        self._batch: list[BatchStatistics] = []
        modules = dict(network.named_modules())
        self.batch_norms = [m for m in modules.values() if isinstance(m, nn.BatchNorm2d)]
        self._batch_norm_channels = tuple(
            call.module.num_features for call in calls if isinstance(call.module, nn.BatchNorm2d)
        )
        self._handles = [
            modules[name].register_forward_hook(self._stage_hook(index, size))
            for index, (name, size) in enumerate(self._taps)
        ]
        self._handles.append(head.module.register_forward_pre_hook(self._penultimate_hook))
        self._handles += [
            m.register_forward_pre_hook(self._statistics_hook) for m in self.batch_norms
        ]
        self._handles += arrange_for_wide(network)

    def _stage_hook(self, index: int, size: Size | None) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            if not self._features or not isinstance(output, Tensor) or output.dim() != 4:
                return
            if size is None:
                # What comes behind a module that somebody chose may change its output in place.
                self._stages[index] = output.float().clone()
            elif size == tuple(output.shape[2:]):
                self._stages[index] = output.float()

        return hook

    def _penultimate_hook(self, _module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if self._features:
            self._penultimate = args[0].flatten(1).float()

    def _statistics_hook(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if self._statistics and isinstance(module, nn.BatchNorm2d):
            self._batch.append(batch_statistics(args[0], module))

    @staticmethod
    def arranged(images: Tensor) -> Tensor:
        """Images as a network's passes are faster.

        All that comes of them lies as they do, whatever the layout of the weights.
        """
        return images.contiguous(memory_format=torch.channels_last)

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
        images = self.arranged(images)
        with self._asking(features, statistics):
            with computing_in(self.precision, images.device):
                logits = self.network(images)
            return ForwardPass(
                logits=logits.float(),
                stages=tuple(self._stages[i] for i in range(len(self._taps))) if features else (),
                penultimate=self._penultimate,
                statistics=tuple(self._batch),
            )

    def shapes(self) -> NetworkShapes:
        """What a pass gives for one image, found by a pass on a blank one, in evaluation mode."""
        with evaluation_mode(self.network), torch.no_grad():
            made = self(blank_image(self.network, self._inputs), features=True)
        return NetworkShapes(
            stages=tuple((x.shape[1], x.shape[2], x.shape[3]) for x in made.stages),
            penultimate=made.penultimate_vector.shape[1],
            batch_norms=self._batch_norm_channels,
        )

    def remove(self) -> None:
        """Take all hooks off the network."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
