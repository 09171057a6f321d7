"""A tiny teacher, tiny configurations, and a recorder of whole distillations."""

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dfkd_tune.classifiers import NetworkConfig, build_classifier
from dfkd_tune.distillation import DistillationConfig, Progress, State, distil
from dfkd_tune.inputs import InputSpecification

BASE: Mapping[str, Any] = {
    "method": "test",
    "student": {"architecture": "convnet", "width": 0.06},
    "generator": {"width": 3, "latent_size": 5, "label_embedding_size": 3},
    "generator_objective": {"preset_label": {"weight": 1.0}, "bn_statistics": {"weight": 0.5}},
    "student_objective": {
        "kd": {"weight": 1.0},
        "preset_label": {"weight": 0.5},
        "attention_transfer": {"weight": 5.0},
    },
    "student_optimiser": {"learning_rate": 0.05},
    "schedule": {
        "epochs": 3,
        "iterations_per_epoch": 2,
        "generator_steps": 1,
        "student_steps": 2,
        "batch_size": 6,
    },
    "seed": 3,
}


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def inputs() -> InputSpecification:
    """Two channels and unequal sides, so that a mix-up of axes shows."""
    return InputSpecification(
        channels=2, height=8, width=4, mean=(0.3, 0.5), std=(0.4, 0.2), num_classes=4
    )


def _teacher(inputs: InputSpecification) -> nn.Module:
    network = build_classifier(NetworkConfig(architecture="convnet", width=0.125), inputs, 11)
    numbers = np.random.default_rng(5)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            size = module.num_features
            module.running_mean = torch.tensor(numbers.normal(0, 0.3, size), dtype=torch.float32)
            module.running_var = torch.tensor(numbers.uniform(0.5, 2, size), dtype=torch.float32)
    return network.eval()


@pytest.fixture(scope="session")
def make_teacher(inputs: InputSpecification) -> Callable[[], nn.Module]:
    """Make a network with BatchNorm statistics that are not those of a fresh layer."""
    return lambda: _teacher(inputs)


@pytest.fixture
def teacher(make_teacher: Callable[[], nn.Module]) -> nn.Module:
    """A convolutional network of the test's own."""
    return make_teacher()


@pytest.fixture(scope="session")
def make_config() -> Callable[..., DistillationConfig]:
    """Make a configuration; sections given are laid over the base, objectives replace it."""

    def make(**sections: Any) -> DistillationConfig:
        merged = dict(BASE)
        for name, given in sections.items():
            replaces = name.endswith("_objective") or not isinstance(given, Mapping)
            merged[name] = given if replaces else {**merged.get(name, {}), **given}
        return DistillationConfig.model_validate(merged)

    return make


@dataclass
class Recorded:
    """What a distillation told: its progress, and its state after each epoch, as bytes."""

    progress: list[Progress] = field(default_factory=list)
    states: list[bytes] = field(default_factory=list)
    student: nn.Module | None = None

    def state(self, epoch: int) -> State:
        """The state after an epoch, read as a checkpoint is."""
        loaded: State = torch.load(io.BytesIO(self.states[epoch - 1]), weights_only=True)
        return loaded


@pytest.fixture(scope="session")
def record(inputs: InputSpecification) -> Callable[..., Recorded]:
    """Run a distillation and record it."""

    def run(config: DistillationConfig, teacher: nn.Module, **options: Any) -> Recorded:
        recorded = Recorded()

        def report(progress: Progress) -> None:
            recorded.progress.append(progress)
            file = io.BytesIO()
            torch.save(progress.state(), file)
            recorded.states.append(file.getvalue())

        recorded.student = distil(config, teacher, inputs, report=report, **options)
        return recorded

    return run


def _differences(a: Any, b: Any, where: str) -> list[str]:
    if isinstance(a, torch.Tensor):
        same = isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
        return [] if same else [where]
    if isinstance(a, Mapping):
        if not isinstance(b, Mapping) or a.keys() != b.keys():
            return [where]
        return [x for key in a for x in _differences(a[key], b[key], f"{where}/{key}")]
    if isinstance(a, list | tuple):
        if len(a) != len(b):
            return [where]
        return [
            x
            for i, (p, q) in enumerate(zip(a, b, strict=True))
            for x in _differences(p, q, f"{where}/{i}")
        ]
    return [] if a == b else [where]


@pytest.fixture(scope="session")
def differences() -> Callable[[Any, Any], list[str]]:
    """Name the places in which two nested states differ, bit for bit."""
    return lambda a, b: _differences(a, b, "")
