"""Feature taps: what they read, and that they leave no trace."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from dfkd_tune.classifiers import NetworkConfig, TappedNetwork, build_classifier
from dfkd_tune.errors import TeacherError
from dfkd_tune.inputs import InputSpecification


def batch(inputs: InputSpecification, count: int = 5) -> Tensor:
    return torch.randn(count, *inputs.shape, generator=torch.Generator().manual_seed(3))


def small(name: str, inputs: InputSpecification) -> nn.Module:
    return build_classifier(NetworkConfig(architecture=name, width=0.25), inputs, 0).eval()


def hooks(network: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


THREE_STAGES = ("convnet", "resnet8", "resnet14", "resnet20", "resnet8x4", "resnet32x4")


@pytest.mark.parametrize("name", THREE_STAGES)
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


def test_in_bfloat16_a_pass_is_near_and_what_it_gives_is_float32(
    digits: InputSpecification,
) -> None:
    network, images = small("resnet8", digits), batch(digits)
    taps = TappedNetwork(network, digits)
    reduced = TappedNetwork(network, digits, precision="bfloat16")
    with torch.no_grad():
        exact = taps(images, features=True, statistics=True)
        near = reduced(images, features=True, statistics=True)
    taps.remove()
    reduced.remove()
    pairs = [(exact.logits, near.logits), *zip(exact.stages, near.stages, strict=True)]
    pairs.append((exact.penultimate_vector, near.penultimate_vector))
    for layer, other in zip(exact.statistics, near.statistics, strict=True):
        pairs += [(layer.mean, other.mean), (layer.variance, other.variance)]
    for full, rounded in pairs:
        assert rounded.dtype == torch.float32
        # bfloat16 keeps eight bits of a number.
        assert rounded.numpy() == pytest.approx(full.numpy(), abs=0.03 * full.abs().max().item())
    assert not torch.equal(exact.logits, near.logits)


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


# ---------------------------------------------------------------- shapes


@pytest.mark.parametrize("name", ["convnet", "lenet5", "resnet18", "wrn16_1", "mobilenet_v2"])
def test_shapes_are_those_of_a_pass_and_are_found_without_a_trace(
    name: str, digits: InputSpecification
) -> None:
    network = small(name, digits).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    taps = TappedNetwork(network, digits)
    shapes = taps.shapes()
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    made = taps(batch(digits), features=True, statistics=True)
    taps.remove()
    assert shapes.stages == tuple(tuple(stage.shape[1:]) for stage in made.stages)
    assert made.penultimate is not None
    assert shapes.penultimate == made.penultimate.shape[1]
    assert shapes.batch_norms == tuple(len(found.mean) for found in made.statistics)


class Crossed(nn.Module):
    """BatchNorm layers that run in another order than they are made in, and one that does not."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.BatchNorm2d(4)
        self.unused = nn.BatchNorm2d(7)
        self.first = nn.BatchNorm2d(1)
        self.conv = nn.Conv2d(1, 4, 3)
        self.head = nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.last(self.conv(self.first(x))).mean((2, 3)))
        return logits


def test_batch_norm_layers_are_counted_as_they_run(digits: InputSpecification) -> None:
    taps = TappedNetwork(Crossed().eval(), digits)
    statistics = taps(batch(digits), statistics=True).statistics
    assert taps.shapes().batch_norms == tuple(len(found.mean) for found in statistics) == (1, 4)
    taps.remove()


# ---------------------------------------------------------------- stages that are named


def test_stages_that_are_named_are_read_in_that_order(digits: InputSpecification) -> None:
    network = small("resnet8", digits)
    taps = TappedNetwork(network, digits, ("stage3", "stage1.0.bn1", "stage3"))
    seen: list[Tensor] = []
    handle = network.get_submodule("stage1.0.bn1").register_forward_hook(
        lambda _m, _a, out: seen.append(out.clone())
    )
    made = taps(batch(digits), features=True)
    handle.remove()
    taps.remove()
    assert taps.stage_names == ("stage3", "stage1.0.bn1")
    assert [tuple(x.shape) for x in made.stages] == [(5, 16, 2, 2), (5, 4, 8, 8)]
    assert torch.equal(made.stages[1], seen[0])
    assert (seen[0] < 0).any(), "what follows it works in place"
    assert hooks(network) == 0


