"""The collapse watch: signs, without any label, that the synthesis has gone to sleep."""

import io
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from small_methods import INPUTS, small_config, small_teacher
from torch import Tensor, nn

from dfkd_tune.classifiers import TappedNetwork
from dfkd_tune.distillation import (
    CollapseConfig,
    CollapseSigns,
    DistillationConfig,
    Progress,
    State,
    distil,
)
from dfkd_tune.distillation._collapse import (
    KEPT,
    PER_EPOCH,
    CollapseWatch,
    mean_pairwise_distance,
)
from dfkd_tune.errors import CollapsedError
from dfkd_tune.inputs import InputSpecification

Make = Callable[..., DistillationConfig]
Record = Callable[..., Any]
Differences = Callable[[Any, Any], list[str]]

CPU = torch.device("cpu")
# Images of three pixels, which are their own features and, through the identity, their logits.
DOTS = InputSpecification(channels=1, height=1, width=3, mean=(0,), std=(1,), num_classes=3)
EVEN = math.log(3)
VARIED = torch.eye(3).repeat(4, 1).view(-1, 1, 1, 3)


# ---------------------------------------------------------------- distance


def test_distance_is_the_mean_over_pairs_of_rows_of_unit_length() -> None:
    features = np.random.default_rng(0).normal(0, 3, (7, 5))
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    pairs = [np.linalg.norm(units[i] - units[j]) for i in range(7) for j in range(i)]
    found = mean_pairwise_distance(torch.tensor(features, dtype=torch.float32))
    assert found == pytest.approx(np.mean(pairs), rel=1e-5)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[1.0, 2.0], [1.0, 2.0], [2.0, 4.0]], 0),
        ([[1.0, 2.0], [-3.0, -6.0]], 2),
        ([[1.0, 0.0], [0.0, 5.0]], math.sqrt(2)),
        ([[1.0, 0.0]], 0),
        ([[0.0, 0.0], [0.0, 0.0]], 0),
        ([[0.0, 0.0], [3.0, 0.0]], 1),
    ],
)
def test_distance_of_known_rows(rows: list[list[float]], expected: float) -> None:
    assert mean_pairwise_distance(torch.tensor(rows)) == pytest.approx(expected, abs=1e-6)


# ---------------------------------------------------------------- signs


class Dots(nn.Module):
    """Logits are the three pixels, shifted so that other classes may be seen."""

    def __init__(self, shift: int = 0) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.last = nn.Linear(3, 3, bias=False)
        self.show(shift)

    def show(self, shift: int) -> None:
        self.last.weight.data.copy_(torch.eye(3).roll(shift, 0))

    def forward(self, images: Tensor) -> Tensor:
        return torch.as_tensor(self.last(self.flatten(images)))


@pytest.fixture
def look() -> Callable[..., CollapseSigns]:
    """Look at an epoch of a healthy run, but for what is given."""
    teacher = TappedNetwork(Dots(), DOTS)

    def run(watch: CollapseWatch, **given: Any) -> CollapseSigns:
        seen = {
            "student": None,
            "images": VARIED,
            "class_entropy": EVEN,
            "student_trained": True,
            "kd": 0.5,
            **given,
        }
        return watch.look(
            teacher,
            seen["student"] or Dots(),
            seen["images"],
            seen["class_entropy"],
            student_trained=seen["student_trained"],
            kd=seen["kd"],
        )

    return run


def watch_of(**settings: Any) -> CollapseWatch:
    return CollapseWatch(CollapseConfig.model_validate(settings), DOTS, CPU)


def test_a_healthy_epoch_has_no_sign(look: Callable[..., CollapseSigns]) -> None:
    signs = look(watch_of())
    # Of 12 images, 4 of each of 3 kinds: 48 of the 66 pairs are at a right angle.
    assert signs.feature_distance == pytest.approx(math.sqrt(2) * 48 / 66, rel=1e-6)
    assert (signs.agreement, signs.signs, signs.collapsed) == (1.0, (), False)


