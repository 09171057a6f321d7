"""What a network costs."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dfkd_tune.classifiers._modes import evaluation_mode
from dfkd_tune.inputs import InputSpecification
from dfkd_tune.records import NetworkSize


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
    device = next(network.parameters()).device
    with evaluation_mode(network), torch.no_grad(), counter:
        network(torch.zeros(1, *inputs.shape, device=device))
    return NetworkSize(
        parameters=sum(p.numel() for p in network.parameters()),
        macs=counter.get_total_flops() // 2,
    )
