"""A frozen network's copy for passes without gradient: those of the network, to rounding."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dfkd_tune.classifiers import (
    CLASSIFIERS,
    NetworkConfig,
    TappedNetwork,
    build_classifier,
    tapped_copy,
)
from dfkd_tune.classifiers._frozen import fold_batch_norms
from dfkd_tune.classifiers._winograd import WinogradConvolution
from dfkd_tune.inputs import InputSpecification

INPUTS = InputSpecification(
    channels=3, height=32, width=32, mean=(0.5,) * 3, std=(0.25,) * 3, num_classes=5
)
CPU = torch.device("cpu")


def with_statistics(network: nn.Module) -> nn.Module:
    """Have every BatchNorm layer do something that can be seen."""
    source = torch.Generator().manual_seed(1)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            count = layer.num_features
            layer.running_mean = torch.randn(count, generator=source) / 4
            layer.running_var = torch.rand(count, generator=source) + 0.5
            layer.weight.data = torch.rand(count, generator=source) + 0.5
            layer.bias.data = torch.randn(count, generator=source) / 4
    return network.eval()


def network(architecture: str) -> nn.Module:
    config = NetworkConfig(architecture=architecture, width=0.25)
    return with_statistics(build_classifier(config, INPUTS, 0))


def images(count: int = 3) -> Tensor:
    return torch.randn(count, *INPUTS.shape, generator=torch.Generator().manual_seed(2))


def apart(one: Tensor, other: Tensor) -> float:
    """The largest difference, in units of the values' spread."""
    return float((one.double() - other.double()).abs().max() / other.double().std())


@pytest.mark.parametrize("architecture", CLASSIFIERS)
def test_passes_are_those_of_the_network(architecture: str) -> None:
    made = network(architecture)
    copied = tapped_copy(made, INPUTS, device=CPU)
    tapped = TappedNetwork(made, INPUTS)
    assert copied.stage_names == tapped.stage_names
    with torch.no_grad():
        found, expected = (taps(images(), features=True) for taps in (copied, tapped))
    assert apart(found.logits, expected.logits) < 1e-4
    assert apart(found.penultimate_vector, expected.penultimate_vector) < 1e-4
    assert len(found.stages) == len(expected.stages) > 0
    for stage, other in zip(found.stages, expected.stages, strict=True):
        assert apart(stage, other) < 1e-4


@pytest.mark.parametrize(
    ("architecture", "folded", "left"),
    [
        ("resnet18", 20, 0),
        # BatchNorm comes before convolutions, but for the second of each of six blocks.
        ("wrn16_1", 6, 7),
        ("vgg11", 8, 0),
        ("mobilenet_v2", 52, 0),
    ],
)
def test_batch_norm_behind_a_convolution_is_gone(architecture: str, folded: int, left: int) -> None:
    made = network(architecture)
    assert fold_batch_norms(made) == folded
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in made.modules()) == left
    assert fold_batch_norms(made) == 0


@pytest.mark.parametrize("architecture", ["resnet18", "vgg11"])
def test_wide_convolutions_are_computed_by_tiles_as_exactly(architecture: str) -> None:
    made = with_statistics(build_classifier(NetworkConfig(architecture=architecture), INPUTS, 0))
    copied = tapped_copy(made, INPUTS, device=CPU)
    assert any(isinstance(layer, WinogradConvolution) for layer in copied.network.modules())
    in_bfloat16 = tapped_copy(made, INPUTS, device=CPU, precision="bfloat16")
    assert not any(
        isinstance(layer, WinogradConvolution) for layer in in_bfloat16.network.modules()
    )
    with torch.no_grad():
        found = copied(images(8), features=True)
        made.double()
        exact = made(images(8).double())
    assert apart(found.logits, exact) < 1e-4


def test_the_network_stays_as_it_was() -> None:
    made = network("resnet8").train()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    tapped_copy(made, INPUTS, device=CPU, precision="bfloat16")
    torch.testing.assert_close(made.state_dict(), before, rtol=0, atol=0)
    assert all(layer.training for layer in made.modules())
    assert all(weight.requires_grad for weight in made.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in made.modules())


def test_bfloat16_weights_are_rounded_as_every_pass_would_round_them() -> None:
    made = network("resnet8")
    copied = tapped_copy(made, INPUTS, device=CPU, precision="bfloat16")
    fold_batch_norms(made)
    layers = [layer for layer in copied.network.modules() if isinstance(layer, nn.Conv2d)]
    assert {layer.weight.dtype for layer in layers} == {torch.bfloat16}
    with torch.no_grad():
        found = copied(images())
        expected = TappedNetwork(made, INPUTS, precision="bfloat16")(images())
    assert found.logits.dtype == torch.float32
    # In whichever layout: sums within a convolution may be rounded in another order.
    assert apart(found.logits, expected.logits) < 1e-2


class Small(nn.Module):
    """A convolution and a BatchNorm layer, with more of what may stand between them."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.first = nn.Conv2d(3, 3, 3, padding=1)
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.bn = nn.BatchNorm2d(3, track_running_stats=kind != "of the batch")
        self.fc = nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        made = self.conv(x)
        out = self.bn(input=made) if self.kind == "called by keyword" else self.bn(made)
        if self.kind == "looked at elsewhere":
            out = out + made
        if self.kind == "convolved twice":
            out = out + self.conv(out)
        if self.kind == "normalised twice":
            out = out + self.bn(x)
        if self.kind == "of values" and float(out.sum()) > 0:
            out = out + 1
        logits: Tensor = self.fc(out.mean((2, 3)))
        return logits


@pytest.mark.parametrize(
    "kind",
    [
        "looked at elsewhere",
        "convolved twice",
        "normalised twice",
        "of values",
        "of the batch",
        "called by keyword",
        "named as a stage",
        "hooked",
        "of weights of its own",
    ],
)
def test_what_is_not_a_convolution_and_batch_norm_alone_is_not_folded(kind: str) -> None:
    torch.manual_seed(0)
    made = Small(kind).eval()
    assert fold_batch_norms(Small("").eval()) == 1
    if kind == "hooked":
        made.conv.register_forward_hook(lambda _m, _a, maps: 2 * maps)
    if kind == "of weights of its own":
        nn.utils.parametrizations.spectral_norm(made.conv)
    stages = ("conv",) if kind == "named as a stage" else ()
    with torch.no_grad():
        expected = TappedNetwork(made, INPUTS, stages)(images(), features=True)
        copied = tapped_copy(made, INPUTS, stages, device=CPU)
        found = copied(images(), features=True)
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in copied.network.modules()) == 1
    torch.testing.assert_close(found.logits, expected.logits)
    for stage, other in zip(found.stages, expected.stages, strict=True):
        torch.testing.assert_close(stage, other)


class Uncopyable(Small):
    def __deepcopy__(self, memo: Any) -> "Uncopyable":
        raise RuntimeError("holds what cannot be copied")


def test_a_network_that_cannot_be_copied_answers_itself() -> None:
    made = Uncopyable("").eval()
    with torch.no_grad():
        expected = made(images())
    copied = tapped_copy(made, INPUTS, device=CPU)
    assert copied.network is made
    torch.testing.assert_close(copied(images()).logits, expected)
    copied.remove()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in made.modules())
