"""The attention generator: sizes as published, spectral norm, and which blocks attend."""

import copy
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dfkd_tune.distillation.generators import (
    Generator,
    GeneratorConfig,
    build_generator,
    restart_generator,
)
from dfkd_tune.errors import UsageError
from dfkd_tune.inputs import InputSpecification


def square(side: int) -> InputSpecification:
    return InputSpecification(
        channels=3, height=side, width=side, mean=(0.0,) * 3, std=(1.0,) * 3, num_classes=4
    )


def config(**settings: Any) -> GeneratorConfig:
    sizes = {"width": 4, "latent_size": 6, "attention": {"reduction": 2}, "conditioning": "none"}
    return GeneratorConfig.model_validate({**sizes, "architecture": "attention", **settings})


def batch(count: int = 4) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(9)
    return torch.randn(count, 6, generator=source), torch.arange(count) % 4


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# ---------------------------------------------------------------- sizes

# Width 64, as published (DFKD-FGVC section 4.1).
CHANNELS = (512, 256, 128, 64, 64)
MILLIONS = {2: 4.15, 4: 1.06, 8: 0.28, 16: 0.08}


def attention_parameters(channels: int, reduction: int) -> int:
    """Weights and biases by layer: (into, out of, side of the kernel), and two per BatchNorm."""
    c = channels // reduction
    layers = [
        (channels, c, 1),
        (c, 2 * c, 3),
        (2 * c, 4 * c, 3),
        (4 * c, 2 * c, 3),
        (2 * c, c, 3),
        (c, channels, 1),
    ]
    norms = 2 * (2 * c + 4 * c + 2 * c + c)
    return sum(i * o * side**2 + o for i, o, side in layers) + norms


@pytest.fixture(scope="module")
def published() -> Generator:
    settings = {"architecture": "attention", "conditioning": "none", "output_head": "tanh"}
    return build_generator(GeneratorConfig.model_validate(settings), square(224), 0)


@pytest.mark.parametrize("reduction", MILLIONS)
def test_the_four_attention_modules_have_the_published_architectures_size(reduction: int) -> None:
    settings = GeneratorConfig.model_validate(
        {"architecture": "attention", "latent_size": 1, "attention": {"reduction": reduction}}
    )
    found = [parameters(module) for module in Generator(settings, square(16)).attentions]
    assert found == [attention_parameters(channels, reduction) for channels in CHANNELS[1:]]
    assert round(sum(found) / 1e6, 2) == MILLIONS[reduction]


def test_the_backbone_has_the_published_architectures_size(published: Generator) -> None:
    pairs = list(pairwise(CHANNELS))
    assert published.start == (512, 14, 14)
    weights = [torch.as_tensor(conv.weight) for conv in published.convs]
    assert [tuple(weight.shape) for weight in weights] == [(*p, 3, 3) for p in pairs]
    deconvolutions = sum(9 * i * o + o for i, o in pairs)
    assert parameters(published.convs) == deconvolutions == 1_585_664
    assert round(deconvolutions / 1e6, 2) == 1.59
    linear = 256 * 512 * 14 * 14 + 512 * 14 * 14
    assert parameters(published.project) == linear == 25_790_464
    assert round(linear / 1e6, 1) == 25.8
    # BatchNorm before the first block, none within the blocks, and the last convolution.
    rest = 2 * 512 + 64 * 3 * 9 + 3
    attentions = sum(attention_parameters(channels, 8) for channels in CHANNELS[1:])
    assert parameters(published) == linear + deconvolutions + attentions + rest
    assert not any(parameters(norm) for norm in published.norms)


def test_every_block_doubles_the_sides(published: Generator) -> None:
    sizes = []
    for conv in published.convs:
        conv.register_forward_hook(lambda _m, _a, out: sizes.append(tuple(out.shape[1:])))
    with torch.no_grad():
        images = published.eval()(torch.zeros(1, 256), torch.zeros(1, dtype=torch.int64))
    assert sizes == [(256, 28, 28), (128, 56, 56), (64, 112, 112), (64, 224, 224)]
    assert images.shape == (1, 3, 224, 224)


@pytest.mark.parametrize(("side", "places"), [(3, 9), (4, 16)])
def test_both_kernels_give_images_of_the_same_size(side: int, places: int) -> None:
    generator = build_generator(config(deconvolution=side), square(32), 0)
    assert generator(*batch()).shape == (4, 3, 32, 32)
    widths = (32, 16, 8, 4, 4)
    expected = sum(places * i * o + o for i, o in pairwise(widths))
    assert parameters(generator.convs) == expected


# ---------------------------------------------------------------- which blocks attend


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [("all", [True] * 4), ((0, 3), [True, False, False, True]), ((), [False] * 4)],
)
def test_blocks_that_are_named_attend(blocks: Any, expected: list[bool]) -> None:
    generator = Generator(config(attention={"reduction": 2, "blocks": blocks}), square(32))
    assert [parameters(module) > 0 for module in generator.attentions] == expected


