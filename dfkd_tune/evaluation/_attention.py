"""Where a classifier looks: spatial attention of its feature maps."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfkd_tune.classifiers import TappedNetwork, evaluation_mode
from dfkd_tune.inputs import InputSpecification

SMALLEST_EXTENT = 4


@dataclass(frozen=True, kw_only=True)
class AttentionMaps:
    """Attention maps of one network.

    Args:
        stage: name of the module whose output they are of.
        maps: `(N, H_l, W_l)`, at least 0, float32, on the CPU.
    """

    stage: str
    maps: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.maps.shape[1], self.maps.shape[2]

    def enlarged(self, height: int, width: int) -> Tensor:
        """The maps at another size `(N, height, width)`, bilinear."""
        return functional.interpolate(
            self.maps[:, None], size=(height, width), mode="bilinear", align_corners=False
        )[:, 0]


def attention_maps(
    network: nn.Module,
    images: Tensor,
    inputs: InputSpecification,
    stages: tuple[str, ...] = (),
) -> AttentionMaps | None:
    """The sum over channels of squared activations, of the last stage that has some extent.

    That is the smallest feature map of 4 x 4 positions or more; the largest one where all are
    smaller.

    Args:
        network: classifier; on the device of the images.
        images: `(N, C, H, W)`, normalised.
        inputs: of the network.
        stages: names of its stages; found where none is given.

    Returns:
        None for a network without feature maps.

    Raises:
        TeacherError: if the network has no linear layer.

    Source: Zagoruyko and Komodakis (ICLR 2017), section 3.1, F_sum with p = 2.
    """
    tapped = TappedNetwork(network, inputs, stages)
    try:
        with evaluation_mode(network), torch.no_grad():
            found = tapped(images, features=True).stages
    finally:
        tapped.remove()
    if not found:
        return None
    extents = [min(stage.shape[2:]) for stage in found]
    wide = [place for place, extent in enumerate(extents) if extent >= SMALLEST_EXTENT]
    # Of stages of one size the last counts.
    place = (
        min(reversed(wide), key=lambda place: extents[place])
        if wide
        else max(range(len(found)), key=lambda place: extents[place])
    )
    maps = found[place].float().square().sum(1).cpu()
    return AttentionMaps(stage=tapped.stage_names[place], maps=maps)


def map_correlations(first: Tensor, second: Tensor) -> list[float | None]:
    """Pearson's correlation of two maps, over their positions, image by image.

    Args:
        first: `(N, H, W)`.
        second: of the same shape.

    Returns:
        One for each image, in [-1, 1]; None where a map is the same everywhere.
    """
    maps = [x.flatten(1).double() for x in (first, second)]
    a, b = (x - x.mean(1, keepdim=True) for x in maps)
    found = ((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))).clamp(-1, 1).tolist()
    # What rounding alone makes of a flat map is no pattern.
    flat = torch.stack(
        [c.norm(dim=1) <= 1e-6 * x.norm(dim=1) for c, x in zip((a, b), maps, strict=True)]
    )
    return [None if f else r for r, f in zip(found, flat.any(0).tolist(), strict=True)]
