"""Generators: shape, range, size, conditioning, output heads and seeds."""

from itertools import product
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from dfkd_tune.distillation import (
    CONDITIONINGS,
    GENERATORS,
    Generator,
    GeneratorConfig,
    build_generator,
)
from dfkd_tune.errors import UsageError
from dfkd_tune.inputs import InputSpecification

INPUTS = InputSpecification(
    channels=3, height=32, width=16, mean=(0.2, 0.5, 0.7), std=(0.3, 0.2, 0.1), num_classes=4
)
DIGITS = InputSpecification(channels=1, height=8, width=8, mean=(0.3,), std=(0.4,), num_classes=10)
HEADS = get_args(GeneratorConfig.model_fields["output_head"].annotation)
ALL = list(product(GENERATORS, CONDITIONINGS, HEADS))


def config(**settings: Any) -> GeneratorConfig:
    sizes = {
        "width": 2,
        "latent_size": 6,
        "label_embedding_size": 3,
        "attention": {"reduction": 2},
    }
    return GeneratorConfig.model_validate({**sizes, **settings})


def batch(count: int = 8, latent: int = 6, classes: int = 4) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(9)
    return torch.randn(count, latent, generator=source), torch.arange(count) % classes


def drive_to_both_ends(generator: Generator) -> None:
    """Scale and shift the last convolution, so that what it gives lies far to both sides of 0."""
    given: list[Tensor] = []
    handle = generator.to_image.register_forward_hook(lambda _m, _a, out: given.append(out))
    generator(*batch(32))
    handle.remove()
    mean, deviation = given[0].mean((0, 2, 3)), given[0].std((0, 2, 3))
    assert generator.to_image.bias is not None
    generator.to_image.weight.mul_(20 / deviation.view(-1, 1, 1, 1))
    generator.to_image.bias.sub_(mean).mul_(20 / deviation)


def test_every_output_head_is_known() -> None:
    assert set(HEADS) == {"tanh_bn", "tanh", "sigmoid_normalise"}


@pytest.mark.parametrize(("architecture", "conditioning", "head"), ALL)
def test_generator_makes_finite_images_of_the_inputs_shape(
    architecture: str, conditioning: str, head: str
) -> None:
    settings = config(architecture=architecture, conditioning=conditioning, output_head=head)
    images = build_generator(settings, INPUTS, 0)(*batch())
    assert images.shape == (8, 3, 32, 16)
    assert images.dtype == torch.float32
    assert bool(torch.isfinite(images).all())
    assert images.std() > 0


@pytest.mark.parametrize(("architecture", "conditioning", "head"), ALL)
def test_every_weight_gets_a_finite_gradient(
    architecture: str, conditioning: str, head: str
) -> None:
    settings = config(architecture=architecture, conditioning=conditioning, output_head=head)
    generator = build_generator(settings, INPUTS, 0)
    images = generator(*batch())
    direction = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    (images * direction).sum().backward()
    for name, parameter in generator.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        # A shift before BatchNorm, or before a softmax over places, changes nothing.
        if not (name.startswith("attentions.") and name.endswith(".bias")):
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("architecture", GENERATORS)
@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_the_label_changes_the_image_unless_there_is_no_conditioning(
    architecture: str, conditioning: str
) -> None:
    settings = config(architecture=architecture, conditioning=conditioning, output_head="tanh")
    generator = build_generator(settings, INPUTS, 0).eval()
    if conditioning == "conditional_bn":  # begins as the identity; let it be as if trained
        for name, parameter in generator.named_parameters():
            if "scale" in name or "shift" in name:
                torch.nn.init.normal_(parameter, 1.0, 0.5)
    noise, _ = batch()
    with torch.no_grad():
        images = [generator(noise, torch.full((8,), label)) for label in range(4)]
    same = [torch.equal(images[0], other) for other in images[1:]]
    assert same == [conditioning == "none"] * 3


@pytest.mark.parametrize("architecture", GENERATORS)
@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_the_noise_changes_the_image_unless_a_noisy_layer_stands_for_it(
    architecture: str, conditioning: str
) -> None:
    settings = config(architecture=architecture, conditioning=conditioning, output_head="tanh")
    generator = build_generator(settings, INPUTS, 0).eval()
    noise, _ = batch()
    with torch.no_grad():
        images = generator(noise, torch.zeros(8, dtype=torch.int64))
    same = [torch.equal(images[0], other) for other in images[1:]]
    assert same == [conditioning == "noisy_layer"] * 7


def square(side: int) -> InputSpecification:
    return InputSpecification(
        channels=3,
        height=side,
        width=side,
        mean=(0.2, 0.5, 0.7),
        std=(0.3, 0.2, 0.1),
        num_classes=4,
    )


