"""The registry of networks, and how one is built."""

from collections.abc import Callable
from functools import partial

from torch import nn

from dfkd_tune.classifiers._config import NetworkConfig
from dfkd_tune.classifiers._convnets import ConvNet, LeNet5
from dfkd_tune.classifiers._foreign import build_foreign, is_foreign
from dfkd_tune.classifiers._mobilenets import MobileNetV2
from dfkd_tune.classifiers._resnets import ResNet
from dfkd_tune.classifiers._seeding import seeded
from dfkd_tune.classifiers._shufflenets import ShuffleNetV2
from dfkd_tune.classifiers._small_resnets import SmallResNet
from dfkd_tune.classifiers._vgg import VGG11
from dfkd_tune.classifiers._wide_resnets import WideResNet
from dfkd_tune.inputs import InputSpecification

_FOUR_TIMES = (32, 64, 128, 256)

CLASSIFIERS: dict[str, Callable[[float, InputSpecification], nn.Module]] = {
    "convnet": ConvNet,
    "lenet5": LeNet5,
    "resnet8": partial(SmallResNet, 8),
    "resnet14": partial(SmallResNet, 14),
    "resnet20": partial(SmallResNet, 20),
    "resnet8x4": partial(SmallResNet, 8, channels=_FOUR_TIMES),
    "resnet32x4": partial(SmallResNet, 32, channels=_FOUR_TIMES),
    "resnet18": partial(ResNet, 18, "small"),
    "resnet34": partial(ResNet, 34, "small"),
    "resnet18_imagenet": partial(ResNet, 18, "imagenet"),
    "resnet34_imagenet": partial(ResNet, 34, "imagenet"),
    "resnet50_imagenet": partial(ResNet, 50, "imagenet"),
    "wrn16_1": partial(WideResNet, 16, 1),
    "wrn16_2": partial(WideResNet, 16, 2),
    "wrn40_1": partial(WideResNet, 40, 1),
    "wrn40_2": partial(WideResNet, 40, 2),
    "vgg11": VGG11,
    "mobilenet_v2": MobileNetV2,
    "shufflenet_v2": ShuffleNetV2,
}


def build_classifier(config: NetworkConfig, inputs: InputSpecification, seed: int) -> nn.Module:
    """Build a classifier with seeded weights, leaving the global random state as it was.

    Args:
        config: architecture and width; of a foreign network also its arguments.
        inputs: shape and classes.
        seed: of the initial weights.

    Raises:
        TeacherError: if a foreign network cannot be built or does not suit `inputs`.
    """
    with seeded(seed):
        if is_foreign(config.architecture):
            return build_foreign(config.architecture, config.width, config.arguments, inputs)
        return CLASSIFIERS[config.architecture](config.width, inputs)
