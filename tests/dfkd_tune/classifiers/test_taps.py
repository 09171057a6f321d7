"""Feature taps: what they read, and that they leave no trace."""

from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from dfkd_tune.classifiers import (
    CLASSIFIERS,
    NetworkConfig,
    TappedNetwork,
    build_classifier,
    find_stages,
)
from dfkd_tune.errors import TeacherError
from dfkd_tune.inputs import InputSpecification


def batch(inputs: InputSpecification, count: int = 5) -> Tensor:
    return torch.randn(count, *inputs.shape, generator=torch.Generator().manual_seed(3))


def small(name: str, inputs: InputSpecification) -> nn.Module:
    return build_classifier(NetworkConfig(architecture=name, width=0.25), inputs, 0).eval()


def hooks(network: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


@pytest.fixture(scope="module")
def colour() -> InputSpecification:
    return InputSpecification(
        channels=3, height=16, width=16, mean=(0, 0, 0), std=(1, 1, 1), num_classes=4
    )


@pytest.fixture(scope="module")
def resnet18() -> nn.Module:
    """torchvision's network with the stem for small images."""
    network = torchvision.models.resnet18(weights=None, num_classes=4)
    network.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    network.maxpool = nn.Identity()
    return network.eval()


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_stages_of_every_network_are_its_three(name: str, digits: InputSpecification) -> None:
    network = small(name, digits)
    assert find_stages(network, digits) == ("stage1", "stage2", "stage3")
    assert hooks(network) == 0


def test_stages_of_a_torchvision_network_are_its_four_layers(
    resnet18: nn.Module, colour: InputSpecification
) -> None:
    assert find_stages(resnet18, colour) == ("layer1", "layer2", "layer3", "layer4")
    taps = TappedNetwork(resnet18, colour)
    made = taps(batch(colour, 2), features=True, statistics=True)
    taps.remove()
    assert [tuple(stage.shape) for stage in made.stages] == [
        (2, 64, 16, 16),
        (2, 128, 8, 8),
        (2, 256, 4, 4),
        (2, 512, 2, 2),
    ]
    assert made.penultimate is not None
    assert made.penultimate.shape == (2, 512)
    assert len(made.statistics) == 20
    assert hooks(resnet18) == 0


@pytest.mark.parametrize("training", [True, False])
def test_finding_stages_leaves_the_network_as_it_was(
    digits: InputSpecification, training: bool
) -> None:
    network = small("resnet8", digits).train(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    find_stages(network, digits)
    assert all(m.training is training for m in network.modules())
    assert all(torch.equal(value, before[n]) for n, value in network.state_dict().items())
    assert hooks(network) == 0


def test_finding_stages_of_a_network_that_fails_leaves_no_hook(digits: InputSpecification) -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(7, 2)).train()
    with pytest.raises(RuntimeError):
        find_stages(network, digits)
    assert hooks(network) == 0
    assert network.training


def test_maps_of_one_position_are_passed_over_unless_there_are_no_others(
    digits: InputSpecification,
) -> None:
    pooled = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3)
    )
    assert find_stages(pooled, digits) == ("0",)
    alone = nn.Sequential(nn.Conv2d(1, 2, 8), nn.Flatten(), nn.Linear(2, 3))
    assert find_stages(alone, digits) == ("0",)


