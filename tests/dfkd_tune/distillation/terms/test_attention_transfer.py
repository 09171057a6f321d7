"""Attention maps and their distances against NumPy in double precision."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from dfkd_tune.classifiers import ForwardPass
from dfkd_tune.distillation import STUDENT_TERMS, Step, attention_map
from dfkd_tune.errors import UsageError

NUMBERS = np.random.default_rng(2)
N = 3


def features(channels: int, height: int, width: int) -> np.ndarray:
    return NUMBERS.normal(0, 1, (N, channels, height, width))


TEACHER = [features(4, 8, 6), features(6, 4, 3), features(8, 2, 2)]
STUDENT = [features(2, 8, 6), features(3, 4, 3), features(5, 2, 2)]


def expected_map(x: np.ndarray, exponent: float = 2.0, reduction: str = "mean") -> np.ndarray:
    powers = np.abs(x) ** exponent
    reduced = {"mean": powers.mean, "sum": powers.sum, "max": powers.max}[reduction](1)
    flat = reduced.reshape(len(x), -1)
    return np.asarray(flat / np.sqrt((flat**2).sum(1, keepdims=True)))


def expected_distance(t: np.ndarray, s: np.ndarray, kind: str = "mean_squared") -> float:
    difference = t - s
    if kind == "mean_squared":
        return float((difference**2).mean())
    if kind == "l1":
        return float(np.abs(difference).mean())
    return float(np.sqrt((difference**2).sum(1)).mean())


def compute(teacher: list[Any], student: list[Any], **settings: Any) -> Tensor:
    def given(maps: list[Any]) -> ForwardPass:
        stages = tuple(m if isinstance(m, Tensor) else torch.tensor(m) for m in maps)
        return ForwardPass(logits=torch.zeros(N, 2), stages=stages)

    step = Step(
        images=torch.zeros(N, 1, 8, 6),
        labels=torch.zeros(N, dtype=torch.int64),
        teacher=given(teacher),
        student=given(student),
    )
    term = STUDENT_TERMS["attention_transfer"]
    return torch.as_tensor(term.build(term.settings(weight=1, **settings), None)(step))


@pytest.mark.parametrize("reduction", ["mean", "sum", "max"])
@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0, 4.0])
def test_attention_map_equals_numpy_and_has_rows_of_unit_length(
    exponent: float, reduction: str
) -> None:
    found = attention_map(torch.tensor(TEACHER[0]), exponent, reduction).numpy()
    assert found.shape == (N, 48)
    assert found == pytest.approx(expected_map(TEACHER[0], exponent, reduction), rel=1e-9)
    assert (found**2).sum(1) == pytest.approx(np.ones(N), rel=1e-9)


def test_mean_and_sum_give_the_same_normalised_map() -> None:
    x = torch.tensor(TEACHER[1])
    assert attention_map(x, 2.0, "sum").numpy() == pytest.approx(
        attention_map(x, 2.0, "mean").numpy(), rel=1e-12
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "max"])
def test_attention_map_ignores_sign_and_scale_of_each_image(reduction: str) -> None:
    scale = np.array([0.01, -3.0, 50.0])[:, None, None, None]
    found = attention_map(torch.tensor(scale * TEACHER[0]), 2.0, reduction).numpy()
    assert found == pytest.approx(expected_map(TEACHER[0], 2.0, reduction), rel=1e-9)


def test_attention_map_ignores_the_order_of_channels() -> None:
    found = attention_map(torch.tensor(TEACHER[0][:, [2, 0, 3, 1]]), 2.0, "mean").numpy()
    assert found == pytest.approx(expected_map(TEACHER[0]), rel=1e-12)


@pytest.mark.parametrize("distance", ["mean_squared", "l2", "l1"])
@pytest.mark.parametrize("exponent", [1.0, 2.0])
def test_transfer_is_the_sum_of_distances_over_all_stages(distance: str, exponent: float) -> None:
    expected = sum(
        expected_distance(expected_map(t, exponent), expected_map(s, exponent), distance)
        for t, s in zip(TEACHER, STUDENT, strict=True)
    )
    value = compute(TEACHER, STUDENT, distance=distance, exponent=exponent)
    assert value.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("stages", [(0,), (1,), (2,), (0, 2), (2, 0, 1)])
def test_a_subset_of_stages_takes_those_alone(stages: tuple[int, ...]) -> None:
    expected = sum(
        expected_distance(expected_map(TEACHER[i]), expected_map(STUDENT[i])) for i in stages
    )
    value = compute(TEACHER, STUDENT, stages=stages)
    assert value.item() == pytest.approx(expected, rel=1e-9)


def test_stages_are_paired_from_the_deepest() -> None:
    expected = sum(
        expected_distance(expected_map(t), expected_map(s))
        for t, s in zip(TEACHER[1:], STUDENT[1:], strict=True)
    )
    assert compute(TEACHER, STUDENT[1:]).item() == pytest.approx(expected, rel=1e-9)
    assert compute(TEACHER[1:], STUDENT).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("stages", [(3,), (0, 9), (-1,)])
def test_stages_that_are_none_are_refused_in_one_line(stages: tuple[int, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        compute(TEACHER, STUDENT, stages=stages)
    message = str(caught.value)
    assert message.startswith(f"student_objective.attention_transfer.stages names [{stages[-1]}]")
    assert "from 0 to 2" in message
    assert "\n" not in message


@pytest.mark.parametrize(("teacher", "student"), [(TEACHER, []), ([], STUDENT), ([], [])])
def test_networks_without_feature_maps_are_refused_in_one_line(
    teacher: list[Any], student: list[Any]
) -> None:
    with pytest.raises(UsageError, match=r"student_objective\.attention_transfer to 0") as caught:
        compute(teacher, student)
    assert "\n" not in str(caught.value)


def test_transfer_of_a_network_to_itself_is_zero() -> None:
    assert compute(TEACHER, TEACHER).item() == 0


def doubled(x: np.ndarray) -> np.ndarray:
    """Bilinear interpolation to twice the sides, by pixel centres, in plain loops."""
    n, c, h, w = x.shape
    out = np.empty((n, c, 2 * h, 2 * w))
    for row in range(2 * h):
        for column in range(2 * w):
            y = min(max((row + 0.5) / 2 - 0.5, 0), h - 1)
            z = min(max((column + 0.5) / 2 - 0.5, 0), w - 1)
            top, left = int(y), int(z)
            below, right = min(top + 1, h - 1), min(left + 1, w - 1)
            fy, fz = y - top, z - left
            upper = (1 - fz) * x[:, :, top, left] + fz * x[:, :, top, right]
            lower = (1 - fz) * x[:, :, below, left] + fz * x[:, :, below, right]
            out[:, :, row, column] = (1 - fy) * upper + fy * lower
    return out


def test_a_smaller_student_map_is_interpolated_to_the_teachers_size() -> None:
    student = features(3, 4, 3)
    expected = expected_distance(expected_map(TEACHER[0]), expected_map(doubled(student)))
    value = compute([TEACHER[0]], [student])
    assert value.item() == pytest.approx(expected, rel=1e-9)


def test_a_larger_student_map_is_brought_down_to_the_teachers_size() -> None:
    """A map that is constant in blocks has, halved, the blocks' values."""
    small = features(3, 4, 3)
    large = small.repeat(2, axis=2).repeat(2, axis=3)
    expected = expected_distance(expected_map(TEACHER[1]), expected_map(small))
    assert compute([TEACHER[1]], [large]).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("distance", ["mean_squared", "l2", "l1"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "max"])
