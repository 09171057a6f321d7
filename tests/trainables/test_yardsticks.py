"""Yardsticks: the student's network on real images, alone and taught by the teacher."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dfkd_tune.benchmarks import get_benchmark
from dfkd_tune.classifiers import NetworkConfig, TrainingRecipe
from trainables import (
    YARDSTICKS,
    TeacherConfig,
    distillation_loss,
    prepare_teacher,
    prepare_yardstick,
    yardstick_recipe,
)

CPU = torch.device("cpu")
DIGITS = get_benchmark("digits")
STUDENT = NetworkConfig(architecture="convnet", width=0.125)


def log_softmax(x: np.ndarray) -> np.ndarray:
    shifted = x - x.max(1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))


@pytest.mark.parametrize(("weight", "temperature"), [(0.9, 4.0), (0.0, 1.0), (1.0, 2.0)])
def test_the_loss_is_that_of_hinton(weight: float, temperature: float) -> None:
    numbers = np.random.default_rng(0)
    student, teacher = numbers.normal(size=(2, 5, 3))
    labels = np.array([0, 2, 1, 1, 0])
    p, q = log_softmax(teacher / temperature), log_softmax(student / temperature)
    soft = (np.exp(p) * (p - q)).sum(1).mean() * temperature**2
    hard = -log_softmax(student)[np.arange(5), labels].mean()
    found = distillation_loss(
        torch.tensor(student), torch.tensor(teacher), torch.tensor(labels), weight, temperature
    )
    assert found.item() == pytest.approx(weight * soft + (1 - weight) * hard)


def test_both_are_trained_cached_and_measured_on_test(tmp_path: Path) -> None:
    config = TeacherConfig.model_validate(
        {"architecture": "convnet", "width": 0.25, "recipe": {"epochs": 12}}
    )
    teacher = prepare_teacher(DIGITS, config, tmp_path / "teachers", device=CPU)
    recipe = yardstick_recipe(teacher, DIGITS)
    assert recipe == TrainingRecipe.model_validate(teacher.card.recipe)
    cache = tmp_path / "yardsticks"
    made = {
        kind: prepare_yardstick(kind, DIGITS, STUDENT, teacher, recipe, cache, device=CPU)
        for kind in YARDSTICKS
    }
    assert made["real"].card.weights_sha256 != made["kd"].card.weights_sha256
    for yardstick in made.values():
        card = yardstick.card
        assert (card.architecture, card.width) == (STUDENT.architecture, STUDENT.width)
        assert card.scores["test"].images == 359
        assert card.scores["test"].accuracy > 0.5
    again = prepare_yardstick("kd", DIGITS, STUDENT, teacher, recipe, cache, device=CPU)
    assert again.card.created == made["kd"].card.created, "found in the cache"


def test_a_weights_file_gets_the_training_of_the_benchmark(tmp_path: Path) -> None:
    config = TeacherConfig.model_validate(
        {"architecture": "convnet", "width": 0.25, "recipe": {"epochs": 1}}
    )
    trained = prepare_teacher(DIGITS, config, tmp_path, device=CPU)
    given = TeacherConfig(architecture="convnet", width=0.25, weights=trained.weights)
    teacher = prepare_teacher(DIGITS, given, tmp_path, device=CPU)
    assert yardstick_recipe(teacher, DIGITS) == DIGITS.teacher_recipe
