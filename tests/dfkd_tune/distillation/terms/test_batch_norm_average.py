"""The BatchNorm term's normalised form and its moving average, by hand in NumPy."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dfkd_tune.classifiers import (
    CLASSIFIERS,
    BatchStatistics,
    ForwardPass,
    NetworkConfig,
    NetworkShapes,
    TappedNetwork,
    build_classifier,
)
from dfkd_tune.distillation.terms import GENERATOR_TERMS, Step, TermContext, TermModule
from dfkd_tune.inputs import InputSpecification

NUMBERS = np.random.default_rng(7)
CHANNELS = (3, 5)
Layer = dict[str, np.ndarray]


def layer(channels: int) -> Layer:
    """Statistics of a batch, and a layer's own."""
    return {
        "mean": NUMBERS.normal(0, 1, channels),
        "variance": NUMBERS.uniform(0.5, 2, channels),
        "running_mean": NUMBERS.normal(0, 1, channels),
        "running_variance": NUMBERS.uniform(0.5, 2, channels),
    }


OWN = [layer(channels) for channels in CHANNELS]


def batch() -> list[Layer]:
    """Statistics of another batch at the same layers."""
    fresh = [layer(len(own["mean"])) for own in OWN]
    return [
        {**own, "mean": new["mean"], "variance": new["variance"]}
        for own, new in zip(OWN, fresh, strict=True)
    ]


def step(layers: list[Layer], requires_grad: bool = False) -> Step:
    def tensor(name: str, value: np.ndarray) -> Tensor:
        ours = requires_grad and name in ("mean", "variance")
        return torch.tensor(value, dtype=torch.float64, requires_grad=ours)

    statistics = tuple(
        BatchStatistics(**{name: tensor(name, value) for name, value in layer.items()})
        for layer in layers
    )
    return Step(
        images=torch.zeros(2, 1, 1, 1),
        labels=torch.zeros(2, dtype=torch.int64),
        teacher=ForwardPass(logits=torch.zeros(2, 2), statistics=statistics),
        student=None,
    )


def context(channels: tuple[int, ...] = CHANNELS) -> TermContext:
    shapes = NetworkShapes(stages=(), penultimate=1, batch_norms=channels)
    return TermContext(teacher=shapes, student=shapes, source=torch.Generator())


def build(given: TermContext | None = None, **settings: Any) -> TermModule:
    term = GENERATOR_TERMS["bn_statistics"]
    built = term.build(term.settings.model_validate({"weight": 1, **settings}), given)
    return built.double()


def expected(layers: list[Layer], kind: str = "l2") -> float:
    total = 0.0
    for each in layers:
        mean = each["mean"] - each["running_mean"]
        variance = each["variance"] - each["running_variance"]
        if kind == "normalised":
            own = each["running_variance"] + 1e-5
            total += np.sqrt((mean**2 / own).mean()) + np.sqrt((variance**2 / own**2).mean())
        elif kind == "l2_squared":
            total += (mean**2).sum() + (variance**2).sum()
        else:
            total += np.sqrt((mean**2).sum()) + np.sqrt((variance**2).sum())
    return total / len(layers) if kind == "normalised" else total


def mixed(old: list[Layer], new: list[Layer], momentum: float) -> list[Layer]:
    return [
        {
            **b,
            "mean": momentum * a["mean"] + (1 - momentum) * b["mean"],
            "variance": momentum * a["variance"] + (1 - momentum) * b["variance"],
        }
        for a, b in zip(old, new, strict=True)
    ]


# ---------------------------------------------------------------- the normalised form


def scaled(layers: list[Layer], factor: float) -> list[Layer]:
    """What a teacher has whose layers' inputs are larger by a factor."""
    powers = {"mean": 1, "variance": 2, "running_mean": 1, "running_variance": 2}
    return [{name: value * factor ** powers[name] for name, value in x.items()} for x in layers]