@pytest.mark.parametrize(("share", "seen"), [(0.099, True), (0.101, False), (0.0, True)])
def test_one_class_alone_is_a_sign(
    look: Callable[..., CollapseSigns], share: float, seen: bool
) -> None:
    """Measured by the entropy of the mean prediction, as a share of that of equal classes."""
    signs = look(watch_of(entropy_below=0.1), class_entropy=share * EVEN)
    assert signs.signs == (("classes",) if seen else ())


def test_images_that_are_alike_to_the_teacher_are_a_sign(
    look: Callable[..., CollapseSigns],
) -> None:
    alike = torch.tensor([1.0, 0.2, 0.1]).repeat(6, 1).view(-1, 1, 1, 3)
    brighter = alike * torch.arange(1, 7).view(-1, 1, 1, 1)
    for images in (alike, brighter):
        signs = look(watch_of(), images=images)
        assert signs.signs == ("features",)
        assert signs.feature_distance == pytest.approx(0, abs=1e-6)
    threshold = math.sqrt(2) * 48 / 66
    assert look(watch_of(distance_below=threshold + 1e-3)).signs == ("features",)
    assert look(watch_of(distance_below=threshold - 1e-3)).signs == ()


FORGETFUL = {"agreement_fall": 0.2, "kd_below": 1e-3}


def agreements(
    look: Callable[..., CollapseSigns], watch: CollapseWatch, *shifts: int, **given: Any
) -> list[CollapseSigns]:
    """Epochs after which the student sees the classes so far shifted."""
    return [look(watch, student=Dots(shift), **given) for shift in shifts]


def test_a_silent_loss_beside_falling_agreement_is_a_sign(
    look: Callable[..., CollapseSigns],
) -> None:
    first, second, third = agreements(look, watch_of(**FORGETFUL), 0, 1, 0, kd=1e-4)
    assert [signs.agreement for signs in (first, second, third)] == [1, 0, 1]
    assert [signs.signs for signs in (first, second, third)] == [(), ("forgetting",), ()]


@pytest.mark.parametrize("kd", [1e-3, 0.5, None])
def test_falling_agreement_alone_is_no_sign(
    look: Callable[..., CollapseSigns], kd: float | None
) -> None:
    found = agreements(look, watch_of(**FORGETFUL), 0, 1, kd=kd)
    assert [signs.signs for signs in found] == [(), ()]


def test_a_silent_loss_alone_is_no_sign(look: Callable[..., CollapseSigns]) -> None:
    found = agreements(look, watch_of(**FORGETFUL), 0, 0, 0, kd=0.0)
    assert [signs.signs for signs in found] == [(), (), ()]
    # Agreement that was never better has not fallen.
    found = agreements(look, watch_of(**FORGETFUL), 1, 1, kd=0.0)
    assert [signs.signs for signs in found] == [(), ()]


def right_on(kinds: int) -> nn.Module:
    """A student that sees the first of the three kinds rightly, and the last in all others."""
    student = Dots()
    student.last.weight.data.zero_()
    for kind in range(3):
        student.last.weight.data[kind if kind < kinds else (kind + 1) % 3, kind] = 1
    return student


def test_agreement_falls_from_the_best_by_more_than_the_threshold(
    look: Callable[..., CollapseSigns],
) -> None:
    for fall, signs in ((0.3, ("forgetting",)), (0.35, ())):
        watch = watch_of(agreement_fall=fall)
        look(watch, kd=0.0)
        found = look(watch, kd=0.0, student=right_on(2))
        assert found.agreement == pytest.approx(2 / 3)
        assert found.signs == signs


def test_agreement_is_compared_with_the_best_of_all_epochs(
    look: Callable[..., CollapseSigns],
) -> None:
    watch = watch_of(agreement_fall=0.5)
    found = [look(watch, kd=0.0, student=right_on(kinds)) for kinds in (1, 3, 2, 1, 2)]
    assert [signs.agreement for signs in found] == pytest.approx([1 / 3, 1, 2 / 3, 1 / 3, 2 / 3])
    assert [signs.signs for signs in found] == [(), (), (), ("forgetting",), ()]


