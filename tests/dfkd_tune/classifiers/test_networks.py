"""Networks: size by hand, seeds, widths."""

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from dfkd_tune.classifiers import CLASSIFIERS, NetworkConfig, build_classifier, network_size
from dfkd_tune.inputs import InputSpecification

WIDE = InputSpecification(
    channels=3, height=12, width=20, mean=(0, 0, 0), std=(1, 1, 1), num_classes=7
)


def build(name: str, inputs: InputSpecification, width: float = 1.0, seed: int = 0) -> nn.Module:
    return build_classifier(NetworkConfig(architecture=name, width=width), inputs, seed)


def residual_block(before: int, after: int, *, shortcut: bool) -> int:
    weights = 9 * before * after + 2 * after + 9 * after * after + 2 * after
    return weights + (before * after + 2 * after if shortcut else 0)


def test_parameters_of_resnet8_by_hand(digits: InputSpecification) -> None:
    expected = 9 * 16 + 2 * 16
    expected += residual_block(16, 16, shortcut=False)
    expected += residual_block(16, 32, shortcut=True)
    expected += residual_block(32, 64, shortcut=True)
    expected += 64 * 10 + 10
    assert expected == 77_754
    assert network_size(build("resnet8", digits), digits).parameters == expected


@pytest.mark.parametrize(("name", "blocks"), [("resnet14", 2), ("resnet20", 3)])
def test_parameters_of_deeper_resnets_by_hand(
    digits: InputSpecification, name: str, blocks: int
) -> None:
    expected = 77_754
    for channels in (16, 32, 64):
        expected += (blocks - 1) * residual_block(channels, channels, shortcut=False)
    assert network_size(build(name, digits), digits).parameters == expected


def test_parameters_of_convnet_by_hand(digits: InputSpecification) -> None:
    expected = 9 * 32 + 64 + 9 * 32 * 64 + 128 + 9 * 64 * 128 + 256 + 128 * 10 + 10
    assert expected == 94_186
    assert network_size(build("convnet", digits), digits).parameters == expected


def test_multiply_accumulates_of_convnet_by_hand(digits: InputSpecification) -> None:
    # Maps of 8 x 8, 4 x 4 and 2 x 2 positions, and the last layer.
    expected = 64 * 9 * 32 + 16 * 9 * 32 * 64 + 4 * 9 * 64 * 128 + 128 * 10
    assert network_size(build("convnet", digits), digits).macs == expected == 609_536


def test_multiply_accumulates_of_resnet8_by_hand(digits: InputSpecification) -> None:
    expected = 64 * 9 * 16 + 2 * 64 * 9 * 16 * 16
    expected += 16 * (9 * 16 * 32 + 9 * 32 * 32 + 16 * 32)
    expected += 4 * (9 * 32 * 64 + 9 * 64 * 64 + 32 * 64)
    expected += 64 * 10
    assert network_size(build("resnet8", digits), digits).macs == expected


@pytest.mark.parametrize("training", [True, False])
def test_counting_leaves_the_network_as_it_was(digits: InputSpecification, training: bool) -> None:
    network = build("resnet8", digits).train(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network_size(network, digits)
    assert network.training is training
    assert all(torch.equal(value, before[n]) for n, value in network.state_dict().items())


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("width", [0.05, 0.5])
def test_every_network_classifies_any_size_and_every_weight_learns(name: str, width: float) -> None:
    network = build(name, WIDE, width)
    images = torch.randn(4, 3, 12, 20, generator=torch.Generator().manual_seed(0))
    logits = network(images)
    assert logits.shape == (4, 7)
    torch.nn.functional.cross_entropy(logits, torch.arange(4)).backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert bool(torch.isfinite(parameter.grad).all()), parameter_name


def test_width_multiplies_channels_rounded_and_never_to_none(digits: InputSpecification) -> None:
    def channels(width: float) -> list[int]:
        network = build("convnet", digits, width)
        return [m.num_features for m in network.modules() if isinstance(m, nn.BatchNorm2d)]

    assert channels(1.0) == [32, 64, 128]
    assert channels(0.25) == [8, 16, 32]
    assert channels(2.0) == [64, 128, 256]
    assert channels(0.01) == [1, 1, 1]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_same_seed_same_weights_and_the_global_random_state_is_left_alone(
    digits: InputSpecification, name: str
) -> None:
    def weights(seed: int) -> Tensor:
        network = build(name, digits, 0.25, seed)
        return torch.cat([p.detach().flatten() for p in network.parameters()])

    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = weights(1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert torch.equal(weights(1), first)
    assert not torch.equal(weights(2), first)


def test_answer_to_an_image_does_not_depend_on_its_batch_in_evaluation_mode(
    digits: InputSpecification,
) -> None:
    network = build("resnet8", digits, 0.5).eval()
    images = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(network(images)[2:3], network(images[2:3]), atol=1e-5)


@pytest.mark.parametrize("width", [0, -1, 17, float("nan"), float("inf")])
def test_impossible_widths_are_refused(width: float) -> None:
    with pytest.raises(ValidationError):
        NetworkConfig(architecture="convnet", width=width)


def test_an_unknown_network_is_answered_with_what_was_meant() -> None:
    with pytest.raises(ValidationError, match="did you mean 'resnet14'"):
        NetworkConfig(architecture="resnet-14")


def test_a_network_is_named_for_people() -> None:
    assert str(NetworkConfig(architecture="resnet8", width=0.5)) == "resnet8 x 0.5"
