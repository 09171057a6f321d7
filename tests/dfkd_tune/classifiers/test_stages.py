"""Finding stages: the last feature map before each down-sampling, in all sorts of networks."""

import pytest
import torch
from torch import Tensor, nn

from dfkd_tune.classifiers import (
    CLASSIFIERS,
    NetworkConfig,
    TappedNetwork,
    build_classifier,
    find_stages,
)
from dfkd_tune.inputs import InputSpecification

Stages = dict[str, tuple[int, int]]


def pixels(side: int, channels: int = 3) -> InputSpecification:
    return InputSpecification(
        channels=channels,
        height=side,
        width=side,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        num_classes=10,
    )


def hooks(network: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


def stages(network: nn.Module, inputs: InputSpecification) -> Stages:
    """Channels and side of each stage, by its module's name, as taps read them."""
    taps = TappedNetwork(network.eval(), inputs)
    with torch.no_grad():
        made = taps(torch.zeros(2, *inputs.shape), features=True)
    taps.remove()
    assert taps.stage_names == find_stages(network, inputs)
    assert hooks(network) == 0
    assert all(x.shape[0] == 2 and x.shape[2] == x.shape[3] for x in made.stages)
    return {
        name: (x.shape[1], x.shape[2])
        for name, x in zip(taps.stage_names, made.stages, strict=True)
    }


SMALL_RESNET = {"stage1": (16, 32), "stage2": (32, 16), "stage3": (64, 8)}
X4 = {"stage1": (64, 32), "stage2": (128, 16), "stage3": (256, 8)}
LAYERS = {"layer1": (64, 32), "layer2": (128, 16), "layer3": (256, 8), "layer4": (512, 4)}


def imagenet(expansion: int) -> Stages:
    layers = {
        f"layer{i}": (32 * 2**i * expansion, side) for i, side in enumerate((16, 8, 4, 2), start=1)
    }
    return {"relu": (64, 32), **layers}


def wide(k: int) -> Stages:
    # Of the last size, what is behind the final BatchNorm and ReLU.
    return {"stage1": (16 * k, 32), "stage2": (32 * k, 16), "relu": (64 * k, 8)}


OURS: dict[str, tuple[int, Stages]] = {
    "convnet": (32, {"stage1": (32, 32), "stage2": (64, 16), "stage3": (128, 8)}),
    "lenet5": (32, {"stage1": (6, 28), "pool1": (6, 14), "stage2": (16, 10), "pool2": (16, 5)}),
    "resnet8": (32, SMALL_RESNET),
    "resnet14": (32, SMALL_RESNET),
    "resnet20": (32, SMALL_RESNET),
    "resnet8x4": (32, X4),
    "resnet32x4": (32, X4),
    "resnet18": (32, LAYERS),
    "resnet34": (32, LAYERS),
    "resnet18_imagenet": (64, imagenet(1)),
    "resnet34_imagenet": (64, imagenet(1)),
    "resnet50_imagenet": (64, imagenet(4)),
    "wrn16_1": (32, wide(1)),
    "wrn16_2": (32, wide(2)),
    "wrn40_1": (32, wide(1)),
    "wrn40_2": (32, wide(2)),
    "vgg11": (
        32,
        {"stage1": (64, 32), "stage2": (128, 16), "stage3": (256, 8), "stage5": (512, 4)},
    ),
    "mobilenet_v2": (
        32,
        {"rows.1": (24, 32), "rows.2": (32, 16), "rows.4": (96, 8), "head": (1280, 4)},
    ),
    "shufflenet_v2": (
        32,
        {"stem": (24, 32), "stage1": (116, 16), "stage2": (232, 8), "head": (1024, 4)},
    ),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_stages_of_every_network_of_this_project(name: str) -> None:
    side, expected = OURS[name]
    inputs = pixels(side)
    network = build_classifier(NetworkConfig(architecture=name), inputs, 0)
    found = stages(network, inputs)
    assert found == expected
    assert list(found) == list(expected)


THEIRS: dict[str, Stages] = {
    "resnet18": imagenet(1),
    "resnet50": imagenet(4),
    "efficientnet_b0": {
        "features.1": (16, 32),
        "features.2": (24, 16),
        "features.3": (40, 8),
        "features.5": (112, 4),
        "features": (1280, 2),
    },
    "mobilenet_v2": {
        "features.1": (16, 32),
        "features.3": (24, 16),
        "features.6": (32, 8),
        "features.13": (96, 4),
        "features": (1280, 2),
    },
    "mobilenet_v3_small": {
        "features.0": (16, 32),
        "features.1": (16, 16),
        "features.3": (24, 8),
        "features.8": (48, 4),
        "features": (576, 2),
    },
    "shufflenet_v2_x1_0": {
        "conv1": (24, 32),
        "maxpool": (24, 16),
        "stage2": (116, 8),
        "stage3": (232, 4),
        "conv5": (1024, 2),
    },
    "densenet121": {
        "features.relu0": (64, 32),
        "features.denseblock1": (256, 16),
        "features.denseblock2": (512, 8),
        "features.denseblock3": (1024, 4),
        "features": (1024, 2),
    },
    # Channels last, so that no module but the first gives a map.
    "swin_t": {"features.0.0": (96, 16)},
}


@pytest.mark.parametrize("name", THEIRS)
def test_stages_of_torchvisions_networks_at_64_pixels(name: str) -> None:
    inputs = pixels(64)
    network = build_classifier(NetworkConfig(architecture=f"torchvision:{name}"), inputs, 0)
    found = stages(network, inputs)
    assert found == THEIRS[name]
    assert list(found) == list(THEIRS[name])


def test_stages_at_224_pixels_are_the_same_modules() -> None:
    network = build_classifier(
        NetworkConfig(architecture="torchvision:mobilenet_v3_small"), pixels(224), 0
    )
    found = stages(network, pixels(224))
    assert list(found) == list(THEIRS["mobilenet_v3_small"])
    assert [side for _, side in found.values()] == [112, 56, 28, 14, 7]


# ---------------------------------------------------------------- small networks by hand

GREY = pixels(16, channels=1)


def head(channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)]


def block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))


