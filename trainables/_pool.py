"""Scores a sweep's students on one another's synthetic images, after the search."""

import time
from collections.abc import Callable, Sequence

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from dfkd_tune.classifiers import file_sha256
from dfkd_tune.distillation import DistillationConfig
from dfkd_tune.evaluation import class_entropy, fidelity_scores, predict_logits
from dfkd_tune.inputs import InputSpecification
from dfkd_tune.records import PoolRecord, TrialFolder, now, write_bytes_atomically
from trainables._teachers import load_network

# Of all trials together: enough to tell students apart by a point, in some seconds of a CPU.
MOST_IMAGES = 4096


def save_kept(folder: TrialFolder, images: Tensor) -> None:
    """Keep a trial's sample of its own synthetic images: `(N, C, H, W)`, normalised."""
    content = save({"images": images.detach().to("cpu", torch.float16).contiguous()})
    write_bytes_atomically(folder.kept_images, content)


def load_kept(folder: TrialFolder, most: int) -> Tensor | None:
    """A trial's own images, evenly over its time; None where they cannot be read.

    Args:
        folder: the trial.
        most: images.

    Returns:
        `(N, C, H, W)`, normalised, float32, on the CPU.
    """
    try:
        images = load_file(folder.kept_images)["images"]
    except (OSError, KeyError, SafetensorError):
        return None
    chosen = torch.linspace(0, len(images) - 1, min(most, len(images))).round().long()
    return images[chosen].float()


def score_on_pool(
    folders: Sequence[TrialFolder],
    teacher: nn.Module,
    inputs: InputSpecification,
    *,
    device: torch.device,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> PoolRecord:
    """Score every student on every trial's own synthetic images.

    Args:
        folders: complete trials; those whose images cannot be read are left out.
        teacher: frozen, for evaluation; on the CPU again afterwards.
        inputs: of teacher and students.
        device: where to compute.
        progress: told the students done, and all.
    """
    began = time.perf_counter()
    most = max(1, MOST_IMAGES // max(1, len(folders)))
    read = [(folder, load_kept(folder, most)) for folder in folders]
    kept = {folder: images for folder, images in read if images is not None}
    parts = list(kept.values())
    expected = _answers(teacher, parts, device)
    teacher.to("cpu")
    answers: list[list[Tensor]] = []
    for folder in kept:
        config = DistillationConfig.model_validate(folder.trial().configuration)
        student = load_network(config.student, inputs, folder.student_weights)
        answers.append(_answers(student, parts, device))
        progress(len(answers), len(kept))
    fidelity = [
        [fidelity_scores(own, wanted) for own, wanted in zip(row, expected, strict=True)]
        for row in answers
    ]
    return PoolRecord(
        trials=tuple(folder.name for folder in kept),
        students=tuple(file_sha256(folder.student_weights) for folder in kept),
        images=tuple(len(part) for part in parts),
        class_entropy=tuple(class_entropy(logits) for logits in expected),
        agreement=tuple(tuple(cell["agreement"] for cell in row) for row in fidelity),
        kl=tuple(tuple(cell["kl"] for cell in row) for row in fidelity),
        ensemble=_ensemble_agreement(answers),
        seconds=time.perf_counter() - began,
        time=now(),
    )


def _answers(network: nn.Module, parts: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    network.to(device)
    return [predict_logits(network, part) for part in parts]


def _ensemble_agreement(answers: Sequence[Sequence[Tensor]]) -> tuple[tuple[float, ...], ...]:
    """Of each student with the mean prediction of all others, by trial whose images they are."""
    beliefs = [[logits.softmax(1) for logits in row] for row in answers]
    sums = [torch.stack(column).sum(0) for column in zip(*beliefs, strict=True)]
    return tuple(
        tuple(
            (own.argmax(1) == (total - own).argmax(1)).double().mean().item()
            for own, total in zip(row, sums, strict=True)
        )
        for row in beliefs
    )