def test_stages_that_are_named_serve_images_of_any_size(digits: InputSpecification) -> None:
    taps = TappedNetwork(small("resnet8", digits), digits, ("stage2",))
    made = taps(torch.zeros(1, 1, 24, 24), features=True)
    assert made.stages[0].shape == (1, 8, 12, 12)
    taps.remove()


class Various(nn.Module):
    """A network with modules that give all sorts of things, or do not run."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.pair = Pair()
        self.auxiliary = nn.Linear(3, 10)
        self.projection = nn.Linear(3, 6)
        self.head = nn.Linear(6, 10)
        self.unused = nn.Linear(6, 10)

    def forward(self, x: Tensor) -> Any:
        mean, _ = self.pair(self.conv(x))
        if self.training:
            return self.head(self.projection(mean)), self.auxiliary(mean)
        return self.head(self.projection(mean))


class Pair(nn.Module):
    """Gives two tensors."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.mean((2, 3)), x


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("convv", "no module 'convv'; did you mean 'conv'?"),
        ("zzz", "no module 'zzz'; Known: auxiliary, conv, head, pair, projection, unused"),
        ("", "no module ''"),
        ("unused", "'unused' is not run"),
        ("auxiliary", "'auxiliary' is not run"),
        ("head", "'head' gives no feature map"),
        ("pair", "'pair' gives no feature map"),
    ],
)
def test_stages_that_are_none_are_refused_in_one_line(
    digits: InputSpecification, name: str, words: str
) -> None:
    network = Various()
    with pytest.raises(TeacherError) as caught:
        TappedNetwork(network, digits, ("conv", name))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert hooks(network) == 0


def test_of_a_large_network_not_all_modules_are_listed(digits: InputSpecification) -> None:
    network = small("wrn40_1", digits)
    with pytest.raises(TeacherError) as caught:
        TappedNetwork(network, digits, ("stage1.6.conv3",))
    assert "stage1.5.conv2" in str(caught.value)
    assert len(str(caught.value)) < 300


# ---------------------------------------------------------------- the penultimate vector


def test_the_penultimate_vector_is_read_by_the_last_layer_that_runs_and_gives_the_classes(
    digits: InputSpecification,
) -> None:
    network = Various().eval()
    taps = TappedNetwork(network, digits)
    assert taps.penultimate_name == "head"
    made = taps(batch(digits), features=True)
    taps.remove()
    assert made.penultimate is not None
    assert torch.equal(network.head(made.penultimate), made.logits)


def test_a_linear_layer_behind_the_logits_is_not_the_head(digits: InputSpecification) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Linear(10, 3), nn.Linear(3, 2))
    taps = TappedNetwork(network, digits)
    assert taps.penultimate_name == "1"
    taps.remove()
    without = TappedNetwork(nn.Sequential(nn.Flatten(), nn.Linear(64, 7)), digits)
    assert without.penultimate_name == "1"
    without.remove()


class Positions(nn.Module):
    """A network whose last layer sees positions, as of a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(x.squeeze(1)).mean(1)
        return logits


def test_the_penultimate_vector_is_flat(digits: InputSpecification) -> None:
    taps = TappedNetwork(Positions(), digits)
    images = batch(digits)
    made = taps(images, features=True)
    taps.remove()
    assert made.penultimate is not None
    assert torch.equal(made.penultimate, images.flatten(1))


def test_a_network_without_feature_maps_gives_logits_and_penultimate_vector(
    digits: InputSpecification,
) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 10))
    taps = TappedNetwork(network, digits)
    made = taps(batch(digits), features=True, statistics=True)
    taps.remove()
    assert (made.stages, made.statistics, taps.stage_names) == ((), (), ())
    assert made.penultimate is not None
    assert made.penultimate.shape == (5, 5)
    assert made.logits.shape == (5, 10)


def test_a_linear_layer_that_does_not_run_is_none(digits: InputSpecification) -> None:
    network = nn.Sequential(nn.Conv2d(1, 10, 8), nn.Flatten())
    network.unused = nn.Linear(3, 10)
    network.forward = lambda x: network[1](network[0](x))  # type: ignore[method-assign]
    with pytest.raises(TeacherError, match="no linear layer"):
        TappedNetwork(network, digits)
    assert hooks(network) == 0


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
