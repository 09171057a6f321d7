"""Teachers: trained by the project's own command, or from a weights file. Real images end here."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from dfkd_tune import __version__
from dfkd_tune.benchmarks import Benchmark, Split
from dfkd_tune.classifiers import (
    NetworkConfig,
    TrainingRecipe,
    build_classifier,
    file_sha256,
    load_weights,
    network_size,
    save_weights,
    train_classifier,
)
from dfkd_tune.errors import RunFolderError, StorageError, TeacherError
from dfkd_tune.evaluation import predict_logits, split_score
from dfkd_tune.records import SplitScore, TeacherCard, now, read_record, write_record


class TeacherConfig(BaseModel):
    """The `teacher` of an experiment: a network, and either a weights file or a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str | None = Field(default=None, description="the benchmark's own by default")
    width: float | None = Field(default=None, gt=0)
    weights: Path | None = Field(default=None, description=".safetensors, .pt or .pth state dict")
    recipe: TrainingRecipe | None = Field(
        default=None, description="what differs from the benchmark's"
    )


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A ready teacher on disk.

    Args:
        card: what it is and how good on train and validation; never on test.
        weights: its safetensors file.
    """

    card: TeacherCard
    weights: Path


def teacher_network_config(benchmark: Benchmark, config: TeacherConfig) -> NetworkConfig:
    """The teacher's architecture and width, with the benchmark's as defaults."""
    return NetworkConfig(
        architecture=config.architecture or benchmark.teacher.architecture,
        width=config.width or benchmark.teacher.width,
    )


def teacher_recipe(benchmark: Benchmark, config: TeacherConfig) -> TrainingRecipe:
    """The teacher's training: the benchmark's own, with what the experiment gives in its place."""
    if config.recipe is None:
        return benchmark.teacher_recipe
    changes = {name: getattr(config.recipe, name) for name in config.recipe.model_fields_set}
    return benchmark.teacher_recipe.model_copy(update=changes)


def teacher_hash(benchmark: Benchmark, config: TeacherConfig) -> str:
    """Hash of all that decides a teacher: data, network, and recipe or weights file.

    Raises:
        TeacherError: if there is no such weights file.
    """
    decides: dict[str, Any] = {
        "benchmark": benchmark.name,
        "data": benchmark.load("train").sha256(),
        "network": teacher_network_config(benchmark, config).model_dump(mode="json"),
    }
    if config.weights is None:
        decides["recipe"] = teacher_recipe(benchmark, config).model_dump(mode="json")
    else:
        if not config.weights.is_file():
            raise TeacherError(f"weights file {config.weights} does not exist; check the path")
        decides["weights"] = file_sha256(config.weights)
    text = json.dumps(decides, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_teacher(benchmark: Benchmark, config: TeacherConfig) -> None:
    """Check that a teacher's weights file can be read and fits; writes nothing.

    Raises:
        TeacherError: if not.
    """
    if config.weights is not None:
        load_network(teacher_network_config(benchmark, config), benchmark, config.weights)


def score_teacher(network: nn.Module, benchmark: Benchmark, split: Split) -> SplitScore:
    """Accuracy of a teacher on one split of its benchmark."""
    data = benchmark.load(split)
    return split_score(predict_logits(network, data.normalised(benchmark.inputs)), data.labels)


def prepare_teacher(
    benchmark: Benchmark,
    config: TeacherConfig,
    cache: Path,
    *,
    device: torch.device,
    progress: Callable[[int, int, float], None] = lambda _epoch, _epochs, _loss: None,
) -> Teacher:
    """Load, find in the cache, or train a teacher.

    Args:
        benchmark: its data.
        config: network, and a weights file or a recipe.
        cache: folder of trained teachers, by the hash of what decides them.
        device: where to train.
        progress: called after each epoch with its number, the number of epochs, the mean loss.

    Raises:
        TeacherError: if the weights file cannot be used.
        StorageError: if the cache cannot be written.
    """
    network_config = teacher_network_config(benchmark, config)
    recipe = teacher_recipe(benchmark, config)
    if config.weights is not None:
        network = build_classifier(network_config, benchmark.inputs, seed=0)
        load_weights(network, config.weights)
    recipe_hash = teacher_hash(benchmark, config)
    folder = cache / f"{benchmark.name}-{network_config.architecture}-{recipe_hash}"
    cached = _cached(folder)
    if cached is not None:
        return cached
    began = time.perf_counter()
    if config.weights is None:
        network = build_classifier(network_config, benchmark.inputs, seed=recipe.seed)
        train = benchmark.load("train")
        train_classifier(
            network,
            train.normalised(benchmark.inputs),
            train.labels,
            recipe,
            device=device,
            progress=lambda epoch, loss: progress(epoch, recipe.epochs, loss),
        )
    network.to("cpu").eval().requires_grad_(False)
    weights_sha256 = save_weights(folder / "weights.safetensors", network)
    card = TeacherCard(
        benchmark=benchmark.name,
        architecture=network_config.architecture,
        width=network_config.width,
        parameters=network_size(network, benchmark.inputs).parameters,
        source="trained" if config.weights is None else "file",
        origin="dfkd-tune teacher train" if config.weights is None else str(config.weights),
        recipe=recipe.model_dump(mode="json") if config.weights is None else {},
        recipe_hash=recipe_hash,
        weights_sha256=weights_sha256,
        data_hash=benchmark.load("train").sha256(),
        scores={
            split: score_teacher(network, benchmark, split) for split in ("train", "validation")
        },
        seconds=time.perf_counter() - began,
        versions={"dfkd-tune": __version__, "torch": torch.__version__},
        created=now(),
    )
    write_record(folder / "card.json", card)
    return Teacher(card=card, weights=folder / "weights.safetensors")


def _cached(folder: Path) -> Teacher | None:
    weights = folder / "weights.safetensors"
    try:
        card = read_record(folder / "card.json", TeacherCard)
    except RunFolderError:
        return None
    if not weights.is_file() or file_sha256(weights) != card.weights_sha256:
        return None
    return Teacher(card=card, weights=weights)


def load_network(config: NetworkConfig, benchmark: Benchmark, weights: Path) -> nn.Module:
    """Build a network for a benchmark's input and load its weights, frozen, for evaluation."""
    network = build_classifier(config, benchmark.inputs, seed=0)
    load_weights(network, weights)
    return network.eval().requires_grad_(False)


def copy_teacher(teacher: Teacher, card_file: Path, weights_file: Path) -> None:
    """Put a teacher's card and weights into a run folder, which then stands on its own."""
    try:
        weights_file.parent.mkdir(parents=True, exist_ok=True)
        partial = weights_file.with_suffix(".partial")
        shutil.copyfile(teacher.weights, partial)
        partial.replace(weights_file)
    except OSError as error:
        raise StorageError(
            f"cannot write {weights_file}: {error.strerror or error}; "
            f"free space or choose another storage"
        ) from error
    write_record(card_file, teacher.card)
