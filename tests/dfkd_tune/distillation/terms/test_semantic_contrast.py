"""Semantic feature contrast against loops over anchors, in double precision."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dfkd_tune.classifiers import ForwardPass, NetworkShapes
from dfkd_tune.distillation.terms import (
    STUDENT_TERMS,
    Objective,
    Step,
    StudentObjective,
    TermContext,
)
from dfkd_tune.distillation.terms._semantic_contrast import (
    SemanticContrast,
    SemanticContrastTerm,
    contrast,
)

NUMBERS = np.random.default_rng(21)
N, D = 5, 6
TEACHER_WIDTH, STUDENT_WIDTH = 7, 4
TEACHER = NUMBERS.normal(0, 1, (N, TEACHER_WIDTH))
STUDENT = NUMBERS.normal(0, 1, (N, STUDENT_WIDTH))
# Two heads without BatchNorm, where a test does not say otherwise.
SMALL = {"hidden_width": 9, "output_width": D, "head": "separate", "hidden_norm": "none"}
NORMED = {"head": "shared", "hidden_norm": "batch"}


def unit(x: np.ndarray) -> np.ndarray:
    return np.asarray(x / np.sqrt((x**2).sum(1, keepdims=True)))


def expected_contrast(anchors: np.ndarray, positives: np.ndarray, temperature: float) -> float:
    """-log of the positive's share among the 2N - 1 features other than the anchor itself."""
    features = [*anchors, *positives]
    losses = []
    for i in range(len(anchors)):
        others = [k for k in range(len(features)) if k != i]
        assert len(others) == 2 * len(anchors) - 1
        shares = [np.exp(anchors[i] @ features[k] / temperature) for k in others]
        positive = np.exp(anchors[i] @ positives[i] / temperature)
        losses.append(-np.log(positive / sum(shares)))
    return float(np.mean(losses))


def context(student: int = STUDENT_WIDTH) -> TermContext:
    def shapes(width: int) -> NetworkShapes:
        return NetworkShapes(stages=(), penultimate=width, batch_norms=())

    return TermContext(
        teacher=shapes(TEACHER_WIDTH), student=shapes(student), source=torch.Generator()
    )


def build(student: int = STUDENT_WIDTH, **settings: Any) -> SemanticContrastTerm:
    torch.manual_seed(4)
    term = STUDENT_TERMS["semantic_contrast"]
    checked = term.settings.model_validate({"weight": 1, **SMALL, **settings})
    built = term.build(checked, context(student)).double()
    assert isinstance(built, SemanticContrastTerm)
    return built


def step(teacher: Any = TEACHER, student: Any = STUDENT) -> Step:
    def given(vector: Any) -> ForwardPass:
        made = vector if isinstance(vector, Tensor) else torch.tensor(vector)
        return ForwardPass(logits=torch.zeros(len(vector), 2), penultimate=made)

    return Step(
        images=torch.zeros(len(teacher), 1, 2, 2),
        labels=torch.zeros(len(teacher), dtype=torch.int64),
        teacher=given(teacher),
        student=given(student),
    )


def through(head: nn.Module, x: np.ndarray) -> np.ndarray:
    """An MLP by hand; a shared head comes as a lift before another."""
    for layer in head.modules():
        if isinstance(layer, nn.ReLU):
            x = np.maximum(x, 0)
        elif isinstance(layer, nn.BatchNorm1d):
            x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
            x = x * layer.weight.detach().numpy() + layer.bias.detach().numpy()
        elif isinstance(layer, nn.Linear):
            x = x @ layer.weight.detach().numpy().T
            x = x if layer.bias is None else x + layer.bias.detach().numpy()
    return x


def expected(term: SemanticContrastTerm, teacher: np.ndarray, student: np.ndarray) -> float:
    t = unit(through(term.of_teacher, teacher))
    s = unit(through(term.of_student, student))
    loss = expected_contrast(t, s, term.settings.temperature)
    if term.settings.anchors == "symmetric":
        loss = (loss + expected_contrast(s, t, term.settings.temperature)) / 2
    return loss


# ---------------------------------------------------------------- the contrast


@pytest.mark.parametrize("temperature", [0.07, 0.5, 1.0])
def test_contrast_equals_a_loop_over_anchors(temperature: float) -> None:
    a, p = unit(NUMBERS.normal(0, 1, (N, D))), unit(NUMBERS.normal(0, 1, (N, D)))
    value = contrast(torch.tensor(a), torch.tensor(p), temperature).item()
    assert value == pytest.approx(expected_contrast(a, p, temperature), rel=1e-9)


