"""What is measured: pairs of networks, image sizes, recipes and ways to compute them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dfkd_tune.classifiers import NetworkConfig, build_classifier
from dfkd_tune.distillation import DistillationConfig, get_method
from dfkd_tune.inputs import InputSpecification

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def square_inputs(size: int, classes: int = 10) -> InputSpecification:
    """Inputs of colour images.

    Args:
        size: height and width.
        classes: of the classifiers.
    """
    return InputSpecification(
        channels=3,
        height=size,
        width=size,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        num_classes=classes,
    )


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A teacher and a student at an image size.

    Args:
        name: of the pair.
        teacher: architecture.
        student: architecture.
        size: height and width of an image.
        batch_size: that fits a small machine.
        classes: of the classifiers.
    """

    name: str
    teacher: str
    student: str
    size: int
    batch_size: int
    classes: int

    @property
    def inputs(self) -> InputSpecification:
        """Shape, normalisation and classes."""
        return square_inputs(self.size, self.classes)


PAIRS: Mapping[str, Pair] = {
    pair.name: pair
    for pair in (
        # To try the bench itself.
        Pair(name="tiny", teacher="resnet14", student="resnet8", size=16, batch_size=8, classes=5),
        Pair(
            name="wrn-32",
            teacher="wrn40_2",
            student="wrn16_1",
            size=32,
            batch_size=64,
            classes=10,
        ),
        Pair(
            name="resnet-32",
            teacher="resnet34",
            student="resnet18",
            size=32,
            batch_size=16,
            classes=10,
        ),
        Pair(
            name="resnet-64",
            teacher="resnet34_imagenet",
            student="resnet18_imagenet",
            size=64,
            batch_size=16,
            classes=100,
        ),
        Pair(
            name="resnet-224",
            teacher="resnet34_imagenet",
            student="resnet18_imagenet",
            size=224,
            batch_size=8,
            classes=100,
        ),
    )
}

RECIPES = ("dfq", "cgdd", "dfkd_fgvc", "fast")

ITERATION: Mapping[str, dict[str, Any]] = {
    # As published: it is what repeats. An epoch of dfq has 40 of them, of cgdd 400.
    "dfq": {"generator_steps": 1, "student_steps": 10},
    "cgdd": {"generator_steps": 1, "student_steps": 5},
    "dfkd_fgvc": {"generator_steps": 20, "student_steps": 15},
    "fast": {"generator_steps": 10, "student_steps": 20, "generator_epochs": 1},
}
"""Of fast, 20 student steps in place of 400: its rounds are short against them."""

PLAIN = "plain"

WAYS: dict[str, Mapping[str, Any]] = {
    PLAIN: {},
    "default": {},
    "compiled": {"compile_teacher": True},
    "bfloat16": {"precision": "bfloat16"},
    "bfloat16+compiled": {"precision": "bfloat16", "compile_teacher": True},
    "shared_batch": {"schedule.reuse_batch": True},
    "bfloat16+shared_batch": {"precision": "bfloat16", "schedule.reuse_batch": True},
    "bfloat16+compiled+shared_batch": {
        "precision": "bfloat16",
        "compile_teacher": True,
        "schedule.reuse_batch": True,
    },
}
"""Ways to compute: the plain loop, this project's, and its settings for speed."""

GPU_WAYS: dict[str, Mapping[str, Any]] = {
    "graphs": {"cuda_graphs": True},
    "graphs+compiled": {"cuda_graphs": True, "compile_teacher": True},
    "bfloat16+graphs": {"precision": "bfloat16", "cuda_graphs": True},
    "bfloat16+graphs+compiled": {
        "precision": "bfloat16",
        "cuda_graphs": True,
        "compile_teacher": True,
    },
    "bfloat16+graphs+shared_batch": {
        "precision": "bfloat16",
        "cuda_graphs": True,
        "schedule.reuse_batch": True,
    },
}
"""Ways that need a GPU."""


def ways_on(device: torch.device) -> list[str]:
    """Names of the ways that a device can compute in, the plain one first."""
    return [*WAYS, *(GPU_WAYS if device.type == "cuda" else ())]


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is measured in several ways.

    Args:
        pair: teacher and student.
        recipe: name of a method.
        epochs: of a block.
        iterations: of an epoch.
        device: where it is computed.
        threads: of PyTorch.
    """

    pair: Pair
    recipe: str
    epochs: int
    iterations: int
    device: torch.device
    threads: int

    def configuration(self, way: str) -> DistillationConfig:
        """The case's configuration.

        Args:
            way: one of `ways_on` its device.
        """
        config = get_method(self.recipe).recipe
        values = config.model_dump(mode="json")
        student = NetworkConfig(architecture=self.pair.student, width=1.0)
        values["student"] = student.model_dump(mode="json")
        values["schedule"] |= {
            "mode": "alternating",
            "epochs": self.epochs,
            "generator_epochs": 0,
            "iterations_per_epoch": self.iterations,
            "batch_size": self.pair.batch_size,
            **ITERATION[self.recipe],
        }
        if values["image_bank"]["size"]:
            values["image_bank"]["size"] = 4096
        for key, value in (WAYS | GPU_WAYS)[way].items():
            *sections, last = key.split(".")
            place = values
            for section in sections:
                place = place[section]
            place[last] = value
        return DistillationConfig.model_validate(values)

    def teacher(self) -> nn.Module:
        """A teacher for one use: hooks that a loop leaves on it would slow the next one."""
        network = NetworkConfig(architecture=self.pair.teacher, width=1.0)
        return build_classifier(network, self.pair.inputs, 1)
