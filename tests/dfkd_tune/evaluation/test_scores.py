"""Scores against NumPy in double precision, and against counting by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dfkd_tune.evaluation import (
    paired_outcome,
    predict_logits,
    relative_accuracy,
    split_score,
    student_scores,
)
from dfkd_tune.evaluation._scores import usual_batch

NUMBERS = np.random.default_rng(3)
STUDENT = NUMBERS.normal(0, 2, (50, 6))
TEACHER = NUMBERS.normal(0, 3, (50, 6))
LABELS = NUMBERS.integers(0, 6, 50)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def one_hot(classes: list[int]) -> Tensor:
    return torch.tensor(np.eye(4)[classes])


def test_scores_equal_numpy() -> None:
    found = student_scores(torch.tensor(STUDENT), torch.tensor(TEACHER), torch.tensor(LABELS))
    t, s = softmax(TEACHER), softmax(STUDENT)
    assert set(found) == {"accuracy", "agreement", "kl"}
    assert found["accuracy"] == pytest.approx((STUDENT.argmax(1) == LABELS).mean(), abs=1e-12)
    agreement = (STUDENT.argmax(1) == TEACHER.argmax(1)).mean()
    assert found["agreement"] == pytest.approx(agreement, abs=1e-12)
    expected = (t * (np.log(t) - np.log(s))).sum(1).mean()
    assert found["kl"] == pytest.approx(expected, rel=1e-9)


def test_a_student_equal_to_its_teacher_agrees_wholly() -> None:
    found = student_scores(torch.tensor(TEACHER), torch.tensor(TEACHER), torch.tensor(LABELS))
    assert found["agreement"] == 1
    assert found["kl"] == pytest.approx(0, abs=1e-12)


def test_divergence_is_from_the_teacher_to_the_student() -> None:
    """The student is spread out and the teacher certain: log 4 this way, far more the other."""
    certain, even = one_hot([2]) * 100, torch.zeros(1, 4)
    labels = torch.tensor([0])
    assert student_scores(even, certain, labels)["kl"] == pytest.approx(np.log(4), rel=1e-6)
    assert student_scores(certain, even, labels)["kl"] > 10


def test_single_precision_logits_are_scored_in_double() -> None:
    student = torch.tensor(STUDENT, dtype=torch.float32)
    teacher = torch.tensor(STUDENT + 1e-4 * TEACHER, dtype=torch.float32)
    t, s = (softmax(x.double().numpy()) for x in (teacher, student))
    expected = (t * (np.log(t) - np.log(s))).sum(1).mean()
    found = student_scores(student, teacher, torch.tensor(LABELS))["kl"]
    assert found == pytest.approx(expected, rel=1e-5)


def test_split_score_counts() -> None:
    score = split_score(one_hot([0, 1, 2, 3, 0]), torch.tensor([0, 1, 1, 3, 2]))
    assert (score.correct, score.images, score.accuracy) == (3, 5, 0.6)


def test_paired_outcome_counts_by_hand() -> None:
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2])
    student = one_hot([0, 1, 0, 3, 1, 2, 3])  # right: 0, 1, 3
    teacher = one_hot([0, 0, 2, 3, 0, 2, 0])  # right: 0, 2, 3, 4
    outcome = paired_outcome(student, teacher, labels)
    assert outcome.images == 7
    assert (outcome.both_correct, outcome.student_only) == (2, 1)
    assert (outcome.teacher_only, outcome.neither) == (2, 2)
    assert outcome.student_accuracy == 3 / 7
    assert outcome.teacher_accuracy == 4 / 7
    assert outcome.relative_accuracy == 75


def test_paired_outcome_agrees_with_the_single_scores() -> None:
    student, teacher, labels = (torch.tensor(x) for x in (STUDENT, TEACHER, LABELS))
    outcome = paired_outcome(student, teacher, labels)
    parts = (outcome.both_correct, outcome.student_only, outcome.teacher_only, outcome.neither)
    assert sum(parts) == outcome.images == 50
    assert outcome.student_accuracy == split_score(student, labels).accuracy
    assert outcome.teacher_accuracy == split_score(teacher, labels).accuracy


def test_relative_accuracy_is_in_percent_of_the_teacher() -> None:
    assert relative_accuracy(0.45, 0.9) == 50
    assert relative_accuracy(0.9, 0.9) == 100
    assert relative_accuracy(0.96, 0.8) == pytest.approx(120)
    assert relative_accuracy(0.0, 0.5) == 0


@pytest.mark.parametrize("teacher", [0.0, -0.1])
def test_relative_accuracy_to_a_teacher_without_one_is_undefined(teacher: float) -> None:
    with pytest.raises(ValueError, match="undefined"):
        relative_accuracy(0.5, teacher)


@pytest.fixture
def network() -> nn.Module:
    """A network whose answer depends on its mode."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(12, 4)
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_predictions_in_batches_equal_one_batch_in_evaluation_mode(
    network: nn.Module, size: int, training: bool
) -> None:
    images = torch.randn(7, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = network.eval()(images)
    network.train(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = predict_logits(network, images, batch_size=size)
    assert found.shape == (7, 4)
    assert not found.requires_grad
    assert torch.allclose(found, expected, atol=1e-6)
    assert all(m.training is training for m in network.modules())
    assert all(torch.equal(value, before[n]) for n, value in network.state_dict().items())


def test_mode_is_restored_when_the_network_fails(network: nn.Module) -> None:
    network.train()
    with pytest.raises(RuntimeError):
        predict_logits(network, torch.zeros(2, 5, 4, 4))
    assert all(m.training for m in network.modules())


def test_predictions_are_single_precision_whatever_the_network() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).double()
    found = predict_logits(network, torch.zeros(3, 1, 2, 2, dtype=torch.float64))
    assert found.dtype == torch.float32


@pytest.mark.parametrize(
    ("size", "on_cpu", "on_gpu"), [(8, 64, 1024), (32, 64, 1024), (64, 64, 1024), (224, 8, 83)]
)
def test_a_batch_fits_what_computes_it(size: int, on_cpu: int, on_gpu: int) -> None:
    images = torch.empty(1, 3, 1, 1).expand(5000, 3, size, size)
    assert usual_batch(images, torch.device("cpu")) == on_cpu
    assert usual_batch(images, torch.device("cuda")) == on_gpu
