"""Teachers: trained by the project's own command, or from a weights file. Real images end here."""

import fcntl
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from dfkd_tune import __version__
from dfkd_tune.benchmarks import Benchmark, Split
from dfkd_tune.checkpoints import CheckpointStore
from dfkd_tune.classifiers import (
    Argument,
    Loss,
    NetworkConfig,
    TrainingProgress,
    TrainingRecipe,
    build_classifier,
    check_output,
    file_sha256,
    lay_out,
    load_initial_weights,
    load_weights,
    network_size,
    save_weights,
    train_classifier,
    used_precision,
)
from dfkd_tune.errors import RunFolderError, StorageError, TeacherError
from dfkd_tune.evaluation import predict_stored, split_score
from dfkd_tune.inputs import InputSpecification
from dfkd_tune.records import (
    SplitScore,
    TeacherCard,
    copy_file_atomically,
    now,
    read_record,
    write_record,
)
from trainables._machine import processor_name

CHECKPOINT_SECONDS = 30.0
"""Wall time of training that a killed process may lose, beyond the epoch it was in."""


class TeacherConfig(BaseModel):
    """The `teacher` of an experiment: a network, and either a weights file or a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str | None = Field(
        default=None,
        description="the benchmark's own by default; a name of ours, torchvision:NAME, "
        "timm:NAME, FILE.py:FACTORY or MODULE:FACTORY",
    )
    width: float | None = Field(default=None, gt=0)
    arguments: dict[str, Argument] = Field(default_factory=dict, description="of a factory")
    stages: tuple[str, ...] = Field(
        default=(), description="modules whose outputs are the stages; found by default"
    )
    weights: Path | None = Field(default=None, description=".safetensors, .pt or .pth state dict")
    recipe: TrainingRecipe | None = Field(
        default=None, description="what differs from the benchmark's"
    )


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """Another loss than cross entropy, for networks trained on real images.

    Args:
        decides: what of it decides the result; goes into the hash.
        loss: makes the loss on a device.
    """

    decides: Mapping[str, Any]
    loss: Callable[[torch.device], Loss]


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
    """The teacher's network, with the benchmark's as default."""
    usual = benchmark.teacher
    usual_width = usual.width if config.architecture is None else 1.0
    return NetworkConfig(
        architecture=_absolute(config.architecture or usual.architecture),
        width=config.width or usual_width,
        arguments=config.arguments,
        stages=config.stages,
    )


def _absolute(architecture: str) -> str:
    """The same network, with an absolute path where it is in a file of the user's own.

    A trial's process has another current folder.
    """
    file, _, factory = architecture.rpartition(":")
    if not file.endswith(".py"):
        return architecture
    return f"{Path(file).expanduser().absolute()}:{factory}"


def card_network(card: TeacherCard) -> NetworkConfig:
    """The network of a teacher's card."""
    return NetworkConfig(
        architecture=card.architecture,
        width=card.width,
        arguments=card.arguments,
        stages=card.stages,
    )


def teacher_recipe(benchmark: Benchmark, config: TeacherConfig) -> TrainingRecipe:
    """The teacher's training: the benchmark's own, with what the experiment gives in its place."""
    if config.recipe is None:
        return benchmark.teacher_recipe
    changes = {name: getattr(config.recipe, name) for name in config.recipe.model_fields_set}
    return benchmark.teacher_recipe.model_copy(update=changes)


