"""Results by class, against counting by hand in plain Python."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor

from dfkd_tune.evaluation import class_results, paired_outcome
from dfkd_tune.records import Confusion

NAMES = ("ant", "bee", "cat", "dog")


def logits(classes: list[int]) -> Tensor:
    return torch.tensor(np.eye(4)[classes])


def test_numbers_by_hand() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 3])
    student = logits([0, 1, 1, 1, 0, 3])
    teacher = logits([0, 0, 1, 1, 1, 0])
    found = class_results(student, teacher, labels, NAMES, "test")
    assert found.names == NAMES
    assert found.images == (3, 2, 0, 1)
    assert found.student == (1, 1, 0, 1)
    assert found.teacher == (2, 2, 0, 0)
    assert found.confusions == (
        Confusion(true=0, predicted=1, student=2, teacher=1),
        Confusion(true=1, predicted=0, student=1, teacher=0),
    )


def test_without_labels_the_teacher_is_right() -> None:
    student, teacher = logits([0, 1, 2]), logits([0, 0, 2])
    found = class_results(student, teacher, None, NAMES, "held_out")
    assert (found.images, found.student, found.teacher) == ((2, 0, 1, 0), (1, 0, 1, 0), None)
    assert found.confusions == (Confusion(true=0, predicted=1, student=1),)


@pytest.mark.parametrize("seed", range(3))
def test_many_classes_against_plain_counting(seed: int) -> None:
    numbers = np.random.default_rng(seed)
    student, teacher = numbers.normal(size=(2, 500, 12))
    labels = numbers.integers(0, 12, 500)
    found = class_results(
        torch.tensor(student), torch.tensor(teacher), torch.tensor(labels), "abcdefghijkl", "test"
    )
    chosen = student.argmax(1)
    for label in range(12):
        of_class = labels == label
        assert found.images[label] == of_class.sum()
        assert found.student[label] == (chosen[of_class] == label).sum()
        assert found.teacher is not None
        assert found.teacher[label] == (teacher.argmax(1)[of_class] == label).sum()
    wrong = Counter((t, p) for t, p in zip(labels, chosen, strict=True) if t != p)
    ordered = sorted(wrong.items(), key=lambda item: (-item[1], item[0]))[:30]
    assert [((c.true, c.predicted), c.student) for c in found.confusions] == ordered
    by_teacher = Counter(zip(labels, teacher.argmax(1), strict=True))
    assert all(c.teacher == by_teacher[c.true, c.predicted] for c in found.confusions)


def test_sums_are_those_of_the_paired_outcome() -> None:
    numbers = np.random.default_rng(9)
    student, teacher = (torch.tensor(x) for x in numbers.normal(size=(2, 80, 4)))
    labels = torch.tensor(numbers.integers(0, 4, 80))
    found = class_results(student, teacher, labels, NAMES, "test")
    outcome = paired_outcome(student, teacher, labels)
    assert found.teacher is not None
    assert sum(found.images) == outcome.images
    assert sum(found.student) == outcome.both_correct + outcome.student_only
    assert sum(found.teacher) == outcome.both_correct + outcome.teacher_only
