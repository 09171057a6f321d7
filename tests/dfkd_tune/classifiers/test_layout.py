"""How networks lie in memory: what they give stays the same, and what lies so is told by a rule."""

import pytest
import torch
from torch import Tensor, nn

from dfkd_tune.classifiers import (
    NetworkConfig,
    TappedNetwork,
    build_classifier,
    fast_layout,
    lay_out,
)
from dfkd_tune.classifiers._precision import UsedPrecision
from dfkd_tune.inputs import InputSpecification

INPUTS = InputSpecification(
    channels=3, height=16, width=16, mean=(0.5,) * 3, std=(0.25,) * 3, num_classes=5
)
CPU, GPU = torch.device("cpu"), torch.device("cuda")
FIRST, LAST = torch.contiguous_format, torch.channels_last


def network(architecture: str, width: float = 1.0) -> nn.Module:
    return build_classifier(NetworkConfig(architecture=architecture, width=width), INPUTS, 0)


@pytest.mark.parametrize(
    ("architecture", "width", "expected"),
    [
        ("resnet18", 1.0, FIRST),
        ("resnet18", 0.5, LAST),
        ("vgg11", 1.0, FIRST),
        ("wrn16_1", 1.0, LAST),
        ("convnet", 1.0, LAST),
        ("mobilenet_v2", 1.0, LAST),  # wide, with a convolution for each channel
    ],
)
def test_wide_networks_lie_channels_first(
    architecture: str, width: float, expected: torch.memory_format
) -> None:
    made = network(architecture, width)
    assert fast_layout(made, "float32", CPU) == expected
    assert fast_layout(made, "bfloat16", CPU) == LAST
    assert fast_layout(made, "float32", GPU) == LAST


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("before", [FIRST, LAST])
def test_weights_and_all_that_comes_of_them_lie_alike(
    precision: UsedPrecision, before: torch.memory_format
) -> None:
    """Whatever the images, and the weights before: a convolution takes either's layout."""
    expected = FIRST if precision == "float32" else LAST
    made = lay_out(network("resnet18").to(memory_format=before), precision).eval()
    weights = [layer.weight for layer in made.modules() if isinstance(layer, nn.Conv2d)]
    assert all(weight.is_contiguous(memory_format=expected) for weight in weights)
    tapped = TappedNetwork(made, INPUTS, precision=precision)
    seen: list[Tensor] = []
    for layer in made.modules():
        if isinstance(layer, nn.Conv2d) and layer.out_channels < 512:  # those have 1 x 1 pixels
            layer.register_forward_hook(lambda _module, _images, made: seen.append(made))
    for given in (FIRST, LAST):
        seen.clear()
        tapped(torch.randn(2, *INPUTS.shape).contiguous(memory_format=given), features=True)
        assert seen
        assert all(maps.is_contiguous(memory_format=expected) for maps in seen)


def test_a_pass_gives_the_same_in_either_layout() -> None:
    images = torch.randn(2, *INPUTS.shape)
    made = network("resnet18").eval()
    plain = made(images)
    first = TappedNetwork(lay_out(made), INPUTS)(images).logits
    last = made.to(memory_format=LAST)(images.contiguous(memory_format=LAST))
    torch.testing.assert_close(first, plain)
    torch.testing.assert_close(last, plain, rtol=1e-4, atol=1e-5)