def teacher_hash(benchmark: Benchmark, config: TeacherConfig, lesson: Lesson | None = None) -> str:
    """A short hash of everything that decides a teacher: network, input, data, weights or recipe.

    Raises:
        TeacherError: if the weights file does not exist.
    """
    network = teacher_network_config(benchmark, config)
    decides: dict[str, Any] = {
        "network": network.model_dump(mode="json"),
        "inputs": asdict(benchmark.inputs),
    }
    code = Path(network.architecture.rpartition(":")[0])
    if code.suffix == ".py" and code.is_file():
        decides["code"] = file_sha256(code)
    if config.weights is not None:
        if not config.weights.is_file():
            raise TeacherError(f"weights file {config.weights} does not exist; check the path")
        decides["weights"] = file_sha256(config.weights)
    else:
        recipe = teacher_recipe(benchmark, config)
        decides["recipe"] = recipe.model_dump(mode="json")
        decides["data"] = benchmark.load("train").sha256()
        if recipe.initial_weights is not None and recipe.initial_weights.is_file():
            decides["initial_weights"] = file_sha256(recipe.initial_weights)
    if lesson is not None:
        decides["lesson"] = dict(lesson.decides)
    text = json.dumps(decides, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_teacher(benchmark: Benchmark, config: TeacherConfig) -> None:
    """Check that a teacher can be had: its network built, its weights file read; writes nothing.

    Raises:
        TeacherError: if not.
    """
    network_config = teacher_network_config(benchmark, config)
    if config.weights is None:
        if benchmark.data != "labelled":
            raise TeacherError(
                f"benchmark '{benchmark.name}' has no labelled images to train a teacher on; give "
                f"teacher.weights, the file of a trained one"
            )
        network = build_classifier(network_config, benchmark.inputs, seed=0)
        check_output(network, benchmark.inputs)
        initial = teacher_recipe(benchmark, config).initial_weights
        if initial is not None:
            load_initial_weights(network, initial)
        return
    if not benchmark.declared_normalisation:
        raise TeacherError(
            "teacher.weights needs benchmark.input.mean and benchmark.input.std: the "
            "normalisation that the teacher was trained with"
        )
    load_network(network_config, benchmark.inputs, config.weights)


def score_teacher(network: nn.Module, benchmark: Benchmark, split: Split) -> SplitScore:
    """Accuracy of a teacher on one split of its benchmark."""
    data = benchmark.load(split)
    return split_score(predict_stored(network, data.images, benchmark.inputs), data.labels)


def prepare_teacher(
    benchmark: Benchmark,
    config: TeacherConfig,
    cache: Path,
    *,
    device: torch.device,
    lesson: Lesson | None = None,
    progress: Callable[[TrainingProgress], None] = lambda _progress: None,
) -> Teacher:
    """Load, find in the cache, or train a teacher; a training that was ended goes on.

    Args:
        benchmark: its data.
        config: network, and a weights file or a recipe.
        cache: folder of trained teachers, by the hash of what decides them.
        device: where to train.
        lesson: another loss than cross entropy.
        progress: called after each epoch.

    Raises:
        TeacherError: if the weights file cannot be used, or there is nothing to train on.
        StorageError: if the cache cannot be written.
    """
    check_teacher(benchmark, config)
    network_config = teacher_network_config(benchmark, config)
    recipe = teacher_recipe(benchmark, config)
    identity = teacher_hash(benchmark, config, lesson)
    folder = teacher_folder(benchmark, config, cache, lesson)
    with _alone(folder):
        # Another command may have made it while this one waited.
        cached = _cached(folder)
        if cached is not None:
            return cached
        loss = None if lesson is None else lesson.loss(device)
        return _make(
            benchmark, config, network_config, recipe, identity, folder, device, loss, progress
        )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a teacher's folder for this process: sweeps side by side train one teacher once.

    Raises:
        StorageError: if the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("a")
    except OSError as error:
        raise StorageError(f"cannot write {folder}: {error.strerror or error}") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(
    benchmark: Benchmark,
    config: TeacherConfig,
    network_config: NetworkConfig,
    recipe: TrainingRecipe,
    identity: str,
    folder: Path,
    device: torch.device,
    loss: Loss | None,
    progress: Callable[[TrainingProgress], None],
) -> Teacher:
    seconds = 0.0
    if config.weights is not None:
        network = load_network(network_config, benchmark.inputs, config.weights)
    else:
        network, seconds = _train(
            benchmark, network_config, recipe, folder, identity, device, loss, progress
        )
    network.to("cpu", memory_format=torch.contiguous_format).eval().requires_grad_(False)  # type: ignore[call-overload]
    weights_sha256 = save_weights(folder / "weights.safetensors", network)
    trained, labelled = config.weights is None, benchmark.data == "labelled"
    card = TeacherCard(
        benchmark=benchmark.name,
        architecture=network_config.architecture,
        width=network_config.width,
        arguments=network_config.arguments,
        stages=network_config.stages,
        inputs=asdict(benchmark.inputs),
        parameters=network_size(network, benchmark.inputs).parameters,
        source="trained" if trained else "file",
        origin="dfkd-tune teacher train" if trained else str(config.weights),
        recipe=recipe.model_dump(mode="json") if trained else {},
        precision=used_precision(recipe.precision, device) if trained else "float32",
        hardware={"device": processor_name(device), "threads": torch.get_num_threads()},
        recipe_hash=identity,
        weights_sha256=weights_sha256,
        data_hash=benchmark.load("train").sha256() if labelled else "",
        scores={
            split: score_teacher(network, benchmark, split) for split in ("train", "validation")
        }
        if labelled
        else {},
        seconds=seconds,
        versions={"dfkd-tune": __version__, "torch": torch.__version__},
        created=now(),
    )
    write_record(folder / "card.json", card)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return Teacher(card=card, weights=folder / "weights.safetensors")


def add_test_score(teacher: Teacher, benchmark: Benchmark, device: torch.device) -> Teacher:
    """Measure a trained teacher on the test split, and put that on its card; once.

    The search never does this: it is for the card of a teacher that a person trains.
    """
    if "test" in teacher.card.scores or benchmark.data != "labelled":
        return teacher
    network = load_network(card_network(teacher.card), benchmark.inputs, teacher.weights)
    score = score_teacher(network.to(device), benchmark, "test")
    card = teacher.card.model_copy(update={"scores": {**teacher.card.scores, "test": score}})
    write_record(teacher.weights.parent / "card.json", card)
    return Teacher(card=card, weights=teacher.weights)


def _train(
    benchmark: Benchmark,
    network_config: NetworkConfig,
    recipe: TrainingRecipe,
    folder: Path,
    identity: str,
    device: torch.device,
    loss: Loss | None,
    progress: Callable[[TrainingProgress], None],
) -> tuple[nn.Module, float]:
    """Train, going on from a checkpoint; gives the network and the seconds of all its starts."""
    network = build_classifier(network_config, benchmark.inputs, seed=recipe.seed)
    if recipe.initial_weights is not None:
        load_initial_weights(network, recipe.initial_weights)
    train = benchmark.load("train")
    store = CheckpointStore(folder / "checkpoints", identity)
    state = store.load_newest().state
    before = 0.0 if state is None else float(state.pop("seconds"))
    began = saved = time.perf_counter()

    def report(told: TrainingProgress) -> None:
        nonlocal saved
        if time.perf_counter() - saved > CHECKPOINT_SECONDS and told.epoch < told.epochs:
            spent = before + time.perf_counter() - began
            store.save(told.epoch, {**told.state(), "seconds": spent})
            saved = time.perf_counter()
        progress(told)

    train_classifier(
        network,
        train.images,
        train.labels,
        recipe,
        benchmark.inputs,
        device=device,
        loss=loss,
        report=report,
        restore=state,
    )
    return network, before + time.perf_counter() - began


def cached_teacher(benchmark: Benchmark, config: TeacherConfig, cache: Path) -> Teacher | None:
    """A teacher that the cache holds; None where it does not."""
    return _cached(teacher_folder(benchmark, config, cache))


def teacher_folder(
    benchmark: Benchmark, config: TeacherConfig, cache: Path, lesson: Lesson | None = None
) -> Path:
    """Where the cache keeps a teacher: by the hash of all that decides it."""
    architecture = teacher_network_config(benchmark, config).architecture
    # Of a file of the user's own: its name, without its folder.
    name = Path(architecture).name.replace(":", "_")
    return cache / f"{benchmark.name}-{name}-{teacher_hash(benchmark, config, lesson)}"


def _cached(folder: Path) -> Teacher | None:
    weights = folder / "weights.safetensors"
    try:
        card = read_record(folder / "card.json", TeacherCard)
    except RunFolderError:
        return None
    if not weights.is_file() or file_sha256(weights) != card.weights_sha256:
        return None
    return Teacher(card=card, weights=weights)


def load_network(config: NetworkConfig, inputs: InputSpecification, weights: Path) -> nn.Module:
    """Build a network and load its weights, frozen, for evaluation.

    Raises:
        TeacherError: if the weights cannot be read, or do not fit network and input.
    """
    network = build_classifier(config, inputs, seed=0)
    load_weights(network, weights)
    check_output(network, inputs)
    return lay_out(network).eval().requires_grad_(False)


def copy_teacher(teacher: Teacher, card_file: Path, weights_file: Path) -> None:
    """Put a teacher's card and weights into a run folder, which then stands on its own."""
    copy_file_atomically(teacher.weights, weights_file)
    write_record(card_file, teacher.card)