def test_agreement_is_on_images_of_earlier_epochs_too(
    look: Callable[..., CollapseSigns],
) -> None:
    """The student is right on the kind of now, and has forgotten that of the epoch before."""
    zeros, ones = (VARIED[[k, k, k, k]] for k in (0, 1))
    student = Dots()
    student.last.weight.data.copy_(torch.tensor([[0.0, 0, 0], [1, 1, 0], [0, 0, 1]]))
    watch = watch_of(distance_below=0, entropy_below=0)
    look(watch, images=zeros)
    assert look(watch, images=ones, student=student).agreement == 0.5


def test_agreement_is_not_a_number_before_the_student_trains(
    look: Callable[..., CollapseSigns],
) -> None:
    watch = watch_of()
    signs = look(watch, student_trained=False, kd=None, student=Dots(1))
    assert math.isnan(signs.agreement)
    assert signs.signs == ()
    # But its images are kept for later.
    assert len(watch.images) == 12
    assert look(watch).agreement == 1


def test_all_signs_are_told(look: Callable[..., CollapseSigns]) -> None:
    watch = watch_of()
    look(watch)
    alike = VARIED[[1] * 12]
    signs = look(watch, images=alike, class_entropy=0.0, kd=0.0, student=Dots(1))
    assert signs.signs == ("classes", "features", "forgetting")


# ---------------------------------------------------------------- patience, and the end

BAD: dict[str, Any] = {"class_entropy": 0.0}


@pytest.mark.parametrize(
    ("patience", "epochs", "collapsed"),
    [
        (1, "-x-x", "-x-x"),
        (2, "xx-xx", "-x--x"),
        (3, "xx-xxxx", "-----xx"),
    ],
)
def test_a_run_has_collapsed_after_so_many_epochs_in_a_row_with_a_sign(
    look: Callable[..., CollapseSigns], patience: int, epochs: str, collapsed: str
) -> None:
    watch = watch_of(patience=patience)
    found = [look(watch, **(BAD if epoch == "x" else {})).collapsed for epoch in epochs]
    assert found == [epoch == "x" for epoch in collapsed]


def test_the_signs_in_a_row_may_differ(look: Callable[..., CollapseSigns]) -> None:
    watch = watch_of(patience=2)
    assert not look(watch, **BAD).collapsed
    assert look(watch, images=VARIED[[0] * 5]).collapsed


@pytest.mark.parametrize("stop", [False, True])
def test_a_collapsed_run_ends_where_that_is_asked_for(
    look: Callable[..., CollapseSigns], stop: bool
) -> None:
    watch = watch_of(patience=2, stop=stop)
    first, second = look(watch, **BAD), look(watch, **BAD, images=VARIED[[0] * 5])
    watch.check(first, 1)
    if not stop:
        watch.check(second, 2)
        return
    with pytest.raises(CollapsedError) as caught:
        watch.check(second, 2)
    assert (caught.value.signs, caught.value.epoch) == (("classes", "features"), 2)
    assert str(caught.value) == "the synthesis collapsed in epoch 2: classes, features"


def test_the_error_survives_the_way_between_processes() -> None:
    error = pickle.load(io.BytesIO(pickle.dumps(CollapsedError(("classes",), 7))))
    assert isinstance(error, CollapsedError)
    assert (error.signs, error.epoch) == (("classes",), 7)
    assert str(error) == "the synthesis collapsed in epoch 7: classes"


@pytest.mark.parametrize(
    "settings",
    [
        {"patience": 0},
        {"entropy_below": 1.1},
        {"distance_below": -1},
        {"kd_below": -1},
        {"agreement_fall": 0},
        {"stopp": True},
    ],
    ids=str,
)
def test_wrong_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        CollapseConfig.model_validate(settings)


# ---------------------------------------------------------------- what it keeps, and its state


def numbered(number: int, size: InputSpecification, count: int = 20) -> Tensor:
    return torch.full((count, *size.shape), float(number))