class SharedPool(nn.Module):
    """A network as tutorials write it: one pooling module, used after each convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 3, 3, padding=1)
        self.conv2 = nn.Conv2d(3, 5, 3)
        self.pool = nn.MaxPool2d(2)
        self.relu = nn.ReLU()
        self.classifier = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.pool(self.conv1(x)))
        x = self.relu(self.conv2(x))
        logits: Tensor = self.classifier(x.mean(dim=(2, 3)))
        return logits


def test_stages_of_a_network_that_uses_one_module_twice_are_of_falling_size(
    digits: InputSpecification,
) -> None:
    network = SharedPool().eval()
    taps = TappedNetwork(network, digits)
    sizes = [tuple(stage.shape[1:]) for stage in taps(batch(digits), features=True).stages]
    taps.remove()
    # conv1: 8 x 8; pooled and rectified: 4 x 4; conv2, rectified: 2 x 2.
    assert sizes == [(3, 8, 8), (3, 4, 4), (5, 2, 2)]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_taps_read_what_the_modules_give_and_do_not_change_the_answer(
    name: str, digits: InputSpecification
) -> None:
    network = small(name, digits)
    images = batch(digits)
    seen: dict[str, Tensor] = {}
    handles = [
        getattr(network, stage).register_forward_hook(
            lambda _m, _a, out, stage=stage: seen.__setitem__(stage, out.clone())
        )
        for stage in ("stage1", "stage2", "stage3")
    ]
    with torch.no_grad():
        expected = network(images)
    for handle in handles:
        handle.remove()
    taps = TappedNetwork(network, digits)
    with torch.no_grad():
        made = taps(images, features=True, statistics=True)
    assert torch.equal(made.logits, expected)
    assert all(torch.equal(a, b) for a, b in zip(made.stages, seen.values(), strict=True))
    assert made.penultimate is not None
    pooled = seen["stage3"].double().numpy().mean((2, 3))
    assert made.penultimate.numpy() == pytest.approx(pooled, abs=1e-5)
    weight, bias = (p.detach().double().numpy() for p in network.classifier.parameters())
    assert made.logits.numpy() == pytest.approx(pooled @ weight.T + bias, abs=1e-4)
    taps.remove()


def test_statistics_are_those_of_each_layers_input_in_numpy(digits: InputSpecification) -> None:
    network = small("resnet8", digits)
    layers = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for index, layer in enumerate(layers):
        nn.init.constant_(layer.running_mean, index)
    inputs: list[np.ndarray] = []
    handles = [
        m.register_forward_pre_hook(lambda _m, args: inputs.append(args[0].double().numpy()))
        for m in layers
    ]
    with torch.no_grad():
        network(batch(digits))
    for handle in handles:
        handle.remove()
    taps = TappedNetwork(network, digits)
    with torch.no_grad():
        statistics = taps(batch(digits), statistics=True).statistics
    taps.remove()
    assert len(statistics) == len(layers) == 9
    for found, x, index in zip(statistics, inputs, range(9), strict=True):
        assert found.mean.numpy() == pytest.approx(x.mean((0, 2, 3)), abs=1e-5)
        assert found.variance.numpy() == pytest.approx(x.var((0, 2, 3)), rel=1e-4, abs=1e-6)
        assert found.running_mean.unique().tolist() == [index]
        assert found.running_variance.unique().tolist() == [1]


class CountOperations(TorchDispatchMode):
    """Counts what is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_taps_cost_nothing_when_not_asked(digits: InputSpecification) -> None:
    network, images = small("resnet8", digits), batch(digits)

    def operations(call: Any) -> int:
        with torch.no_grad(), CountOperations() as counted:
            call()
        return counted.count

    bare = operations(lambda: network(images))
    taps = TappedNetwork(network, digits)
    assert operations(lambda: taps(images)) == bare
    assert operations(lambda: taps(images, features=True)) == bare
    assert operations(lambda: taps(images, statistics=True)) > bare
    made = taps(images)
    assert (made.stages, made.penultimate, made.statistics) == ((), None, ())
    assert operations(lambda: network(images)) == bare
    taps.remove()


def test_nothing_is_kept_of_a_pass_after_it(digits: InputSpecification) -> None:
    taps = TappedNetwork(small("convnet", digits), digits)
    first = taps(batch(digits), features=True, statistics=True)
    assert len(first.statistics) == 3
    assert len(taps(batch(digits), statistics=True).statistics) == 3
    assert taps(batch(digits)).statistics == ()
    taps.remove()


def test_after_remove_no_hook_is_left_and_removing_again_is_harmless(
    digits: InputSpecification,
) -> None:
    network = small("convnet", digits)
    taps = TappedNetwork(network, digits)
    assert hooks(network) > 0
    taps.remove()
    assert hooks(network) == 0
    taps.remove()


def test_two_taps_on_one_network_do_not_disturb_each_other(digits: InputSpecification) -> None:
    network = small("convnet", digits)
    first, second = TappedNetwork(network, digits), TappedNetwork(network, digits)
    assert len(first(batch(digits), statistics=True).statistics) == 3
    first.remove()
    assert len(second(batch(digits), statistics=True).statistics) == 3
    second.remove()


def test_gradients_pass_through_taps_to_the_images(digits: InputSpecification) -> None:
    network = small("convnet", digits).requires_grad_(False)
    images = batch(digits).requires_grad_(True)
    taps = TappedNetwork(network, digits)
    made = taps(images, features=True, statistics=True)
    for value in (made.logits, *made.stages, made.penultimate, made.statistics[-1].variance):
        assert value is not None
        (gradient,) = torch.autograd.grad(value.square().sum(), images, retain_graph=True)
        assert bool(torch.isfinite(gradient).all())
        assert gradient.abs().max() > 0
    taps.remove()


def test_a_network_without_a_linear_layer_is_refused(digits: InputSpecification) -> None:
    network = nn.Sequential(nn.Conv2d(1, 10, 8), nn.Flatten())
    with pytest.raises(TeacherError, match="no linear layer"):
        TappedNetwork(network, digits)
    assert hooks(network) == 0


def test_a_batch_norm_without_running_statistics_is_named(digits: InputSpecification) -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False), nn.Flatten(),
        nn.Linear(72, 2),
    )  # fmt: skip
    taps = TappedNetwork(network, digits)
    with pytest.raises(TeacherError, match="no running statistics"):
        taps(batch(digits), statistics=True)
    assert taps(batch(digits)).logits.shape == (5, 2)
    taps.remove()