def test_the_positive_is_in_the_denominator_and_the_anchor_itself_is_not() -> None:
    """Two images with orthogonal features: 2N - 1 = 3 terms, of which one is the positive."""
    a = np.eye(2)
    value = contrast(torch.tensor(a), torch.tensor(a), 1.0).item()
    assert value == pytest.approx(-np.log(np.e / (np.e + 1 + 1)), rel=1e-12)


def test_contrast_of_one_image_is_zero() -> None:
    a = torch.tensor(unit(NUMBERS.normal(0, 1, (1, D))))
    assert contrast(a, a, 0.07).item() == 0


def test_contrast_of_equal_features_is_the_logarithm_of_their_number() -> None:
    a = torch.ones(N, D, dtype=torch.float64) / D**0.5
    assert contrast(a, a, 0.07).item() == pytest.approx(np.log(2 * N - 1), rel=1e-12)


def test_contrast_falls_as_features_of_the_same_image_come_together() -> None:
    a, p = unit(NUMBERS.normal(0, 1, (N, D))), unit(NUMBERS.normal(0, 1, (N, D)))
    values = [
        contrast(torch.tensor(a), torch.tensor(unit(share * a + (1 - share) * p)), 0.1).item()
        for share in (0.0, 0.3, 0.7, 1.0)
    ]
    assert values == sorted(values, reverse=True)


def test_gradient_of_the_contrast_equals_finite_differences() -> None:
    a, p = (torch.tensor(unit(NUMBERS.normal(0, 1, (3, D))), requires_grad=True) for _ in "ab")
    assert torch.autograd.gradcheck(lambda x, y: contrast(x, y, 0.3), (a, p))


# ---------------------------------------------------------------- the term


@pytest.mark.parametrize("head", ["separate", "shared"])
@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("anchors", ["teacher", "symmetric"])
@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_term_is_the_contrast_behind_the_heads(
    anchors: str, head: str, norm: str, temperature: float
) -> None:
    term = build(anchors=anchors, head=head, hidden_norm=norm, temperature=temperature)
    value = term(step()).item()
    assert value == pytest.approx(expected(term, TEACHER, STUDENT), rel=1e-9)


def test_the_symmetric_mode_treats_both_networks_alike() -> None:
    """With one head and features of one width, which is the teacher makes no difference."""
    other = NUMBERS.normal(0, 1, (N, TEACHER_WIDTH))
    for anchors, is_same in (("symmetric", True), ("teacher", False)):
        term = build(TEACHER_WIDTH, head="shared", anchors=anchors)
        forth, back = term(step(TEACHER, other)).item(), term(step(other, TEACHER)).item()
        assert (forth == pytest.approx(back, rel=1e-9)) == is_same


def test_the_order_of_the_batch_makes_no_difference() -> None:
    # Every image moves, whatever was drawn before.
    term, order = build(), np.roll(np.arange(N), 1)
    before = term(step()).item()
    assert term(step(TEACHER[order], STUDENT[order])).item() == pytest.approx(before, rel=1e-9)
    assert term(step(TEACHER, STUDENT[order])).item() != pytest.approx(before, rel=1e-3)


def test_the_scale_of_what_the_heads_give_makes_no_difference() -> None:
    term = build()
    before = term(step()).item()
    with torch.no_grad():
        for head, factor in ((term.of_teacher, 30.0), (term.of_student, 0.01)):
            last = [layer for layer in head.modules() if isinstance(layer, nn.Linear)][-1]
            last.weight.mul_(factor)
            last.bias.mul_(factor)
    assert term(step()).item() == pytest.approx(before, rel=1e-9)


def test_the_scale_of_each_images_features_makes_no_difference_to_heads_without_biases() -> None:
    term = build()
    with torch.no_grad():
        for name, parameter in term.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
    before = term(step()).item()
    scales = NUMBERS.uniform(0.1, 50, (N, 1))
    assert term(step(TEACHER * scales, STUDENT * 7)).item() == pytest.approx(before, rel=1e-9)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_heads_have_the_layers_and_widths_asked_for(layers: int) -> None:
    term = build(hidden_layers=layers)
    for head, width in ((term.of_teacher, TEACHER_WIDTH), (term.of_student, STUDENT_WIDTH)):
        linear = [layer for layer in head.modules() if isinstance(layer, nn.Linear)]
        widths = [width] + [9] * layers + [D]
        assert [x.in_features for x in linear] == widths[:-1]
        assert [x.out_features for x in linear] == widths[1:]
        assert sum(isinstance(layer, nn.ReLU) for layer in head.modules()) == layers


