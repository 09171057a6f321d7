"""Loss terms on logits and features against NumPy in double precision."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dfkd_tune.classifiers import ForwardPass
from dfkd_tune.distillation import GENERATOR_TERMS, STUDENT_TERMS, Step

N, K, D = 7, 5, 6
NUMBERS = np.random.default_rng(0)
TEACHER = NUMBERS.normal(0, 3, (N, K))
STUDENT = NUMBERS.normal(0, 2, (N, K))
PENULTIMATE = NUMBERS.normal(0, 2, (N, D))
LABELS = np.array([0, 1, 2, 3, 4, 0, 2])


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True))
    return np.asarray(e / e.sum(1, keepdims=True))


def kl(p: np.ndarray, q: np.ndarray) -> float:
    return float((p * (np.log(p) - np.log(q))).sum(1).mean())


def expected_divergence(kind: str, temperature: float) -> float:
    if kind == "l1":
        return float(np.abs(TEACHER - STUDENT).mean())
    if kind == "mse":
        return float(((TEACHER - STUDENT) ** 2).mean())
    t, s = softmax(TEACHER / temperature), softmax(STUDENT / temperature)
    if kind == "kl_teacher_student":
        return temperature**2 * kl(t, s)
    if kind == "kl_student_teacher":
        return temperature**2 * kl(s, t)
    middle = (t + s) / 2
    return temperature**2 * (kl(t, middle) + kl(s, middle)) / 2


def make_step(
    teacher: Any = TEACHER,
    student: Any = STUDENT,
    labels: Any = LABELS,
    penultimate: Any = None,
    targets: Any = None,
) -> Step:
    def tensor(x: Any) -> Tensor:
        return x if isinstance(x, Tensor) else torch.tensor(x)

    return Step(
        images=torch.zeros(len(labels), 1, 2, 2),
        labels=torch.tensor(labels),
        targets=None if targets is None else tensor(targets),
        teacher=ForwardPass(
            logits=tensor(teacher),
            penultimate=None if penultimate is None else tensor(penultimate),
        ),
        student=None if student is None else ForwardPass(logits=tensor(student)),
    )


def compute(registry: Any, name: str, step: Step, **settings: Any) -> Tensor:
    term = registry[name]
    return torch.as_tensor(term.build(term.settings(weight=1, **settings), None)(step))


KINDS = ("kl_teacher_student", "kl_student_teacher", "js", "l1", "mse")


@pytest.mark.parametrize("temperature", [1.0, 4.0, 0.5])
@pytest.mark.parametrize("kind", KINDS)
def test_distillation_is_the_divergence_times_the_squared_temperature(
    kind: str, temperature: float
) -> None:
    value = compute(STUDENT_TERMS, "kd", make_step(), divergence=kind, temperature=temperature)
    assert value.item() == pytest.approx(expected_divergence(kind, temperature), rel=1e-9)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("kind", KINDS)
def test_adversarial_is_minus_the_divergence(kind: str, temperature: float) -> None:
    settings = {"divergence": kind, "temperature": temperature}
    value = compute(GENERATOR_TERMS, "adversarial", make_step(), **settings)
    assert value.item() == pytest.approx(-expected_divergence(kind, temperature), rel=1e-9)
    assert value.item() < 0


def single_divergence(kind: str, row: int) -> float:
    """Of one image, at temperature 1."""
    teacher, student = TEACHER[row], STUDENT[row]
    if kind in ("l1", "mse"):
        difference = np.abs(teacher - student)
        return float((difference if kind == "l1" else difference**2).mean())
    t, s = softmax(teacher[None])[0], softmax(student[None])[0]
    middle = (t + s) / 2
    pairs = {
        "kl_teacher_student": [(t, s)],
        "kl_student_teacher": [(s, t)],
        "js": [(t, middle), (s, middle)],
    }[kind]
    return float(np.mean([(p * np.log(p / q)).sum() for p, q in pairs]))


@pytest.mark.parametrize("kind", KINDS)
def test_with_agreement_only_images_on_which_the_networks_differ_count_as_zero(kind: str) -> None:
    same = [row for row in range(N) if TEACHER[row].argmax() == STUDENT[row].argmax()]
    assert 0 < len(same) < N
    expected = -sum(single_divergence(kind, row) for row in same) / N
    settings = {"divergence": kind, "agreement_only": True}
    teacher = torch.tensor(TEACHER, requires_grad=True)
    value = compute(GENERATOR_TERMS, "adversarial", make_step(teacher=teacher), **settings)
    assert value.item() == pytest.approx(expected, rel=1e-9)
    torch.autograd.backward(value)
    assert teacher.grad is not None
    assert [row for row in range(N) if teacher.grad[row].abs().max() > 0] == same


def test_with_agreement_only_and_no_agreement_the_loss_and_gradient_are_zero() -> None:
    teacher = torch.tensor(np.eye(K)[LABELS] * 2, requires_grad=True)
    step = make_step(teacher=teacher, student=np.eye(K)[(LABELS + 1) % K])
    value = compute(GENERATOR_TERMS, "adversarial", step, agreement_only=True)
    torch.autograd.backward(value)
    assert value.item() == 0
    assert teacher.grad is not None
    assert torch.equal(teacher.grad, torch.zeros_like(teacher))


@pytest.mark.parametrize("kind", KINDS)
def test_divergence_of_equal_logits_is_zero(kind: str) -> None:
    value = compute(STUDENT_TERMS, "kd", make_step(student=TEACHER), divergence=kind)
    assert value.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS[:3])
def test_divergence_of_distributions_ignores_a_shift_of_all_logits(kind: str) -> None:
    shifted = STUDENT + NUMBERS.normal(0, 5, (N, 1))
    value = compute(STUDENT_TERMS, "kd", make_step(student=shifted), divergence=kind)
    assert value.item() == pytest.approx(expected_divergence(kind, 4.0), rel=1e-9)


def test_jensen_shannon_is_symmetric_and_bounded_and_kl_is_not_symmetric() -> None:
    swapped = make_step(teacher=STUDENT, student=TEACHER)
    js = {"divergence": "js", "temperature": 1.0}
    forth = compute(STUDENT_TERMS, "kd", make_step(), **js).item()
    assert forth == pytest.approx(compute(STUDENT_TERMS, "kd", swapped, **js).item(), rel=1e-12)
    assert 0 < forth < math.log(2)
    one = compute(STUDENT_TERMS, "kd", make_step(), temperature=1.0).item()
    other = compute(STUDENT_TERMS, "kd", swapped, temperature=1.0).item()
    assert one != pytest.approx(other, rel=1e-3)


def test_jensen_shannon_of_opposed_certainty_is_log_two() -> None:
    certain = np.array([[60.0, 0.0]])
    step = make_step(teacher=certain, student=certain[:, ::-1].copy(), labels=[0])
    value = compute(STUDENT_TERMS, "kd", step, divergence="js", temperature=1.0)
    assert value.item() == pytest.approx(math.log(2), rel=1e-9)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
def test_preset_label_is_the_teachers_smoothed_cross_entropy(smoothing: float) -> None:
    target = np.full((N, K), smoothing / K)
    target[np.arange(N), LABELS] += 1 - smoothing
    expected = -(target * np.log(softmax(TEACHER))).sum(1).mean()
    step = make_step(student=None)
    value = compute(GENERATOR_TERMS, "preset_label", step, label_smoothing=smoothing)
    assert value.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 20.0])
def test_preset_label_divides_the_teachers_logits_by_the_temperature(temperature: float) -> None:
    expected = -np.log(softmax(TEACHER / temperature))[np.arange(N), LABELS].mean()
    step = make_step(student=None)
    value = compute(GENERATOR_TERMS, "preset_label", step, temperature=temperature)
    assert value.item() == pytest.approx(expected, rel=1e-9)


TARGETS = NUMBERS.dirichlet(np.full(K, 0.5), N)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("temperature", [1.0, 20.0])
def test_preset_distributions_stand_for_the_labels(temperature: float, smoothing: float) -> None:
    wanted = (1 - smoothing) * TARGETS + smoothing / K
    expected = -(wanted * np.log(softmax(TEACHER / temperature))).sum(1).mean()
    step = make_step(student=None, targets=TARGETS)
    settings = {"temperature": temperature, "label_smoothing": smoothing}
    value = compute(GENERATOR_TERMS, "preset_label", step, **settings)
    assert value.item() == pytest.approx(expected, rel=1e-9)


def test_certain_distributions_are_as_labels() -> None:
    certain = make_step(student=None, targets=np.eye(K)[LABELS])
    value = compute(GENERATOR_TERMS, "preset_label", certain)
    plain = compute(GENERATOR_TERMS, "preset_label", make_step(student=None))
    assert value.item() == pytest.approx(plain.item(), rel=1e-12)


def test_pseudo_label_is_the_cross_entropy_with_the_likeliest_class() -> None:
    expected = -np.log(softmax(TEACHER).max(1)).mean()
    step = make_step(student=None)
    value = compute(GENERATOR_TERMS, "pseudo_label", step, form="cross_entropy")
    assert value.item() == pytest.approx(expected, rel=1e-9)
    assert compute(GENERATOR_TERMS, "pseudo_label", step).item() == value.item()


def test_pseudo_label_of_the_other_form_is_the_mean_entropy() -> None:
    p = softmax(TEACHER)
    value = compute(GENERATOR_TERMS, "pseudo_label", make_step(student=None), form="entropy")
    assert value.item() == pytest.approx(-(p * np.log(p)).sum(1).mean(), rel=1e-9)


@pytest.mark.parametrize("form", ["cross_entropy", "entropy"])
def test_pseudo_label_falls_from_log_k_to_zero_as_the_teacher_becomes_sure(form: str) -> None:
    unsure, sure = make_step(teacher=np.zeros((N, K))), make_step(teacher=np.eye(K)[LABELS] * 60)
    high, low = (compute(GENERATOR_TERMS, "pseudo_label", s, form=form) for s in (unsure, sure))
    assert high.item() == pytest.approx(math.log(K), rel=1e-9)
    assert low.item() == pytest.approx(0, abs=1e-9)


def test_student_preset_label_is_the_students_cross_entropy() -> None:
    expected = -np.log(softmax(STUDENT))[np.arange(N), LABELS].mean()
    assert compute(STUDENT_TERMS, "preset_label", make_step()).item() == pytest.approx(expected)


def test_gated_preset_label_is_the_mean_over_the_images_that_the_teacher_sees_so() -> None:
    teacher = np.zeros((N, K))
    seen = np.array([0, 1, 0, 3, 0, 0, 1])  # as asked for: images 0, 1, 3 and 5
    teacher[np.arange(N), seen] = 2.0
    losses = -np.log(softmax(STUDENT))[np.arange(N), LABELS]
    step = make_step(teacher=teacher)
    value = compute(STUDENT_TERMS, "preset_label", step, gate_by_teacher=True)
    assert value.item() == pytest.approx(losses[[0, 1, 3, 5]].mean(), rel=1e-9)


def test_gated_preset_label_with_no_image_kept_is_zero_with_zero_gradient() -> None:
    teacher = np.zeros((N, K))
    teacher[np.arange(N), (LABELS + 1) % K] = 2.0
    student = torch.tensor(STUDENT, requires_grad=True)
    step = make_step(teacher=teacher, student=student)
    value = compute(STUDENT_TERMS, "preset_label", step, gate_by_teacher=True)
    torch.autograd.backward(value)
    assert value.item() == 0
    assert student.grad is not None
    assert torch.equal(student.grad, torch.zeros_like(student))


def test_activation_is_minus_the_mean_absolute_feature() -> None:
    value = compute(GENERATOR_TERMS, "activation", make_step(penultimate=PENULTIMATE))
    assert value.item() == pytest.approx(-np.abs(PENULTIMATE).mean(), rel=1e-12)


@pytest.mark.parametrize(("logarithm", "log"), [("e", np.log), ("10", np.log10)])
def test_information_entropy_is_the_negative_entropy_of_the_mean_prediction(
    logarithm: str, log: Any
) -> None:
    mean = softmax(TEACHER).mean(0)
    step = make_step(student=None)
    value = compute(GENERATOR_TERMS, "information_entropy", step, logarithm=logarithm)
    assert value.item() == pytest.approx((mean * log(mean)).sum(), rel=1e-9)


def test_information_entropy_is_lowest_where_the_classes_are_balanced() -> None:
    balanced = make_step(teacher=np.eye(K) * 30, student=None, labels=range(K))
    one_class = make_step(teacher=np.tile(np.eye(K)[:1] * 30, (K, 1)), labels=range(K))
    low = compute(GENERATOR_TERMS, "information_entropy", balanced).item()
    high = compute(GENERATOR_TERMS, "information_entropy", one_class).item()
    assert low == pytest.approx(-math.log(K), rel=1e-6)
    assert high == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("gap", [1e2, 2e2, 1e4])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("preset_label", {"label_smoothing": 0.1}),
        ("pseudo_label", {}),
        ("pseudo_label", {"form": "entropy"}),
        ("information_entropy", {}),
        *(("adversarial", {"divergence": kind}) for kind in KINDS),
    ],
)
def test_gradient_is_finite_for_a_teacher_that_is_certain(
    name: str, settings: dict[str, Any], gap: float
) -> None:
    """Probabilities that underflow to 0 must not turn the generator's weights into NaN."""
    teacher = torch.zeros(3, K, dtype=torch.float32)
    teacher[:, 0] = gap
    teacher.requires_grad_(True)
    student = torch.tensor(STUDENT[:3], dtype=torch.float32, requires_grad=True)
    step = make_step(teacher=teacher, student=student, labels=LABELS[:3])
    value = compute(GENERATOR_TERMS, name, step, **settings)
    torch.autograd.backward(value)
    assert math.isfinite(value.item())
    assert teacher.grad is not None
    assert bool(torch.isfinite(teacher.grad).all())