@pytest.mark.parametrize("factor", [0.2, 30.0])
def test_the_normalised_distance_does_not_depend_on_the_scale_of_the_teachers_layers(
    factor: float,
) -> None:
    layers = batch()
    term = build(distance="normalised")
    before = term(step(layers)).item()
    assert before == pytest.approx(expected(layers, "normalised"), rel=1e-9)
    # But for what keeps it from dividing by zero: 1e-5 beside a variance of at least 0.02.
    assert term(step(scaled(layers, factor))).item() == pytest.approx(before, rel=1e-3)
    plain = build(distance="l2")
    assert plain(step(scaled(layers, factor))).item() != pytest.approx(
        plain(step(layers)).item(), rel=0.5
    )


def test_the_normalised_distance_depends_on_the_number_of_neither_channels_nor_layers() -> None:
    layers = batch()
    wide = [{name: np.tile(value, 4) for name, value in each.items()} for each in layers]
    term = build(distance="normalised")
    before = term(step(layers)).item()
    assert term(step(wide)).item() == pytest.approx(before, rel=1e-12)
    assert term(step(layers * 3)).item() == pytest.approx(before, rel=1e-12)


def test_a_deviation_of_one_in_every_channel_is_a_normalised_distance_of_one() -> None:
    own = OWN[0]
    deviation = np.sqrt(own["running_variance"] + 1e-5)
    mean, variance = own["running_mean"] + deviation, own["running_variance"]
    layers = [{**own, "mean": mean, "variance": variance}]
    assert build(distance="normalised")(step(layers)).item() == pytest.approx(1, rel=1e-12)


def test_a_channel_that_is_always_the_same_gives_a_finite_normalised_distance() -> None:
    """A running variance of 0, as of a channel that is dead in the teacher."""
    layers = [{name: value.copy() for name, value in each.items()} for each in batch()]
    layers[0]["running_variance"][1] = layers[0]["variance"][1] = 0
    given = step(layers, requires_grad=True)
    value = build(distance="normalised")(given)
    value.backward()
    assert bool(torch.isfinite(value))
    assert given.teacher.statistics[0].mean.grad is not None
    assert bool(torch.isfinite(given.teacher.statistics[0].mean.grad).all())


# ---------------------------------------------------------------- the moving average

KINDS = ("l2", "l2_squared", "normalised")


@pytest.mark.parametrize("kind", KINDS)
def test_rounds_are_mixed_by_the_momentum(kind: str) -> None:
    term = build(context(), momentum=0.9, distance=kind)
    first, second, third = batch(), batch(), batch()
    assert term(step(first)).item() == pytest.approx(expected(first, kind), rel=1e-9)
    term.synthesised(step(first))
    after_two = mixed(first, second, 0.9)
    assert term(step(second)).item() == pytest.approx(expected(after_two, kind), rel=1e-9)
    term.synthesised(step(second))
    after_three = mixed(after_two, third, 0.9)
    assert term(step(third)).item() == pytest.approx(expected(after_three, kind), rel=1e-9)


def test_the_first_round_is_as_without_momentum() -> None:
    layers = batch()
    with_average, without = build(context(), momentum=0.7), build()
    assert with_average(step(layers)).item() == without(step(layers)).item()


def test_steps_within_a_round_do_not_move_the_average() -> None:
    term = build(context(), momentum=0.9)
    term.synthesised(step(batch()))
    before = copy.deepcopy(term.state_dict())
    for _ in range(3):
        term(step(batch()))
    assert all(torch.equal(value, before[key]) for key, value in term.state_dict().items())


