"""A copy of a frozen network for its passes without gradient, which gives the same sooner."""

import copy
from collections import Counter
from collections.abc import Collection

import torch
from torch import fx, nn
from torch.nn.utils import fuse_conv_bn_weights

from dfkd_tune.classifiers._layout import lay_out
from dfkd_tune.classifiers._precision import UsedPrecision
from dfkd_tune.classifiers._taps import TappedNetwork
from dfkd_tune.classifiers._winograd import WinogradConvolution, is_winograd_faster
from dfkd_tune.inputs import InputSpecification


def tapped_copy(
    network: nn.Module,
    inputs: InputSpecification,
    stages: tuple[str, ...] = (),
    *,
    device: torch.device,
    precision: UsedPrecision = "float32",
) -> TappedNetwork:
    """Copy a frozen network for passes that need neither gradients nor statistics.

    BatchNorm is folded into the convolution before it, where nothing else takes what that gives;
    for bfloat16 the convolutions' weights are rounded once, not in every pass; in float32 on a CPU
    wide ones are computed by tiles. But for rounding, passes give the same.

    Args:
        network: without taps; it is not changed. One that cannot be copied is tapped itself.
        inputs: shape and classes of its input.
        stages: as for `TappedNetwork`.
        device: where it is to compute.
        precision: in which it computes.
    """
    try:
        copied = copy.deepcopy(network)
    # Foreign modules may hold what cannot be copied.
    except Exception:
        return TappedNetwork(network, inputs, stages, precision=precision)
    copied.to(device).eval().requires_grad_(False)
    convolutions = [layer for layer in copied.modules() if _is_plain(layer, nn.Conv2d)]
    fold_batch_norms(copied, keep=stages)
    if precision == "float32" and device.type == "cpu":
        for name, layer in tuple(copied.named_modules()):
            if is_winograd_faster(layer) and _is_plain(layer, nn.Conv2d):
                copied.set_submodule(name, WinogradConvolution(layer))
    tapped = TappedNetwork(lay_out(copied), inputs, stages, precision=precision)
    if precision == "bfloat16":
        for layer in convolutions:
            layer.to(torch.bfloat16)
    return tapped


def fold_batch_norms(network: nn.Module, *, keep: Collection[str] = ()) -> int:
    """Fold BatchNorm layers into the convolutions before them, in place.

    Args:
        network: in evaluation mode. One that cannot be followed symbolically stays as it is.
        keep: names of modules whose outputs are to stay what they are.

    Returns:
        How many were folded.
    """
    pairs = _pairs(network, keep)
    for before, after in pairs:
        convolution, norm = network.get_submodule(before), network.get_submodule(after)
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight,
            convolution.bias,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
        )
        network.set_submodule(after, nn.Identity())
    return len(pairs)


def _is_plain(layer: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a layer is PyTorch's own and nobody's hook looks at it or changes it."""
    return type(layer) is kind and not layer._forward_pre_hooks and not layer._forward_hooks


def _pairs(network: nn.Module, keep: Collection[str]) -> list[tuple[str, str]]:
    """Names of convolutions and of the BatchNorm layers that alone take what they give."""
    try:
        graph = fx.Tracer().trace(network)
    # Foreign code meets symbols in place of tensors, and may raise anything.
    except Exception:
        return []
    calls = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
    modules = dict(network.named_modules())

    def called(node: object, kind: type[nn.Module]) -> str | None:
        """The name of the layer that a node calls, if it is of a kind and called nowhere else."""
        if not isinstance(node, fx.Node) or node.op != "call_module":
            return None
        name = str(node.target)
        return name if _is_plain(modules[name], kind) and calls[name] == 1 else None

    pairs = []
    for node in graph.nodes:
        after = called(node, nn.BatchNorm2d)
        # A layer called by keyword has no such argument.
        if after is None or modules[after].running_mean is None or not node.args:
            continue
        before = called(node.args[0], nn.Conv2d)
        if before is not None and len(node.args[0].users) == 1 and before not in keep:
            pairs.append((before, after))
    return pairs