@pytest.mark.parametrize(
    ("side", "most", "epochs"), [(2, KEPT, 60), (100, 419, 60), (320, 40, 15), (400, 32, 15)]
)
def test_images_of_all_epochs_are_kept_but_not_too_many(side: int, most: int, epochs: int) -> None:
    """Fewer where they are large: as many as hold four million numbers, but of two epochs."""
    size = InputSpecification(
        channels=1, height=side, width=side, mean=(0,), std=(1,), num_classes=2
    )
    watch = CollapseWatch(CollapseConfig(), size, CPU)
    # Its class tells whether the number is above a half of all.
    bright = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
    bright[-1].weight.data.copy_(torch.tensor([[0.0], [1.0]]))
    bright[-1].bias.data.copy_(torch.tensor([epochs / 2, 0.0]))
    teacher = TappedNetwork(bright, size)
    for epoch in range(epochs):
        watch._keep(numbered(epoch, size), teacher)
        assert len(watch.images) <= most
        above = watch.images[:, 0, 0, 0].float() > epochs / 2
        assert torch.equal(watch.classes, above.long())
        # The newest are there whole.
        newest = watch.images[-PER_EPOCH:]
        assert torch.equal(newest, numbered(epoch, size, PER_EPOCH).half())
    numbers = watch.images[:, 0, 0, 0].tolist()
    assert numbers == sorted(numbers)
    assert len(watch.images) > most // 2
    if most > 100:
        assert numbers[0] == 0
        assert len(set(numbers)) > epochs / 2


def test_a_small_batch_is_kept_whole(look: Callable[..., CollapseSigns]) -> None:
    watch = watch_of()
    look(watch, images=VARIED[:3])
    assert len(watch.images) == 3
    assert watch.images.dtype == torch.float16


def test_a_watch_from_a_state_goes_on_as_the_first(look: Callable[..., CollapseSigns]) -> None:
    first = watch_of(patience=2, **FORGETFUL)
    look(first)
    look(first, **BAD)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = watch_of(patience=2, **FORGETFUL)
    second.load_state_dict(torch.load(file, weights_only=True))
    for given in (
        {"kd": 0.0, "student": Dots(1)},
        {},
        {"images": VARIED[:5], "kd": 0.0, "student": Dots(2)},
    ):
        assert look(first, **given) == look(second, **given)
    assert torch.equal(first.images, second.images)


def test_the_teacher_classifies_a_kept_image_once() -> None:
    teacher = TappedNetwork(Dots(), DOTS)
    asked: list[int] = []
    teacher.network.register_forward_pre_hook(lambda _m, given: asked.append(len(given[0])))
    watch = watch_of()
    for _ in range(3):
        watch.look(teacher, Dots(), VARIED, EVEN, student_trained=True, kd=0.5)
    assert asked == [12, 12] * 3, "the batch, and what is kept of it"
    assert len(watch.images) == len(watch.classes) == 36


def test_a_state_without_classes_has_them_again(look: Callable[..., CollapseSigns]) -> None:
    """Older checkpoints have images alone."""
    first, second = watch_of(), watch_of()
    look(first)
    state = first.state_dict()
    del state["classes"]
    second.load_state_dict(state)
    assert look(first, images=VARIED[:5]) == look(second, images=VARIED[:5])
    assert torch.equal(first.classes, second.classes)


def test_a_look_draws_no_random_numbers_and_leaves_the_student_as_it_was(
    look: Callable[..., CollapseSigns],
) -> None:
    student = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 3))
    student.train()
    student[1].eval()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    random = torch.get_rng_state()
    look(watch_of(), student=student)
    assert torch.equal(torch.get_rng_state(), random)
    assert [module.training for module in student] == [True, False, True, True]
    assert all(torch.equal(value, before[n]) for n, value in student.state_dict().items())


# ---------------------------------------------------------------- in a distillation


def epochs_of(
    config: DistillationConfig, teacher: nn.Module, inputs: InputSpecification = INPUTS
) -> list[Progress]:
    told: list[Progress] = []
    distil(config, teacher, inputs, report=told.append)
    return told