@pytest.mark.parametrize("momentum", [0.5, 0.9])
def test_the_gradient_is_that_of_the_batchs_share(momentum: float) -> None:
    """d ||m a + (1 - m) x - r|| / dx is 1 - m times the unit vector of the mixture's distance."""
    term = build(context(), momentum=momentum)
    first, second = batch(), batch()
    given = step(first, requires_grad=True)
    term.synthesised(given)
    given = step(second, requires_grad=True)
    term(given).backward()
    for found, mixture in zip(
        given.teacher.statistics, mixed(first, second, momentum), strict=True
    ):
        for name in ("mean", "variance"):
            away = mixture[name] - mixture[f"running_{name}"]
            slope = (1 - momentum) * away / np.sqrt((away**2).sum())
            gradient = getattr(found, name).grad
            assert gradient is not None
            assert gradient.numpy() == pytest.approx(slope, rel=1e-9)
    assert not any(buffer.requires_grad for buffer in term.buffers())
    assert list(term.parameters()) == []


def test_the_average_is_kept_in_a_state_and_goes_on_from_it() -> None:
    term, fresh = build(context(), momentum=0.9), build(context(), momentum=0.9)
    for _ in range(2):
        term.synthesised(step(batch()))
    state = term.state_dict()
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    assert shapes == {"average_0": (2, 3), "average_1": (2, 5), "rounds": ()}
    assert state["rounds"].item() == 2
    fresh.load_state_dict(copy.deepcopy(state))
    later = step(batch())
    assert fresh(later).item() == term(later).item()
    fresh.synthesised(later)
    term.synthesised(later)
    assert all(torch.equal(value, state[name]) for name, value in fresh.state_dict().items())


def test_without_momentum_nothing_is_kept() -> None:
    term = build()
    term.synthesised(step(batch()))
    assert term.state_dict() == {}
    layers = batch()
    assert term(step(layers)).item() == pytest.approx(expected(layers), rel=1e-9)


def test_a_moving_average_must_know_the_layers() -> None:
    with pytest.raises(TypeError, match="BatchNorm layers"):
        build(momentum=0.5)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_teacher_has_a_place_for_each_of_its_layers(name: str) -> None:
    inputs = InputSpecification(
        channels=3, height=32, width=32, mean=(0.0,) * 3, std=(1.0,) * 3, num_classes=4
    )
    network = build_classifier(NetworkConfig(architecture=name, width=0.125), inputs, 0).eval()
    taps = TappedNetwork(network, inputs)
    shapes = taps.shapes()
    term = build(
        TermContext(teacher=shapes, student=shapes, source=torch.Generator()), momentum=0.9
    )
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        made = taps(images, statistics=True)
    taps.remove()
    given = Step(images=images, labels=torch.zeros(2), teacher=made, student=None)
    term.synthesised(given)
    assert len(made.statistics) == len(shapes.batch_norms) == len(list(term.buffers())) - 1
    for index, found in enumerate(made.statistics):
        kept = torch.stack([found.mean, found.variance]).double()
        assert torch.equal(term.get_buffer(f"average_{index}"), kept)


class Crossed(nn.Module):
    """BatchNorm layers that run in another order than they are made in, and one that does not."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.BatchNorm2d(4)
        self.unused = nn.BatchNorm2d(7)
        self.first = nn.BatchNorm2d(1)
        self.conv = nn.Conv2d(1, 4, 3)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.last(self.conv(self.first(x))).mean((2, 3)))
        return logits


def test_layers_are_averaged_in_the_order_in_which_they_run() -> None:
    inputs = InputSpecification(
        channels=1, height=8, width=8, mean=(0.0,), std=(1.0,), num_classes=3
    )
    taps = TappedNetwork(Crossed().eval(), inputs)
    shapes = taps.shapes()
    assert shapes.batch_norms == (1, 4)
    term = build(
        TermContext(teacher=shapes, student=shapes, source=torch.Generator()), momentum=0.9
    )
    images = torch.randn(2, 1, 8, 8)
    made = taps(images, statistics=True)
    taps.remove()
    given = Step(images=images, labels=torch.zeros(2), teacher=made, student=None)
    before = term(given).item()
    term.synthesised(given)
    assert term(given).item() == pytest.approx(before, rel=1e-6)  # a mixture of equals
