"""What a network costs."""

import statistics
import time

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dfkd_tune.classifiers._blank import blank_image
from dfkd_tune.classifiers._modes import evaluation_mode
from dfkd_tune.inputs import InputSpecification
from dfkd_tune.records import NetworkSize

_WARM_UP = 2


def network_size(network: nn.Module, inputs: InputSpecification) -> NetworkSize:
    """Count parameters and multiply-accumulates.

    Args:
        network: any network; run once on a blank image, in evaluation mode.
        inputs: shape of its input.

    Returns:
        Trainable and frozen parameters, and multiply-accumulates of one image's forward pass in
        convolutions and matrix products.
    """
    counter = FlopCounterMode(display=False)
    with evaluation_mode(network), torch.no_grad(), counter:
        network(blank_image(network, inputs))
    return NetworkSize(
        parameters=sum(p.numel() for p in network.parameters()),
        macs=counter.get_total_flops() // 2,
    )


def measure_latency(network: nn.Module, inputs: InputSpecification, *, repeats: int = 10) -> float:
    """Measure the forward pass of one image, where the network is and with PyTorch's threads.

    Args:
        network: any network; run in evaluation mode, first without a clock to warm up.
        inputs: shape of its input.
        repeats: passes that are measured, at least 1.

    Returns:
        Median wall time in milliseconds; of a GPU, until it has finished.
    """
    image = blank_image(network, inputs)
    seconds = []
    with evaluation_mode(network), torch.no_grad():
        for repeat in range(_WARM_UP + repeats):
            _wait(image.device)
            start = time.perf_counter()
            network(image)
            _wait(image.device)
            if repeat >= _WARM_UP:
                seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
