"""Students one after another and stacked: the same work, timed."""

import json
from pathlib import Path

import torch

from dfkd_tune.classifiers import NetworkConfig, build_classifier
from performance import stacked
from performance.cases import square_inputs


def test_both_ways_train_the_same() -> None:
    inputs = square_inputs(16, 5)
    config = NetworkConfig(architecture="convnet", width=0.1)
    networks = [build_classifier(config, inputs, seed).double() for seed in range(3)]
    source = torch.Generator().manual_seed(0)
    images = torch.randn(6, *inputs.shape, generator=source, dtype=torch.float64)
    teacher = torch.randn(6, inputs.num_classes, generator=source, dtype=torch.float64)
    before = [dict(network.named_parameters()) for network in networks]
    ways = [way(networks, images, teacher) for way in (stacked.one_by_one, stacked.stacked)]
    for students in ways:
        students.step()
        students.step()
    for old, one, other in zip(before, *(students.weights() for students in ways), strict=True):
        for name, value in one.items():
            torch.testing.assert_close(value, other[name], rtol=1e-9, atol=1e-12)
        assert any(not torch.equal(value, old[name]) for name, value in one.items())


def test_both_ways_are_timed(tmp_path: Path) -> None:
    output = tmp_path / "stacked.json"
    stacked.main("convnet:16:4", counts="2,3", turns=1, threads=1, device="cpu", output=output)
    cases = json.loads(output.read_text())["cases"]
    assert [case["students"] for case in cases] == [2, 3]
    for case in cases:
        assert list(case["milliseconds"]) == ["one by one", "stacked"]
        assert min(case["milliseconds"].values()) > 0
