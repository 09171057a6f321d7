"""Accuracy, relative accuracy, and how closely a student follows its teacher."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfkd_tune.classifiers import evaluation_mode
from dfkd_tune.records import SplitScore, TestOutcome


def predict_logits(network: nn.Module, images: Tensor, *, batch_size: int = 1024) -> Tensor:
    """Run a classifier in evaluation mode, leaving its mode as it was.

    Args:
        network: classifier.
        images: `(N, C, H, W)`, normalised; moved to the network's device batch by batch.
        batch_size: images at a time.

    Returns:
        Logits `(N, K)`, float32, on the CPU.
    """
    device = next(network.parameters()).device
    with evaluation_mode(network), torch.no_grad():
        parts = [network(part.to(device)).float().cpu() for part in torch.split(images, batch_size)]
    return torch.cat(parts)


def split_score(logits: Tensor, labels: Tensor) -> SplitScore:
    """Count right answers.

    Args:
        logits: `(N, K)`.
        labels: `(N,)`.
    """
    correct = int((logits.argmax(1) == labels).sum())
    return SplitScore(accuracy=correct / len(labels), correct=correct, images=len(labels))


def student_scores(student: Tensor, teacher: Tensor, labels: Tensor) -> dict[str, float]:
    """Score a student against labels and against its teacher.

    Args:
        student: logits `(N, K)`.
        teacher: logits `(N, K)` on the same images.
        labels: `(N,)`.

    Returns:
        accuracy; agreement: fraction of images on which both choose one class; kl: mean
        KL(teacher || student) in nats.
    """
    kl = functional.kl_div(
        student.double().log_softmax(1),
        teacher.double().log_softmax(1),
        log_target=True,
        reduction="batchmean",
    )
    return {
        "accuracy": split_score(student, labels).accuracy,
        "agreement": (student.argmax(1) == teacher.argmax(1)).double().mean().item(),
        "kl": kl.item(),
    }


def paired_outcome(student: Tensor, teacher: Tensor, labels: Tensor) -> TestOutcome:
    """Compare student and teacher image by image.

    Args:
        student: logits `(N, K)`.
        teacher: logits `(N, K)` on the same images.
        labels: `(N,)`.
    """
    s, t = student.argmax(1) == labels, teacher.argmax(1) == labels
    return TestOutcome(
        images=len(labels),
        both_correct=int((s & t).sum()),
        student_only=int((s & ~t).sum()),
        teacher_only=int((~s & t).sum()),
        neither=int((~s & ~t).sum()),
    )


def relative_accuracy(student: float, teacher: float) -> float:
    """Relative accuracy in percent: 100 x student / teacher, accuracies on the same images.

    Raises:
        ValueError: if the teacher's accuracy is 0.

    Source: CGDD (arXiv 2112.15358 v1) names the metric; the ratio to the teacher is inferred.
    """
    if teacher <= 0:
        raise ValueError("the teacher has no image right; relative accuracy is undefined")
    return 100 * student / teacher
