"""What a network looks like to a distillation."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from dfkd_tune.classifiers._blank import blank_image
from dfkd_tune.classifiers._modes import evaluation_mode
from dfkd_tune.classifiers._size import measure_latency, network_size
from dfkd_tune.classifiers._taps import TappedNetwork
from dfkd_tune.inputs import InputSpecification


class StageReport(NamedTuple):
    """A stage: its module's name, and the shape `(C, H, W)` of one image's feature map."""

    name: str
    shape: tuple[int, int, int]


class PenultimateReport(NamedTuple):
    """The penultimate vector: the name of the layer that reads it, and its length."""

    name: str
    size: int


class BatchNormReport(NamedTuple):
    """A BatchNorm layer: its name and number of channels."""

    name: str
    channels: int


@dataclass(frozen=True, kw_only=True)
class NetworkReport:
    """What a network offers to loss terms, and what it costs.

    Args:
        stages: from the largest resolution to the smallest, or as named.
        penultimate: the vector before the logits.
        batch_norms: in the network's order.
        parameters: trainable and frozen.
        macs: multiply-accumulates of one image's forward pass.
        latency_ms: median forward pass of one image, milliseconds, here and now.
    """

    stages: tuple[StageReport, ...]
    penultimate: PenultimateReport
    batch_norms: tuple[BatchNormReport, ...]
    parameters: int
    macs: int
    latency_ms: float


def inspect_network(
    network: nn.Module, inputs: InputSpecification, stages: tuple[str, ...] = ()
) -> NetworkReport:
    """Say what a network offers to loss terms, and what it costs.

    Args:
        network: any classifier; run on blank images, in evaluation mode, and left as it was.
        inputs: shape and classes of its input.
        stages: names of the modules whose outputs are the stages; found where none is given.

    Raises:
        TeacherError: if `TappedNetwork` refuses it.
    """
    taps = TappedNetwork(network, inputs, stages)
    try:
        with evaluation_mode(network), torch.no_grad():
            made = taps(blank_image(network, inputs), features=True)
    finally:
        taps.remove()
    size = network_size(network, inputs)
    return NetworkReport(
        stages=tuple(
            StageReport(name, (x.shape[1], x.shape[2], x.shape[3]))
            for name, x in zip(taps.stage_names, made.stages, strict=True)
        ),
        penultimate=PenultimateReport(
            taps.penultimate_name, 0 if made.penultimate is None else made.penultimate.shape[1]
        ),
        batch_norms=tuple(
            BatchNormReport(name, module.num_features)
            for name, module in network.named_modules()
            if isinstance(module, nn.BatchNorm2d)
        ),
        parameters=size.parameters,
        macs=size.macs,
        latency_ms=measure_latency(network, inputs),
    )