@pytest.mark.parametrize(
    ("registry", "name", "settings"),
    [
        (GENERATOR_TERMS, "preset_label", {"label_smoothing": 0.2}),
        (GENERATOR_TERMS, "preset_label", {"temperature": 3.0}),
        (GENERATOR_TERMS, "pseudo_label", {}),
        (GENERATOR_TERMS, "pseudo_label", {"form": "entropy"}),
        (GENERATOR_TERMS, "adversarial", {"agreement_only": True}),
        (GENERATOR_TERMS, "information_entropy", {"logarithm": "10"}),
        (GENERATOR_TERMS, "activation", {}),
        (STUDENT_TERMS, "preset_label", {}),
        *((GENERATOR_TERMS, "adversarial", {"divergence": kind}) for kind in KINDS),
        *((STUDENT_TERMS, "kd", {"divergence": kind, "temperature": 3.0}) for kind in KINDS),
    ],
)
def test_gradient_equals_finite_differences(registry: Any, name: str, settings: Any) -> None:
    def value(teacher: Tensor, student: Tensor, penultimate: Tensor) -> Tensor:
        step = make_step(teacher=teacher, student=student, penultimate=penultimate)
        # Every input takes part, so that one may have no gradient of its own.
        rest = 0 * (teacher.sum() + student.sum() + penultimate.sum())
        return compute(registry, name, step, **settings) + rest

    tensors = tuple(torch.tensor(x, requires_grad=True) for x in (TEACHER, STUDENT, PENULTIMATE))
    assert torch.autograd.gradcheck(value, tensors)


@pytest.mark.parametrize(
    "name", ["preset_label", "pseudo_label", "information_entropy", "adversarial"]
)
def test_loss_does_not_depend_on_the_order_of_the_batch(name: str) -> None:
    order = NUMBERS.permutation(N)
    shuffled = make_step(teacher=TEACHER[order], student=STUDENT[order], labels=LABELS[order])
    before = compute(GENERATOR_TERMS, name, make_step()).item()
    assert compute(GENERATOR_TERMS, name, shuffled).item() == pytest.approx(before, rel=1e-12)


def test_a_term_without_the_pass_that_it_needs_says_so() -> None:
    with pytest.raises(ValueError, match="without declaring that need"):
        compute(GENERATOR_TERMS, "adversarial", make_step(student=None))
    with pytest.raises(ValueError, match="no penultimate vector"):
        compute(GENERATOR_TERMS, "activation", make_step())


def test_a_term_refuses_the_settings_of_another() -> None:
    settings = STUDENT_TERMS["kd"].settings(weight=1)
    with pytest.raises(TypeError, match="preset_label"):
        GENERATOR_TERMS["preset_label"].build(settings, None)
