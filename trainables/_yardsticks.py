"""Yardsticks: what the student reaches with the real images, alone and taught by the teacher.

They give the second and third ratio of relative accuracy. Real images are used here, so nothing of
this is ever seen by a search.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from dfkd_tune.benchmarks import Benchmark
from dfkd_tune.classifiers import Loss, NetworkConfig, TrainingProgress, TrainingRecipe
from trainables._teachers import (
    Lesson,
    Teacher,
    TeacherConfig,
    add_test_score,
    card_network,
    load_network,
    prepare_teacher,
)

Yardstick = Literal["real", "kd"]
YARDSTICKS: dict[Yardstick, str] = {
    "real": "the student trained on real images and labels",
    "kd": "the student trained on real images by the teacher and labels",
}

KD_WEIGHT, KD_TEMPERATURE = 0.9, 4.0
"""Of ordinary distillation, as Zagoruyko and Komodakis (ICLR 2017) give them for it."""


def distillation_loss(
    logits: Tensor, teacher_logits: Tensor, labels: Tensor, weight: float, temperature: float
) -> Tensor:
    """Ordinary knowledge distillation (Hinton et al. 2015).

    Args:
        logits: of the student, `(N, K)`.
        teacher_logits: `(N, K)`.
        labels: `(N,)`.
        weight: of the teacher's part; the labels have the rest.
        temperature: of the teacher's part, which is scaled by its square.
    """
    soft = functional.kl_div(
        (logits / temperature).log_softmax(1),
        (teacher_logits / temperature).log_softmax(1),
        log_target=True,
        reduction="batchmean",
    )
    hard = functional.cross_entropy(logits, labels)
    return weight * temperature**2 * soft + (1 - weight) * hard


def kd_lesson(teacher: Teacher, benchmark: Benchmark) -> Lesson:
    """The lesson of a teacher on real images."""

    def make(device: torch.device) -> Loss:
        network = load_network(card_network(teacher.card), benchmark.inputs, teacher.weights)
        network.to(device)

        def loss(x: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
            with torch.no_grad():
                answers = network(x)
            return distillation_loss(logits, answers, labels, KD_WEIGHT, KD_TEMPERATURE)

        return loss

    decides = {
        "teacher": teacher.card.weights_sha256,
        "weight": KD_WEIGHT,
        "temperature": KD_TEMPERATURE,
    }
    return Lesson(decides=decides, loss=make)


def yardstick_recipe(teacher: Teacher, benchmark: Benchmark) -> TrainingRecipe:
    """How yardsticks are trained: as the teacher was; as the benchmark's own, for a weights file.

    Weights that the teacher began from are those of another network.
    """
    if not teacher.card.recipe:
        return benchmark.teacher_recipe
    recipe = TrainingRecipe.model_validate(teacher.card.recipe)
    return recipe.model_copy(update={"initial_weights": None})


def prepare_yardstick(
    kind: Yardstick,
    benchmark: Benchmark,
    student: NetworkConfig,
    teacher: Teacher,
    recipe: TrainingRecipe,
    cache: Path,
    *,
    device: torch.device,
    progress: Callable[[TrainingProgress], None] = lambda _progress: None,
) -> Teacher:
    """Train a student on real images, or find it in the cache; ended early, it goes on.

    Args:
        kind: alone, or taught by the teacher.
        benchmark: labelled.
        student: its network.
        teacher: who teaches.
        recipe: of the training; the teacher's own by habit.
        cache: folder of such networks, by the hash of what decides them.
        device: where to train.
        progress: called after each epoch.

    Returns:
        The trained student, with its score on the test split.

    Raises:
        DataError: if the benchmark has no labelled images.
    """
    config = TeacherConfig(
        architecture=student.architecture,
        width=student.width,
        arguments=student.arguments,
        recipe=recipe,
    )
    lesson = kd_lesson(teacher, benchmark) if kind == "kd" else None
    made = prepare_teacher(
        benchmark, config, cache, device=device, lesson=lesson, progress=progress
    )
    return add_test_score(made, benchmark, device)