def test_separate_heads_share_nothing_and_a_shared_head_all_but_the_lift() -> None:
    def weights(head: nn.Module) -> set[int]:
        return {id(p) for p in head.parameters()}

    separate = build()
    assert not weights(separate.of_teacher) & weights(separate.of_student)
    shared = build(head="shared")
    (lift,) = weights(shared.of_student) - weights(shared.of_teacher)
    assert weights(shared.of_teacher) < weights(shared.of_student)
    (found,) = [p for p in shared.parameters() if id(p) == lift]
    assert tuple(found.shape) == (TEACHER_WIDTH, STUDENT_WIDTH)
    alike = build(TEACHER_WIDTH, head="shared")
    assert weights(alike.of_teacher) == weights(alike.of_student)


@pytest.mark.parametrize("head", ["separate", "shared"])
@pytest.mark.parametrize("anchors", ["teacher", "symmetric"])
def test_gradients_reach_the_student_and_the_heads_and_not_the_teacher(
    anchors: str, head: str
) -> None:
    term = build(anchors=anchors, head=head)
    network = nn.Linear(3, TEACHER_WIDTH).double()
    student = torch.tensor(STUDENT, requires_grad=True)
    with torch.no_grad():
        teacher = network(torch.tensor(NUMBERS.normal(0, 1, (N, 3))))
    term(step(teacher, student)).backward()
    assert all(parameter.grad is None for parameter in network.parameters())
    assert teacher.grad is None
    assert student.grad is not None
    assert student.grad.abs().amin(1).min() > 0
    for name, parameter in term.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert parameter.grad.abs().max() > 0, name


def test_gradient_of_the_students_features_equals_finite_differences() -> None:
    term = build(temperature=0.5, anchors="symmetric")
    student = torch.tensor(STUDENT, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: term(step(TEACHER, s)), (student,))


@pytest.mark.parametrize("temperature", [0.07, 1e-3])
def test_value_and_gradient_are_finite_where_networks_agree_or_are_silent(
    temperature: float,
) -> None:
    term = build(temperature=temperature)
    for teacher, student in (
        (np.ones((N, TEACHER_WIDTH)), np.ones((N, STUDENT_WIDTH))),
        (np.zeros((N, TEACHER_WIDTH)), np.zeros((N, STUDENT_WIDTH))),
    ):
        given = torch.tensor(student, requires_grad=True)
        value = term(step(teacher, given))
        value.backward()
        assert bool(torch.isfinite(value))
        assert given.grad is not None
        assert bool(torch.isfinite(given.grad).all())


def test_training_the_term_makes_each_image_find_its_own() -> None:
    config = StudentObjective.model_validate({"semantic_contrast": {"weight": 1, **SMALL}})
    torch.manual_seed(4)
    made = Objective("student", config, STUDENT_TERMS, context()).double()
    student = torch.tensor(STUDENT, requires_grad=True)
    optimiser = torch.optim.Adam([*made.trained(), student], lr=0.02)
    for _ in range(150):
        optimiser.zero_grad()
        loss, _ = made(step(TEACHER, student))
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.01


def loss_after_training(steps: int = 150, **settings: Any) -> float:
    """The loss as DFKD-FGVC trains it, on features that are alike for the most part.

    As of a teacher behind a ReLU and a pooling: a large part in common, a small one of each image.
    """
    numbers = np.random.default_rng(5)
    count, width = 32, 16
    common = numbers.uniform(0.5, 1.5, width)
    own = numbers.normal(0, 0.05, (count, width))
    teacher, student = common + own, 0.4 * common + 0.3 * own
    torch.manual_seed(6)
    term = SemanticContrastTerm(
        SemanticContrast(hidden_width=64, output_width=32, **settings),
        TermContext(
            teacher=NetworkShapes(stages=(), penultimate=width, batch_norms=()),
            student=NetworkShapes(stages=(), penultimate=width, batch_norms=()),
            source=torch.Generator(),
        ),
    ).double()
    optimiser = torch.optim.SGD(term.parameters(), lr=1e-2, momentum=0.9, weight_decay=5e-4)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = term(step(teacher, student))
        (8 * loss).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return float(loss.detach())


@pytest.mark.parametrize("head", ["separate", "shared"])
def test_without_norm_all_images_end_in_one_direction(head: str) -> None:
    """The plateau that the default avoids: nothing is told apart, at the published weight."""
    assert loss_after_training(head=head, hidden_norm="none") == pytest.approx(
        np.log(2 * 32 - 1), abs=0.02
    )


def test_with_norm_the_images_are_told_apart() -> None:
    assert loss_after_training(**NORMED) < 0.5 * np.log(2 * 32 - 1)


def test_the_term_must_know_the_networks() -> None:
    term = STUDENT_TERMS["semantic_contrast"]
    with pytest.raises(TypeError, match="shapes of teacher and student"):
        term.build(term.settings(weight=1), None)