def test_in_a_block_that_ends_in_pooling_the_map_before_the_pooling_counts() -> None:
    network = nn.Sequential(block(1, 4), block(4, 6), block(6, 8), *head(8))
    # Of 2 x 2 there is but the pooled map, which nothing reads but the average.
    assert stages(network, GREY) == {"0.1": (4, 16), "1.1": (6, 8), "2.1": (8, 4)}


def test_it_is_so_also_in_one_sequence_and_within_another_module() -> None:
    features = nn.Sequential(*block(1, 4), *block(4, 6))
    assert stages(nn.Sequential(features, *head(6)), GREY) == {"0.1": (4, 16), "0.4": (6, 8)}


class Bottleneck(nn.Module):
    """A block that narrows before it shrinks, with or without a shortcut."""

    def __init__(self, channels: int, *, shortcut: bool, around: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(channels, 2, around, padding=around // 2)
        self.shrink = nn.Conv2d(2, channels, 3, 2, 1)
        self.shortcut = nn.Conv2d(channels, channels, 1, 2) if shortcut else None

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.shrink(self.narrow(x))
        return out if self.shortcut is None else out + self.shortcut(x)


@pytest.mark.parametrize(
    ("shortcut", "around", "expected"),
    [
        (True, 1, {"0": (4, 16), "1": (4, 8)}),
        (False, 1, {"0": (4, 16), "1": (4, 8)}),
        (True, 3, {"0": (4, 16), "1": (4, 8)}),
        # A plain sequence of convolutions: the last one before the size changes.
        (False, 3, {"1.narrow": (2, 16), "1": (4, 8)}),
    ],
)
def test_what_a_block_makes_on_one_of_its_ways_is_no_stage(
    shortcut: bool, around: int, expected: Stages
) -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), Bottleneck(4, shortcut=shortcut, around=around), *head(4)
    )
    assert stages(network, GREY) == expected