@pytest.mark.parametrize("head", ["tanh", "sigmoid_normalise"])
@pytest.mark.parametrize("side", [8, 32, 64, 224])
@pytest.mark.parametrize("architecture", GENERATORS)
def test_images_of_every_size_have_its_shape_and_range(
    architecture: str, side: int, head: str
) -> None:
    doublings = 3 if side == 8 else None
    inputs = square(side)
    settings = config(architecture=architecture, doublings=doublings, output_head=head)
    with torch.no_grad():
        images = build_generator(settings, inputs, 0)(*batch(2)).double().numpy()
    assert images.shape == (2, 3, side, side)
    lowest, highest = np.full(3, -1.0), np.ones(3)
    if head == "sigmoid_normalise":
        lowest = (0 - np.array(inputs.mean)) / inputs.std
        highest = (1 - np.array(inputs.mean)) / inputs.std
    assert (images.min((0, 2, 3)) > lowest).all()
    assert (images.max((0, 2, 3)) < highest).all()


@pytest.mark.parametrize("doublings", [None, 1, 2, 3, 4])
@pytest.mark.parametrize(
    ("architecture", "most"), [("upsample", 2), ("dcgan", 4), ("attention", 4)]
)
def test_doublings_are_those_asked_for_and_no_more_than_the_architectures(
    architecture: str, most: int, doublings: int | None
) -> None:
    generator = Generator(config(architecture=architecture, doublings=doublings), square(32))
    expected = most if doublings is None else min(doublings, most)
    assert len(generator.convs) == len(generator.norms) == len(generator.attentions) == expected
    # The last blocks remain; before them are the channels with which the first of these begins.
    channels = {"upsample": (4, 4, 2), "dcgan": (16, 8, 4, 2, 2)}
    channels["attention"] = channels["dcgan"]
    side = 32 // 2**expected
    assert generator.start == (channels[architecture][-expected - 1], side, side)


@pytest.mark.parametrize("architecture", ["dcgan", "attention"])
def test_fewer_doublings_admit_small_images(architecture: str) -> None:
    with pytest.raises(UsageError, match="divisible by 16, the benchmark's are 8 x 8"):
        Generator(config(architecture=architecture), square(8))
    assert Generator(config(architecture=architecture, doublings=3), square(8)).start[1:] == (1, 1)


def test_conditional_batch_norm_begins_as_plain_normalisation() -> None:
    """At scale 1 and shift 0 every label's image is the plain BatchNorm's of the same weights."""
    conditional = build_generator(config(conditioning="conditional_bn"), INPUTS, 0)
    weights = dict(conditional.named_parameters())
    scales = [p for name, p in weights.items() if name.endswith("scale.weight")]
    shifts = [p for name, p in weights.items() if name.endswith("shift.weight")]
    assert len(scales) == len(shifts) == 3
    assert all(torch.equal(p, torch.ones_like(p)) for p in scales)
    assert all(torch.equal(p, torch.zeros_like(p)) for p in shifts)
    plain = build_generator(config(conditioning="none"), INPUTS, 1)
    shared = {n: v for n, v in conditional.state_dict().items() if n.startswith(("proj", "conv"))}
    shared |= {n: v for n, v in conditional.state_dict().items() if n.startswith("to_image")}
    plain.load_state_dict(shared, strict=False)
    noise, labels = batch()
    with torch.no_grad():
        assert torch.allclose(conditional(noise, labels), plain(noise, labels), atol=1e-5)


def count(settings: GeneratorConfig, inputs: InputSpecification) -> int:
    return sum(p.numel() for p in Generator(settings, inputs).parameters())


def test_parameters_of_the_default_on_digits_by_hand() -> None:
    # Embedding 10 x 50; linear 306 -> 128 x 2 x 2; three BatchNorms; two convolutions and the last.
    expected = 10 * 50 + (306 * 512 + 512) + 2 * 128
    expected += (128 * 128 * 9 + 128) + 2 * 128 + (128 * 64 * 9 + 64) + 2 * 64
    expected += 64 * 1 * 9 + 1
    assert expected == 380_277
    assert count(GeneratorConfig(), DIGITS) == expected


def test_parameters_of_one_hot_concat_by_hand() -> None:
    # Noise 6 and one-hot 4 -> 4 x 8 x 4; widths 4, 4, 2; three colours.
    expected = (10 * 128 + 128) + 8 + (4 * 4 * 9 + 4 + 8) + (4 * 2 * 9 + 2 + 4) + (2 * 3 * 9 + 3)
    assert count(config(conditioning="one_hot_concat"), INPUTS) == expected == 1_707


def test_parameters_of_embed_multiply_by_hand() -> None:
    expected = 4 * 6 + (6 * 128 + 128) + 8 + (144 + 4 + 8) + (72 + 2 + 4) + (54 + 3)
    assert count(config(conditioning="embed_multiply"), INPUTS) == expected == 1_219


