"""What a network offers and costs."""

import time
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dfkd_tune.classifiers import (
    NetworkConfig,
    build_classifier,
    inspect_network,
    measure_latency,
    network_size,
)
from dfkd_tune.errors import TeacherError
from dfkd_tune.inputs import InputSpecification


def build(name: str, inputs: InputSpecification) -> nn.Module:
    return build_classifier(NetworkConfig(architecture=name, width=0.25), inputs, 0)


def test_a_report_says_what_loss_terms_can_use(digits: InputSpecification) -> None:
    network = build("convnet", digits)
    report = inspect_network(network, digits)
    assert report.stages == (
        ("stage1", (8, 8, 8)),
        ("stage2", (16, 4, 4)),
        ("stage3", (32, 2, 2)),
    )
    assert report.penultimate == ("classifier", 32)
    assert report.batch_norms == (("stage1.1", 8), ("stage2.1", 16), ("stage3.1", 32))
    size = network_size(network, digits)
    assert (report.parameters, report.macs) == (size.parameters, size.macs)
    assert report.latency_ms > 0
    with pytest.raises(FrozenInstanceError):
        report.macs = 0  # type: ignore[misc]


def test_a_report_follows_stages_that_are_named(digits: InputSpecification) -> None:
    network = build("resnet8", digits)
    report = inspect_network(network, digits, ("stage2.0.bn1",))
    assert [(s.name, s.shape) for s in report.stages] == [("stage2.0.bn1", (8, 4, 4))]
    with pytest.raises(TeacherError, match="did you mean 'stage2'"):
        inspect_network(network, digits, ("stag2",))


def test_a_report_of_a_network_without_maps_and_batch_norms(digits: InputSpecification) -> None:
    report = inspect_network(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), digits)
    assert (report.stages, report.batch_norms) == ((), ())
    assert (report.penultimate.name, report.penultimate.size) == ("1", 64)


@pytest.mark.parametrize("training", [True, False])
def test_inspecting_leaves_the_network_as_it_was(
    digits: InputSpecification, training: bool
) -> None:
    network = build("resnet8", digits).train(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    inspect_network(network, digits)
    assert all(m.training is training for m in network.modules())
    assert all(torch.equal(value, before[n]) for n, value in network.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


class Sleeper(nn.Module):
    """Takes the given times, one after another, and notes how it was called."""

    def __init__(self, *seconds: float) -> None:
        super().__init__()
        self.seconds = list(seconds)
        self.calls: list[tuple[Any, ...]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append((tuple(x.shape), self.training, torch.is_grad_enabled()))
        time.sleep(self.seconds.pop(0))
        return x


def test_latency_is_the_median_after_warming_up(digits: InputSpecification) -> None:
    network = Sleeper(0.3, 0.3, 0.02, 0.5, 0.02).train()
    assert 20 <= measure_latency(network, digits, repeats=3) < 150
    assert network.calls == [((1, 1, 8, 8), False, False)] * 5
    assert network.training


def test_latency_of_one_repeat_is_in_milliseconds(digits: InputSpecification) -> None:
    assert 50 <= measure_latency(Sleeper(0, 0, 0.05), digits, repeats=1) < 1000