def test_a_container_of_stages_is_no_block() -> None:
    body = nn.Sequential(nn.Conv2d(4, 5, 3, padding=1), Bottleneck(5, shortcut=True, around=1))
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), body, *head(5))
    assert stages(network, GREY) == {"1.0": (5, 16), "1": (5, 8)}


class Squeeze(nn.Module):
    """Squeeze-and-excitation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.excite = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.excite(self.pool(x)).sigmoid()


def test_squeeze_and_excitation_makes_no_stage() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), Squeeze(4), nn.Conv2d(4, 4, 3, 2, 1), Squeeze(4), *head(4)
    )
    assert stages(network, GREY) == {"1": (4, 16), "3": (4, 8)}


def test_maps_of_one_position_are_passed_over_unless_there_are_no_others() -> None:
    pooled = nn.Sequential(nn.Conv2d(1, 2, 3), *head(2))
    assert stages(pooled, GREY) == {"0": (2, 14)}
    alone = nn.Sequential(nn.Conv2d(1, 2, 16), nn.Flatten(), nn.Linear(2, 10))
    assert stages(alone, GREY) == {"0": (2, 1)}


def test_a_map_that_is_only_pooled_and_flattened_is_none() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(98, 10)
    )
    assert stages(network, GREY) == {"0": (2, 16)}


def test_a_network_without_feature_maps_has_no_stages() -> None:
    assert find_stages(nn.Sequential(nn.Flatten(), nn.Linear(256, 10)), GREY) == ()


def test_stages_of_images_that_are_not_square() -> None:
    inputs = InputSpecification(channels=1, height=8, width=20, mean=(0,), std=(1,), num_classes=10)
    network = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 3, 3, 2, 1), *head(3))
    taps = TappedNetwork(network, inputs)
    made = taps(torch.zeros(1, *inputs.shape), features=True)
    taps.remove()
    assert [tuple(x.shape[1:]) for x in made.stages] == [(2, 8, 20), (3, 4, 10)]


class SharedPool(nn.Module):
    """A network as tutorials write it: one pooling module, used after each convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 3, 3, padding=1)
        self.conv2 = nn.Conv2d(3, 5, 3)
        self.pool = nn.MaxPool2d(2)
        self.relu = nn.ReLU()
        self.classifier = nn.Linear(5, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.pool(self.conv1(x)))
        x = self.relu(self.conv2(x))
        logits: Tensor = self.classifier(x.mean(dim=(2, 3)))
        return logits


def test_stages_of_a_network_that_uses_one_module_twice_are_of_falling_size() -> None:
    inputs = pixels(8, channels=1)
    taps = TappedNetwork(SharedPool().eval(), inputs)
    made = taps(torch.zeros(5, 1, 8, 8), features=True)
    taps.remove()
    # conv1: 8 x 8; pooled and rectified: 4 x 4; conv2, rectified: 2 x 2.
    assert [tuple(x.shape[1:]) for x in made.stages] == [(3, 8, 8), (3, 4, 4), (5, 2, 2)]


# ---------------------------------------------------------------- leaving no trace


@pytest.mark.parametrize("training", [True, False])
def test_finding_stages_leaves_the_network_as_it_was(training: bool) -> None:
    network = build_classifier(NetworkConfig(architecture="resnet8", width=0.25), GREY, 0)
    network.train(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    find_stages(network, GREY)
    assert all(m.training is training for m in network.modules())
    assert all(torch.equal(value, before[n]) for n, value in network.state_dict().items())
    assert hooks(network) == 0


def test_finding_stages_of_a_network_that_fails_leaves_no_hook() -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(7, 2)).train()
    with pytest.raises(RuntimeError):
        find_stages(network, GREY)
    assert hooks(network) == 0
    assert network.training