def test_parameters_of_conditional_bn_by_hand() -> None:
    # Each BatchNorm keeps a scale and a shift per label and channel.
    norms = 2 * 4 * (4 + 4 + 2)
    expected = (6 * 128 + 128) + norms + (144 + 4) + (72 + 2) + (54 + 3)
    assert count(config(conditioning="conditional_bn"), INPUTS) == expected == 1_255


def test_parameters_of_dcgan_by_hand() -> None:
    # Widths 16, 8, 4, 2, 2; start 2 x 1 for 32 x 16; 4 x 4 transposed convolutions.
    expected = (6 * 32 + 32) + 2 * 16
    for before, after in ((16, 8), (8, 4), (4, 2), (2, 2)):
        expected += before * after * 16 + after + 2 * after
    expected += 2 * 3 * 9 + 3
    assert count(config(architecture="dcgan", conditioning="none"), INPUTS) == expected == 3_113


@pytest.mark.parametrize(
    ("architecture", "height", "width"),
    [
        ("upsample", 30, 32),
        ("upsample", 32, 6),
        ("dcgan", 24, 32),
        ("dcgan", 32, 8),
        ("attention", 24, 32),
        ("attention", 32, 8),
    ],
)
def test_sides_that_cannot_be_made_are_refused(architecture: str, height: int, width: int) -> None:
    inputs = InputSpecification(
        channels=1, height=height, width=width, mean=(0.0,), std=(1.0,), num_classes=2
    )
    with pytest.raises(UsageError, match=f"{height} x {width}") as caught:
        build_generator(config(architecture=architecture), inputs, 0)
    assert architecture in str(caught.value)
    assert "generator.architecture" in str(caught.value)
    assert "generator.doublings" in str(caught.value)


@pytest.mark.parametrize("architecture", GENERATORS)
def test_sigmoid_normalise_stays_inside_the_normalised_pixel_range(architecture: str) -> None:
    settings = config(architecture=architecture, output_head="sigmoid_normalise")
    generator = build_generator(settings, INPUTS, 0)
    with torch.no_grad():
        drive_to_both_ends(generator)
        images = generator(*batch(32)).double().numpy()
    for channel, (mean, std) in enumerate(zip(INPUTS.mean, INPUTS.std, strict=True)):
        low, high = (0 - mean) / std, (1 - mean) / std
        values = images[:, channel]
        assert values.min() >= low - 1e-5
        assert values.max() <= high + 1e-5
        assert values.min() < low + 0.1 * (high - low)
        assert values.max() > high - 0.1 * (high - low)


@pytest.mark.parametrize("architecture", GENERATORS)
def test_tanh_stays_between_minus_one_and_one(architecture: str) -> None:
    settings = config(architecture=architecture, output_head="tanh")
    generator = build_generator(settings, INPUTS, 0)
    with torch.no_grad():
        drive_to_both_ends(generator)
        images = generator(*batch(32))
    assert -1 <= images.min() < -0.9
    assert 0.9 < images.max() <= 1


@pytest.mark.parametrize("architecture", GENERATORS)
def test_tanh_bn_gives_each_channel_mean_zero_and_variance_one_in_training(
    architecture: str,
) -> None:
    settings = config(architecture=architecture, output_head="tanh_bn")
    generator = build_generator(settings, INPUTS, 0).train()
    with torch.no_grad():
        generator.to_image.weight.mul_(50)  # far from the variance that BatchNorm adds
        images = generator(*batch(32)).double().numpy()
    assert images.mean((0, 2, 3)) == pytest.approx(np.zeros(3), abs=1e-5)
    assert images.var((0, 2, 3)) == pytest.approx(np.ones(3), rel=1e-2)


def test_same_seed_same_weights_other_seed_other_weights() -> None:
    def weights(seed: int) -> Tensor:
        generator = build_generator(config(), INPUTS, seed)
        return torch.cat([p.detach().flatten() for p in generator.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_building_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(77)
    before = torch.get_rng_state()
    first = build_generator(config(), INPUTS, 1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(78)
    second = build_generator(config(), INPUTS, 1)
    assert torch.equal(first.project.weight, second.project.weight)


def test_leaky_relu_slope_is_used() -> None:
    noise, labels = batch()
    images = [
        build_generator(config(leaky_relu_slope=slope), INPUTS, 0)(noise, labels)
        for slope in (0.0, 0.2)
    ]
    assert not torch.equal(images[0], images[1])


def test_a_state_holds_no_normalisation_of_the_benchmark() -> None:
    state = Generator(config(), INPUTS).state_dict()
    assert not {"mean", "std"} & state.keys()
