"""Accuracy, relative accuracy, and how closely a student follows its teacher."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfkd_tune.classifiers import arranged_for_wide, evaluation_mode, to_input
from dfkd_tune.inputs import InputSpecification
from dfkd_tune.records import HeldOutAgreement, SplitScore, TestOutcome


def predict_logits(network: nn.Module, images: Tensor, *, batch_size: int | None = None) -> Tensor:
    """Run a classifier in evaluation mode, leaving its mode as it was.

    Args:
        network: classifier.
        images: `(N, C, H, W)`, normalised; moved to the network's device batch by batch.
        batch_size: images at a time; by their size where None.

    Returns:
        Logits `(N, K)`, float32, on the CPU.
    """
    return _predict(network, images, batch_size, lambda part: part)


def predict_stored(
    network: nn.Module,
    images: Tensor,
    inputs: InputSpecification,
    *,
    batch_size: int | None = None,
) -> Tensor:
    """Run a classifier on images as they are stored, in evaluation mode.

    Args:
        network: classifier.
        images: `(N, C, H, W)`, uint8, at least as large as the input: its centre is taken.
        inputs: of the classifier.
        batch_size: images at a time; by their size where None.

    Returns:
        Logits `(N, K)`, float32, on the CPU.
    """
    return _predict(network, images, batch_size, lambda part: to_input(part, inputs))


def _predict(
    network: nn.Module,
    images: Tensor,
    batch_size: int | None,
    prepare: Callable[[Tensor], Tensor],
) -> Tensor:
    device = next(network.parameters()).device
    size = batch_size or usual_batch(images, device)
    with evaluation_mode(network), arranged_for_wide(network), torch.no_grad():
        parts = [network(prepare(part.to(device))).float() for part in torch.split(images, size)]
    # Fetched once: a GPU is not waited for in between.
    return torch.cat(parts).cpu()


def usual_batch(images: Tensor, device: torch.device) -> int:
    """How many images `(N, C, H, W)` to classify at a time on a device."""
    positions = images.shape[2] * images.shape[3]
    if device.type == "cpu":
        # What a CPU's caches no longer hold makes it slower: measured in docs/performance.md.
        return max(8, min(64, 2**18 // positions))
    # About 4 million positions, so that 224 pixels fit into memory too.
    return max(16, min(1024, 2**22 // positions))


def split_score(logits: Tensor, labels: Tensor) -> SplitScore:
    """Count right answers.

    Args:
        logits: `(N, K)`.
        labels: `(N,)`.
    """
    correct = int((logits.argmax(1) == labels).sum())
    return SplitScore(accuracy=correct / len(labels), correct=correct, images=len(labels))


def fidelity_scores(student: Tensor, teacher: Tensor) -> dict[str, float]:
    """Score how closely a student follows its teacher; no label is needed.

    Args:
        student: logits `(N, K)`.
        teacher: logits `(N, K)` on the same images.

    Returns:
        agreement: fraction of images on which both choose one class; kl: mean
        KL(teacher || student) in nats.
    """
    kl = functional.kl_div(
        student.double().log_softmax(1),
        teacher.double().log_softmax(1),
        log_target=True,
        reduction="batchmean",
    )
    return {
        "agreement": (student.argmax(1) == teacher.argmax(1)).double().mean().item(),
        "kl": kl.item(),
    }


def student_scores(student: Tensor, teacher: Tensor, labels: Tensor) -> dict[str, float]:
    """Score a student against labels and against its teacher.

    Args:
        student: logits `(N, K)`.
        teacher: logits `(N, K)` on the same images.
        labels: `(N,)`.

    Returns:
        accuracy, and what `fidelity_scores` gives.
    """
    return {
        "accuracy": split_score(student, labels).accuracy,
        **fidelity_scores(student, teacher),
    }


def class_entropy(logits: Tensor) -> float:
    """Entropy of a classifier's mean prediction, in nats: log K where it sees all classes equally.

    Args:
        logits: `(N, K)`.
    """
    mean = logits.double().softmax(1).mean(0)
    return -(mean * mean.clamp_min(1e-30).log()).sum().item()


def held_out_agreement(student: Tensor, teacher: Tensor) -> HeldOutAgreement:
    """Count on how many images student and teacher choose one class.

    Args:
        student: logits `(N, K)`.
        teacher: logits `(N, K)` on the same images.
    """
    same = int((student.argmax(1) == teacher.argmax(1)).sum())
    return HeldOutAgreement(images=len(student), same=same)


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