SLEEPING: dict[str, Any] = {
    # A rate so high that the generator is soon beyond the reach of its noise.
    "generator": {"output_head": "tanh"},
    "generator_optimiser": {"learning_rate": 3.0},
    "schedule": {"epochs": 4, "iterations_per_epoch": 3},
}


def test_a_generator_that_makes_one_image_is_seen() -> None:
    told = epochs_of(
        small_config("dafl", {**SLEEPING, "collapse": {"patience": 2}}), small_teacher()
    )
    assert all("features" in p.collapse.signs for p in told)
    assert [p.collapse.collapsed for p in told] == [False, True, True, True]
    pixels = told[-1].pictures(5, 0)
    assert (pixels - pixels[:1]).abs().max() < 0.05


def leaning(to: int, by: float) -> nn.Module:
    """A teacher that has all but made up its mind."""
    teacher = small_teacher()
    last = teacher.get_submodule("classifier")
    assert isinstance(last, nn.Linear)
    last.bias.data[to] += by
    return teacher


def test_a_generator_that_makes_one_class_is_seen() -> None:
    """Nothing is wanted but the teacher's certainty."""
    absent = {"weight": 0.0}
    changes = {
        "generator_objective": {"information_entropy": absent, "activation": absent},
        "schedule": {"epochs": 3},
    }
    told = epochs_of(small_config("dafl", changes), leaning(2, 8))
    assert [p.collapse.signs for p in told] == [("classes",)] * 3
    assert [p.collapse.collapsed for p in told] == [False, False, True]


def test_pixels_of_one_class_are_seen_in_rounds() -> None:
    told = epochs_of(small_config("adi"), leaning(2, 20))
    assert all("classes" in p.collapse.signs for p in told)


@pytest.mark.parametrize("name", ["cgdd", "dafl", "fast", "zskd"])
def test_a_healthy_run_has_no_sign(name: str) -> None:
    config = small_config(name, {"schedule": {"epochs": 5, "iterations_per_epoch": 5}})
    told = epochs_of(config, small_teacher())
    assert [p.collapse.signs for p in told] == [()] * len(told)
    assert not any(p.collapse.collapsed for p in told)


def test_the_error_comes_after_the_report_of_its_epoch_and_gives_the_teacher_back() -> None:
    teacher = small_teacher()
    told: list[Progress] = []
    config = small_config("dafl", {**SLEEPING, "collapse": {"stop": True, "patience": 2}})
    with pytest.raises(CollapsedError) as caught:
        distil(config, teacher, INPUTS, report=told.append)
    assert caught.value.epoch == 2
    assert [p.epoch for p in told] == [1, 2]
    assert caught.value.signs == told[-1].collapse.signs
    assert told[-1].collapse.collapsed
    assert all(p.requires_grad for p in teacher.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in teacher.modules())


def test_a_resumed_run_goes_on_counting() -> None:
    states: list[State] = []
    config = small_config("dafl", {**SLEEPING, "collapse": {"stop": True, "patience": 3}})
    with pytest.raises(CollapsedError):
        distil(config, small_teacher(), INPUTS, report=lambda p: states.append(p.state()))
    told: list[Progress] = []
    with pytest.raises(CollapsedError) as caught:
        distil(config, small_teacher(), INPUTS, report=told.append, restore=states[1])
    assert caught.value.epoch == 3
    assert len(told) == 1


def test_what_the_watch_sees_is_what_it_says(
    make_config: Make, teacher: nn.Module, inputs: InputSpecification
) -> None:
    """Agreement and distance of the first epoch, made again from what the bank has."""
    config = make_config(
        schedule={"epochs": 1, "iterations_per_epoch": 1, "student_steps": 1, "batch_size": 12},
        image_bank={"size": 12, "replay_share": 0.0},
    )
    found: list[Progress] = []
    states: list[State] = []

    def report(progress: Progress) -> None:
        found.append(progress)
        states.append(progress.state())

    student = distil(config, teacher, inputs, report=report)
    images = states[0]["data"]["bank"]["images"].float()
    teacher.eval()
    with torch.no_grad():
        same = (student(images).argmax(1) == teacher(images).argmax(1)).float().mean().item()
        taps = TappedNetwork(teacher, inputs)
        features = taps(images, features=True).penultimate_vector.double().numpy()
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    distance = np.mean([np.linalg.norm(units[i] - units[j]) for i in range(12) for j in range(i)])
    assert found[0].collapse.agreement == pytest.approx(same, abs=1e-6)
    # The bank keeps half precision.
    assert found[0].collapse.feature_distance == pytest.approx(distance, rel=1e-2)


