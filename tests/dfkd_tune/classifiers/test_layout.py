"""How networks lie in memory: what they give stays the same, and what lies so is told by a rule."""

import pytest
import torch
from torch import Tensor, nn

from dfkd_tune.classifiers import (
    NetworkConfig,
    TappedNetwork,
    arranged_for_wide,
    build_classifier,
    lay_out,
)
from dfkd_tune.classifiers._precision import UsedPrecision
from dfkd_tune.inputs import InputSpecification

INPUTS = InputSpecification(
    channels=3, height=16, width=16, mean=(0.5,) * 3, std=(0.25,) * 3, num_classes=5
)
FIRST, LAST = torch.contiguous_format, torch.channels_last


def network(architecture: str, width: float = 1.0) -> nn.Module:
    return build_classifier(NetworkConfig(architecture=architecture, width=width), INPUTS, 0)


def convolutions(of: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in of.modules() if isinstance(layer, nn.Conv2d)]


def is_wide(layer: nn.Conv2d) -> bool:
    return layer.out_channels >= 512 and layer.kernel_size == (3, 3) and layer.groups == 1


@pytest.mark.parametrize(
    ("architecture", "width", "wide"),
    [
        ("resnet18", 1.0, 4),  # and a shortcut of one pixel
        ("resnet18", 0.5, 0),
        ("vgg11", 1.0, 4),
        ("wrn16_1", 1.0, 0),
        ("mobilenet_v2", 1.0, 0),  # wide, by groups of one channel or of one pixel
    ],
)
def test_wide_convolutions_lie_channels_first_and_others_last(
    architecture: str, width: float, wide: int
) -> None:
    made = lay_out(network(architecture, width))
    first = [layer for layer in convolutions(made) if is_wide(layer)]
    assert len(first) == wide
    assert all(layer.weight.is_contiguous() for layer in first)
    rest = [layer for layer in convolutions(made) if layer.groups == 1 and not is_wide(layer)]
    assert all(layer.weight.is_contiguous(memory_format=LAST) for layer in rest)


def test_all_lies_channels_last_where_no_cpu_computes() -> None:
    made = lay_out(network("resnet18").to("meta"))
    of_pixels = [layer for layer in convolutions(made) if layer.kernel_size != (1, 1)]
    assert all(layer.weight.is_contiguous(memory_format=LAST) for layer in of_pixels)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("before", [FIRST, LAST])
def test_all_that_comes_of_weights_lies_as_they_do(
    precision: UsedPrecision, before: torch.memory_format
) -> None:
    """Whatever the images, and the weights before: a convolution takes either's layout."""
    made = lay_out(network("resnet18").to(memory_format=before)).eval()
    tapped = TappedNetwork(made, INPUTS, precision=precision)
    seen: list[tuple[bool, Tensor, Tensor]] = []

    def keep(layer: nn.Module, images: tuple[Tensor, ...], maps: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        seen.append((is_wide(layer), layer.weight, maps))

    for layer in convolutions(made):
        if layer.kernel_size != (1, 1):
            layer.register_forward_hook(keep)
    for given in (FIRST, LAST):
        seen.clear()
        tapped(torch.randn(2, *INPUTS.shape).contiguous(memory_format=given), features=True)
        assert {wide for wide, *_ in seen} == {True, False}
        for wide, weight, maps in seen:
            expected = FIRST if wide else LAST
            assert weight.is_contiguous(memory_format=expected)
            assert maps.is_contiguous(memory_format=expected)


def test_a_network_without_taps_takes_images_as_weights_lie_while_it_is_arranged() -> None:
    made = lay_out(network("resnet18")).eval()
    lie: list[bool] = []
    wide = [layer for layer in convolutions(made) if is_wide(layer)]
    # Behind the hooks that arrange.
    with torch.no_grad(), arranged_for_wide(made):
        for layer in wide:
            layer.register_forward_pre_hook(lambda _, images: lie.append(images[0].is_contiguous()))
        made(torch.randn(2, *INPUTS.shape))
    assert lie == [True] * 4
    assert all(len(layer._forward_pre_hooks) == 1 for layer in wide)


@pytest.mark.parametrize("architecture", ["resnet18", "vgg11", "resnet50_imagenet"])
def test_a_pass_and_its_gradients_are_the_same_in_any_layout(architecture: str) -> None:
    images = torch.randn(4, *INPUTS.shape)
    plain, laid = network(architecture).eval(), lay_out(network(architecture)).eval()
    tapped = TappedNetwork(laid, INPUTS)
    plain.double()
    laid.double()
    for given in (images.double(), images.double().contiguous(memory_format=LAST)):
        for each in (plain, laid):
            each.zero_grad()
        expected = plain(given)
        found = tapped.network(tapped.arranged(given))
        torch.testing.assert_close(found, expected)
        expected.square().sum().backward()
        found.square().sum().backward()
        for one, other in zip(laid.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(one.grad, other.grad)
