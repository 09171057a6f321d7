"""The audit set: images made from the teacher alone, on which trials are scored without data."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from dfkd_tune.classifiers import file_sha256
from dfkd_tune.distillation import InversionConfig, invert
from dfkd_tune.errors import RunFolderError
from dfkd_tune.evaluation import class_entropy, predict_logits
from dfkd_tune.inputs import InputSpecification
from dfkd_tune.records import (
    AuditCard,
    copy_file_atomically,
    now,
    read_record,
    write_bytes_atomically,
    write_record,
)

AUDIT_VERSION = 1

# Of one inversion each: the weight of the BatchNorm term against that of the label. Different
# weights make different images, so that no single taste decides.
BN_WEIGHTS = (0.3, 1.0, 3.0)


class AuditConfig(BaseModel):
    """How large the audit set is, and how long it is optimised."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: int = Field(default=600, ge=6, description="of all inversions together")
    steps: int = Field(default=200, ge=1, description="of each inversion")
    batch_size: int = Field(default=200, ge=2, description="images optimised together")
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True, kw_only=True)
class Audit:
    """A ready audit set on disk.

    Args:
        card: how it was made.
        images: its safetensors file.
    """

    card: AuditCard
    images: Path


def inversions(config: AuditConfig, inputs: InputSpecification) -> tuple[InversionConfig, ...]:
    """The inversions that an audit set is made of."""
    each = max(2, config.images // len(BN_WEIGHTS))
    settings = []
    for index, weight in enumerate(BN_WEIGHTS):
        left = each
        part = made = 0
        while left > 0:
            count = max(2, min(left, config.batch_size))
            settings.append(
                InversionConfig(
                    images=count,
                    steps=config.steps,
                    bn_statistics=weight,
                    jitter=min(inputs.height, inputs.width) // 16,
                    # So that every class has its turn, also where a batch holds but some.
                    first_label=(made + index * each) % inputs.num_classes,
                    seed=config.seed + 1000 * index + part,
                )
            )
            left -= count
            made += count
            part += 1
    return tuple(settings)


def prepare_audit(
    teacher: nn.Module,
    teacher_sha256: str,
    inputs: InputSpecification,
    config: AuditConfig,
    cache: Path,
    *,
    device: torch.device,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Audit:
    """Make the audit set of a teacher, or find it in the cache.

    Args:
        teacher: frozen, for evaluation.
        teacher_sha256: of its weights.
        inputs: of the teacher.
        config: size and seed.
        cache: folder of audit sets.
        device: where to compute.
        progress: told the optimisation steps done, and all.

    Raises:
        StorageError: if the cache cannot be written.
    """
    settings = inversions(config, inputs)
    described = f"{AUDIT_VERSION}|{teacher_sha256}|{inputs}|{settings}"
    folder = cache / hashlib.sha256(described.encode()).hexdigest()[:16]
    images_file, card_file = folder / "images.safetensors", folder / "card.json"
    try:
        card = read_record(card_file, AuditCard)
        if images_file.is_file() and file_sha256(images_file) == card.sha256:
            return Audit(card=card, images=images_file)
    except RunFolderError:
        pass
    began = time.perf_counter()
    teacher.to(device)
    parts: list[Tensor] = []
    labels: list[Tensor] = []
    total = sum(each.steps for each in settings)
    done = 0
    try:
        for each in settings:
            before = done
            made, preset = invert(
                teacher,
                inputs,
                each,
                device=device,
                progress=lambda step, _steps, before=before: progress(before + step, total),  # type: ignore[misc]
            )
            done += each.steps
            parts.append(made)
            labels.append(preset)
        images, preset = torch.cat(parts), torch.cat(labels)
        logits = predict_logits(teacher, images)
    finally:
        teacher.to("cpu")
    content = save({"images": images.contiguous(), "labels": preset})
    card = AuditCard(
        images=len(images),
        sha256=hashlib.sha256(content).hexdigest(),
        teacher_sha256=teacher_sha256,
        inversions=[each.model_dump(mode="json") for each in settings],
        teacher_accuracy=(logits.argmax(1) == preset).double().mean().item(),
        class_entropy=class_entropy(logits),
        seconds=time.perf_counter() - began,
        created=now(),
    )
    write_bytes_atomically(images_file, content)
    write_record(card_file, card)
    return Audit(card=card, images=images_file)


def copy_audit(audit: Audit, card_file: Path, images_file: Path) -> None:
    """Put an audit set into a run folder, which then stands on its own."""
    copy_file_atomically(audit.images, images_file)
    write_record(card_file, audit.card)


def load_audit(images_file: Path) -> Tensor:
    """Read an audit set's images: `(N, C, H, W)`, normalised.

    Raises:
        RunFolderError: if the file is missing or damaged.
    """
    try:
        return load_file(images_file)["images"]
    except (OSError, KeyError, SafetensorError) as error:
        raise RunFolderError(
            f"{images_file} is missing or damaged; remove it and run the command again"
        ) from error