@pytest.mark.parametrize("mode", ["two_stage", "alternating"])
def test_the_watch_is_told_of_the_epoch_and_of_the_loss_without_its_weight(
    make_config: Make,
    record: Record,
    teacher: nn.Module,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
) -> None:
    told: list[tuple[bool, float | None]] = []
    plain = CollapseWatch.look

    def look(self: CollapseWatch, *given: Any, **named: Any) -> CollapseSigns:
        told.append((named["student_trained"], named["kd"]))
        assert given[2].shape == (6, 2, 8, 4)
        return plain(self, *given, **named)

    monkeypatch.setattr(CollapseWatch, "look", look)
    config = make_config(
        schedule={"mode": mode, "generator_epochs": 1, "epochs": 1},
        student_objective={"kd": {"weight": 4.0}, "preset_label": {"weight": 1}},
    )
    progress = record(config, teacher).progress
    assert [trained for trained, _ in told] == [False, True]
    assert told[0][1] is None
    assert told[1][1] == pytest.approx(progress[1].losses["student/kd"] / 4, rel=1e-6)
    told.clear()
    record(make_config(student_objective={"preset_label": {"weight": 1}}), teacher)
    assert told == [(True, None)] * 3


OTHERS: list[dict[str, Any]] = [
    {},
    {"generator_average": {"momentum": 0.9}},
    {"image_bank": {"size": 20, "augmentation": "crop_flip"}},
    {"generative_replay": {"share": 0.5, "latent_size": 3, "width": 2}},
    {"synthesis": {"kind": "rounds"}, "image_bank": {"size": 20, "replay_share": 1.0}},
]


@pytest.mark.parametrize("sections", OTHERS, ids=str)
def test_a_run_is_the_same_with_and_without_the_watch(
    make_config: Make,
    record: Record,
    teacher: nn.Module,
    differences: Differences,
    monkeypatch: pytest.MonkeyPatch,
    sections: dict[str, Any],
) -> None:
    """Weights, images and every random state: the watch draws no numbers and changes nothing."""
    config = make_config(**sections)
    torch.manual_seed(4)
    watched = record(config, teacher)

    def blind(_self: CollapseWatch, *_given: Any, **_named: Any) -> CollapseSigns:
        return CollapseSigns(feature_distance=0, agreement=0, signs=(), collapsed=False)

    monkeypatch.setattr(CollapseWatch, "look", blind)
    torch.manual_seed(4)
    unwatched = record(config, teacher)
    for epoch in (1, 2, 3):
        found = differences(watched.state(epoch), unwatched.state(epoch))
        assert [place for place in found if not place.startswith("/watch")] == []
        assert found
    for p, q in zip(watched.progress, unwatched.progress, strict=True):
        assert p.losses == q.losses
        assert p.class_entropy == q.class_entropy


def test_thresholds_change_what_is_told_and_nothing_else(
    make_config: Make, record: Record, teacher: nn.Module, differences: Differences
) -> None:
    strict = {"distance_below": 2, "entropy_below": 1, "patience": 1}
    plain, watched = record(make_config(), teacher), record(make_config(collapse=strict), teacher)
    found = differences(plain.state(3), watched.state(3))
    assert [place for place in found if place != "/random/torch"] == ["/watch/run"]
    assert all(p.collapse.signs[:2] == ("classes", "features") for p in watched.progress)
    assert all(p.collapse.collapsed for p in watched.progress)