@pytest.mark.parametrize("exponent", [1.0, 2.0, 4.0])
def test_gradient_is_finite_for_maps_with_zeros_as_relu_makes_them(
    exponent: float, reduction: str, distance: str
) -> None:
    """Half the positions are exactly 0, and one image's map is 0 everywhere."""
    student = np.maximum(STUDENT[0], 0).astype(np.float32)
    student[1] = 0
    x = torch.tensor(student, requires_grad=True)
    settings = {"exponent": exponent, "reduction": reduction, "distance": distance}
    value = compute([TEACHER[0].astype(np.float32)], [x], **settings)
    torch.autograd.backward(value)
    assert bool(torch.isfinite(value))
    assert x.grad is not None
    assert bool(torch.isfinite(x.grad).all())
    assert x.grad.abs().max() > 0


def test_an_exponent_below_one_is_refused() -> None:
    # Its gradient is infinite where a feature is zero, as after every ReLU.
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        STUDENT_TERMS["attention_transfer"].settings.model_validate({"exponent": 0.5})


def test_gradient_is_finite_where_a_feature_is_zero() -> None:
    student = torch.tensor(np.maximum(STUDENT[0], 0), requires_grad=True)
    torch.autograd.backward(compute([TEACHER[0]], [student], exponent=1))
    assert student.grad is not None
    assert bool(torch.isfinite(student.grad).all())


@pytest.mark.parametrize("distance", ["mean_squared", "l2", "l1"])
def test_gradient_equals_finite_differences(distance: str) -> None:
    student = torch.tensor(STUDENT[2], requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda s: compute([TEACHER[2]], [s], distance=distance), (student,)
    )


@pytest.mark.parametrize("distance", ["mean_squared", "l2", "l1"])
def test_gradient_is_finite_where_student_and_teacher_agree(distance: str) -> None:
    student = torch.tensor(TEACHER[2], requires_grad=True)
    torch.autograd.backward(compute([TEACHER[2]], [student], distance=distance))
    assert student.grad is not None
    assert bool(torch.isfinite(student.grad).all())
