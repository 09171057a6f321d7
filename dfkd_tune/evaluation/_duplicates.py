"""Images that are nearly the same to a classifier."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfkd_tune.classifiers import TappedNetwork, evaluation_mode
from dfkd_tune.evaluation._scores import usual_batch
from dfkd_tune.inputs import InputSpecification


def penultimate_features(
    network: nn.Module,
    images: Tensor,
    inputs: InputSpecification,
    stages: tuple[str, ...] = (),
) -> tuple[Tensor, Tensor]:
    """The penultimate vectors of images, and the logits.

    Args:
        network: classifier.
        images: `(N, C, H, W)`, normalised; moved to the network's device batch by batch.
        inputs: of the network.
        stages: names of its stages, where they cannot be found.

    Returns:
        `(N, D)` and `(N, K)`, float32, on the CPU.

    Raises:
        TeacherError: if the network has no linear layer.
    """
    device = next(network.parameters()).device
    tapped = TappedNetwork(network, inputs, stages)
    vectors, logits = [], []
    try:
        with evaluation_mode(network), torch.no_grad():
            for part in torch.split(images, usual_batch(images, device)):
                made = tapped(part.to(device), features=True)
                vectors.append(made.penultimate_vector.float().cpu())
                logits.append(made.logits.float().cpu())
    finally:
        tapped.remove()
    return torch.cat(vectors), torch.cat(logits)


def nearest_others(features: Tensor) -> tuple[Tensor, Tensor]:
    """The cosine distance of every vector to the nearest other one, and which that is.

    Args:
        features: `(N, D)`, N at least 2.

    Returns:
        Distances `(N,)` in [0, 2], float64, and indices `(N,)`. A vector of zeros is at 1 from all.
    """
    unit = functional.normalize(features.double(), dim=1)
    similarity = (unit @ unit.T).fill_diagonal_(-torch.inf)
    nearest, which = similarity.max(1)
    return (1 - nearest).clamp(0, 2), which
