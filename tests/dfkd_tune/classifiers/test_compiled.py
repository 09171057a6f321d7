"""Compiled passes of a frozen network: those of the network itself, to rounding."""

import shutil
from pathlib import Path

import pytest
import torch

from dfkd_tune.classifiers import (
    CompiledPasses,
    NetworkConfig,
    TappedNetwork,
    build_classifier,
    lay_out,
)
from dfkd_tune.errors import TeacherError
from dfkd_tune.inputs import InputSpecification

INPUTS = InputSpecification(
    channels=3, height=16, width=16, mean=(0.5,) * 3, std=(0.25,) * 3, num_classes=7
)

needs_compiler = pytest.mark.skipif(
    not shutil.which("g++") and not shutil.which("clang++"), reason="needs a C++ compiler"
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))


def taps(architecture: str) -> TappedNetwork:
    """Of a frozen network with statistics of its own, so that folding BatchNorm is seen."""
    network = build_classifier(NetworkConfig(architecture=architecture, width=0.5), INPUTS, 0)
    source = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features, generator=source) / 4
            module.running_var = torch.rand(module.num_features, generator=source) + 0.5
    return TappedNetwork(lay_out(network).eval().requires_grad_(False), INPUTS)


@pytest.mark.long
@needs_compiler
def test_passes_are_those_of_the_network_to_rounding() -> None:
    tapped = taps("convnet")
    compiled = CompiledPasses(tapped)
    images = torch.randn(5, *INPUTS.shape)
    made, expected = compiled(images, features=True), tapped(images, features=True)
    torch.testing.assert_close(made.logits, expected.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(made.penultimate, expected.penultimate, rtol=1e-4, atol=1e-4)
    assert len(made.stages) == len(expected.stages) > 1
    for stage, other in zip(made.stages, expected.stages, strict=True):
        torch.testing.assert_close(stage, other, rtol=1e-4, atol=1e-4)
    # Once more, by the same code and with the same bits, on other images and another layout.
    others = torch.randn(5, *INPUTS.shape).contiguous(memory_format=torch.channels_last)
    again = compiled(others, features=True)
    torch.testing.assert_close(again.logits, tapped(others).logits, rtol=1e-4, atol=1e-4)
    assert torch.equal(again.logits, compiled(others.contiguous(), features=True).logits)
    # Another shape, and nothing but logits.
    fewer = compiled(images[:2])
    torch.testing.assert_close(fewer.logits, expected.logits[:2], rtol=1e-4, atol=1e-4)
    assert fewer.stages == ()
    assert fewer.penultimate is None
    assert not made.logits.requires_grad


def test_without_a_compiler_there_is_one_clear_line() -> None:
    from torch._inductor import config

    missing = config.patch({"cpp.cxx": ("no-such-compiler",)})
    told = pytest.raises(TeacherError, match=r"compile_teacher: .*install a C\+\+ compiler")
    with missing, told as found:
        CompiledPasses(taps("convnet"))(torch.randn(2, *INPUTS.shape))
    assert "\n" not in str(found.value)