@pytest.mark.parametrize(("doublings", "beyond"), [(None, 4), (2, 2), (4, -1)])
def test_a_block_that_is_none_is_refused_in_one_line(doublings: int | None, beyond: int) -> None:
    settings = config(doublings=doublings, attention={"reduction": 2, "blocks": (0, beyond)})
    with pytest.raises(UsageError) as caught:
        Generator(settings, square(32))
    assert f"generator.attention.blocks names [{beyond}]" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mix_weight_of_zero_is_a_generator_without_attention() -> None:
    without = build_generator(config(attention={"mix_weight": 0}), square(32), 0)
    assert parameters(without.attentions) == 0
    # The same backbone with attention whose weight is next to nothing gives the same images.
    beside = build_generator(config(attention={"mix_weight": 1e-30, "reduction": 2}), square(32), 1)
    assert parameters(beside.attentions) > 0
    beside.load_state_dict(without.state_dict(), strict=False)
    with torch.no_grad():
        assert torch.equal(without(*batch()), beside(*batch()))


def test_attention_changes_the_images() -> None:
    images = []
    for weight in (1e-30, 1.0):
        attention = {"mix_weight": weight, "reduction": 2, "rescale": "unit_mean"}
        generator = build_generator(config(attention=attention), square(32), 0)
        with torch.no_grad():
            images.append(generator(*batch()))
    assert not torch.allclose(images[0], images[1], rtol=1e-3)


# ---------------------------------------------------------------- spectral norm


def largest_singular_value(conv: nn.Module) -> float:
    """Of the matrix (out, in x height x width) of a transposed convolution (in, out, ...)."""
    assert isinstance(conv, nn.ConvTranspose2d)
    weight = conv.weight.detach().double().numpy()
    matrix = np.moveaxis(weight, 1, 0).reshape(weight.shape[1], -1)
    return float(np.linalg.svd(matrix, compute_uv=False)[0])


@pytest.mark.parametrize("scale", [1.0, 37.0])
@pytest.mark.parametrize("side", [3, 4])
def test_spectral_norm_brings_the_largest_singular_value_to_one(side: int, scale: float) -> None:
    generator = build_generator(config(deconvolution=side), square(32), 0).train()
    with torch.no_grad():
        for name, parameter in generator.convs.named_parameters():
            if name.endswith("original"):
                parameter.add_(0.01).mul_(scale)
        for _ in range(60):
            generator(*batch())
    generator.eval()
    found = [largest_singular_value(conv) for conv in generator.convs]
    assert found == pytest.approx([1.0] * 4, rel=1e-3)


def test_without_spectral_norm_the_weights_are_those_of_dcgan() -> None:
    generator = build_generator(config(spectral_norm=False, width=32), square(16), 0)
    for conv in generator.convs:
        assert isinstance(conv, nn.ConvTranspose2d)
        weights = conv.weight.detach().double().numpy()
        assert weights.mean() == pytest.approx(0, abs=1e-3)
        assert weights.std() == pytest.approx(0.02, rel=0.05)
        assert largest_singular_value(conv) < 0.98 or largest_singular_value(conv) > 1.02


def test_in_evaluation_the_estimate_of_the_norm_rests() -> None:
    generator = build_generator(config(), square(32), 0).eval()
    before = copy.deepcopy(generator.state_dict())
    with torch.no_grad():
        first, second = generator(*batch()), generator(*batch())
    assert torch.equal(first, second)
    assert all(torch.equal(value, before[key]) for key, value in generator.state_dict().items())


def test_a_copy_and_a_restored_generator_make_the_same_images_and_go_on_alike() -> None:
    generator = build_generator(config(), square(32), 0).train()
    with torch.no_grad():
        generator(*batch())
        copied = copy.deepcopy(generator)
        restored = build_generator(config(), square(32), 5).train()
        restored.load_state_dict(copy.deepcopy(generator.state_dict()))
        for _ in range(3):
            images = [each(*batch()) for each in (generator, copied, restored)]
            assert torch.equal(images[0], images[1])
            assert torch.equal(images[0], images[2])


# ---------------------------------------------------------------- new first weights


@pytest.mark.parametrize("architecture", ["upsample", "dcgan", "attention"])
def test_a_restarted_generator_is_one_built_with_the_seed(architecture: str) -> None:
    settings = config(architecture=architecture, conditioning="embed_concat")
    generator = build_generator(settings, square(32), 0).train()
    with torch.no_grad():
        generator(*batch())  # moves statistics and estimates
        for parameter in generator.parameters():
            parameter.add_(1)
    same = list(generator.parameters())
    torch.manual_seed(77)
    state = torch.get_rng_state()
    restart_generator(generator, 5)
    assert torch.equal(torch.get_rng_state(), state)
    fresh = build_generator(settings, square(32), 5).state_dict()
    found = generator.state_dict()
    assert found.keys() == fresh.keys()
    assert [key for key in fresh if not torch.equal(found[key], fresh[key])] == []
    # In place, so that optimisers and averages keep what they hold.
    assert all(a is b for a, b in zip(generator.parameters(), same, strict=True))
