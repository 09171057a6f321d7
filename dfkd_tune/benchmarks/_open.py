"""From a benchmark's configuration to a benchmark that is ready to use."""

import os
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dfkd_tune.benchmarks._benchmark import Benchmark, DataKind, Split
from dfkd_tune.benchmarks._config import BenchmarkConfig
from dfkd_tune.benchmarks._decoding import Progress, decode, modes
from dfkd_tune.benchmarks._definitions import BenchmarkDefinition
from dfkd_tune.benchmarks._download import DOWNLOADS
from dfkd_tune.benchmarks._readers import (
    check_folder,
    is_image_folder,
    read_image_folder,
    read_npz,
    read_unlabelled_folder,
    read_unlabelled_npz,
)
from dfkd_tune.benchmarks._reasons import reason_of
from dfkd_tune.benchmarks._registry import BENCHMARKS
from dfkd_tune.benchmarks._sources import ImageArray, Listing, Source, check_listing
from dfkd_tune.benchmarks._splits import split_by_hash
from dfkd_tune.classifiers import NetworkConfig, TrainingRecipe
from dfkd_tune.errors import DataError, UsageError, unknown_name
from dfkd_tune.inputs import InputSpecification

DATA_VARIABLE = "DFKD_TUNE_DATA"
VALIDATION_SALT = "dfkd-tune/validation/1"
UNLABELLED_SALT = "dfkd-tune/unlabelled/1"
UNLABELLED_FRACTIONS = {"validation": 0.5, "test": 0.5}
_SPLITS: tuple[Split, ...] = ("train", "validation", "test")

OWN_RECIPE = TrainingRecipe(
    epochs=60,
    batch_size=64,
    learning_rate=0.1,
    crop_padding=4,
    flip=True,
    precision="auto",
    channels_last=True,
)


def get_benchmark(name: str) -> Benchmark:
    """Open a benchmark by name, with all its defaults.

    Raises:
        UnknownNameError: if there is none of that name.
        DataError: if its data are not where they are looked for.
    """
    if name not in BENCHMARKS:
        raise unknown_name("benchmark", name, BENCHMARKS)
    return open_benchmark(BenchmarkConfig(name=name))


@cache
def open_benchmark(config: BenchmarkConfig) -> Benchmark:
    """Open a benchmark: read its listing, check it, and settle what its input looks like.

    No image file is decoded, and nothing is written, but for a person's own labelled images whose
    normalisation is not declared: it is measured on the train split.

    Args:
        config: a name of ours, or a person's own data.

    Raises:
        UnknownNameError: if the name is none of ours and no data are given.
        UsageError: if the input that is declared does not suit the data, or must be declared.
        DataError: if the data are missing or not what they should be.
    """
    try:
        return _opened(config.absolute())
    except OSError as error:
        raise DataError(
            f"cannot read {error.filename or 'the data'} ({reason_of(error)}); check its rights"
        ) from error


def _opened(config: BenchmarkConfig) -> Benchmark:
    if config.name in BENCHMARKS:
        for key in ("labelled", "unlabelled"):
            if getattr(config, key) is not None:
                raise UsageError(
                    f"benchmark.{key} is given, and '{config.name}' is a benchmark of ours; give "
                    f"benchmark.root for its folder, or another benchmark.name"
                )
        return _open_ours(BENCHMARKS[config.name], config)
    if config.root is not None:
        raise unknown_name("benchmark", config.name, BENCHMARKS)
    if config.labelled is not None:
        return _open_labelled(config, config.labelled)
    if config.unlabelled is None and config.input == type(config.input)():
        raise unknown_name("benchmark", config.name, BENCHMARKS)
    return _open_declared(config)


def data_folder(config: BenchmarkConfig) -> Path:
    """Where the images of a benchmark of ours are looked for."""
    if config.root is not None:
        return config.root
    given = os.environ.get(DATA_VARIABLE)
    return (Path(given) if given else Path("data")).absolute() / config.name


# ------------------------------------------------------------------ ours


def _open_ours(definition: BenchmarkDefinition, config: BenchmarkConfig) -> Benchmark:
    given = config.input
    if given.classes not in (None, definition.num_classes):
        raise UsageError(
            f"benchmark.input.classes is {given.classes}, and '{definition.name}' has "
            f"{definition.num_classes} classes; take it out"
        )
    if given.class_names is not None:
        raise UsageError(
            f"benchmark.input.class_names are given, and '{definition.name}' has its own; take "
            f"them out"
        )
    listing = _listing_of_ours(definition, config)
    if len(listing.class_names) != definition.num_classes:
        raise DataError(
            f"{listing.origin} has {len(listing.class_names)} classes, and '{definition.name}' has "
            f"{definition.num_classes}; give a part of it as benchmark.labelled with a name of "
            f"its own"
        )
    height, width = given.sides or (definition.size, definition.size)
    inputs = InputSpecification(
        channels=given.channels or definition.channels,
        height=height,
        width=width,
        mean=given.mean or definition.mean,
        std=given.std or definition.std,
        num_classes=definition.num_classes,
    )
    # Crops are taken with the same margin at any size.
    margin = (definition.stored_size or definition.size) / definition.size
    return _with_labels(
        config,
        listing,
        inputs,
        stored=(round(height * margin), round(width * margin)),
        title=definition.title,
        teacher=definition.teacher,
        student=definition.student,
        recipe=definition.teacher_recipe,
        source=definition.source,
        declared=True,
    )


def _listing_of_ours(definition: BenchmarkDefinition, config: BenchmarkConfig) -> Listing:
    if definition.read_installed is not None:
        if config.root is not None:
            raise UsageError(
                f"benchmark.root is given, and '{definition.name}' needs no folder; take it out"
            )
        return definition.read_installed()
    root = data_folder(config)
    if not root.exists():
        live = definition.name in DOWNLOADS
        download = ", or fetch them with --download" if live else ""
        raise DataError(
            f"the images of '{definition.name}' are not in {root}; put them there "
            f"({definition.layout}), give benchmark.root{download}"
        )
    check_folder(root)
    if is_image_folder(root):
        return read_image_folder(root)
    if definition.read is None:
        raise DataError(f"'{definition.name}' has no reader of folders")
    return definition.read(root)


# ------------------------------------------------------------------ a person's own


def _open_labelled(config: BenchmarkConfig, path: Path) -> Benchmark:
    given = config.input
    if path.suffix.lower() == ".npz":
        listing = read_npz(path, given.class_names)
        first = listing.splits["train"]
        assert isinstance(first, ImageArray)
        channels = given.channels or int(first.images.shape[1])
        sides = given.sides or (int(first.images.shape[2]), int(first.images.shape[3]))
    else:
        listing = read_image_folder(path, given.class_names)
        channels = given.channels or 3
        if given.sides is None:
            raise UsageError(
                f"benchmark.input.size is missing: {path} holds image files, and their size does "
                f"not say what the classifier takes; give it, such as input: {{size: 64}}"
            )
        sides = given.sides
    classes = len(listing.class_names)
    if given.classes not in (None, classes):
        raise UsageError(
            f"benchmark.input.classes is {given.classes}, and {path} has {classes} classes; take "
            f"it out or mend the data"
        )
    if (given.mean is None) != (given.std is None):
        raise UsageError("benchmark.input needs mean and std together; give both or neither")
    check_listing(listing)
    declared = given.mean is not None
    neutral = InputSpecification(
        channels=channels,
        height=sides[0],
        width=sides[1],
        mean=given.mean or (0.0,) * channels,
        std=given.std or (1.0,) * channels,
        num_classes=classes,
    )
    inputs = neutral
    if not declared:
        train = _carved(listing, config)["train"]
        images = decode(train, channels, *sides, config.resize)
        mean, std = channel_statistics(images)
        inputs = InputSpecification(
            channels=channels,
            height=sides[0],
            width=sides[1],
            mean=mean,
            std=std,
            num_classes=classes,
        )
    return _with_labels(
        config,
        listing,
        inputs,
        stored=sides,
        title=f"{config.name}, {classes} classes from {path.name}",
        teacher=_usual_teacher(inputs),
        student=_usual_student(inputs),
        recipe=OWN_RECIPE,
        source=str(path),
        declared=declared,
    )


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, of pixels in [0, 1], to four digits.

    Args:
        images: `(N, C, H, W)`, uint8.
    """
    total = np.zeros(images.shape[1])
    squares = np.zeros(images.shape[1])
    for part in torch.split(images, 1024):
        values = part.double() / 255
        total += values.sum(dim=(0, 2, 3)).numpy()
        squares += values.square().sum(dim=(0, 2, 3)).numpy()
    count = images.numel() / images.shape[1]
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 1e-12))
    return (
        tuple(round(float(value), 4) for value in mean),
        tuple(max(round(float(value), 4), 1e-4) for value in std),
    )


def _usual_teacher(inputs: InputSpecification) -> NetworkConfig:
    smaller = min(inputs.height, inputs.width)
    if smaller < 24:
        return NetworkConfig(architecture="resnet14")
    return NetworkConfig(architecture="resnet18" if smaller < 96 else "resnet18_imagenet")


def _usual_student(inputs: InputSpecification) -> NetworkConfig:
    smaller = min(inputs.height, inputs.width)
    if smaller < 24:
        return NetworkConfig(architecture="resnet8")
    return NetworkConfig(
        architecture="resnet18" if smaller < 96 else "resnet18_imagenet", width=0.5
    )


def _open_declared(config: BenchmarkConfig) -> Benchmark:
    """Unlabelled images only, or none at all: the input must be declared."""
    given = config.input
    source: Source | None = None
    if config.unlabelled is not None:
        if config.unlabelled.suffix.lower() == ".npz":
            source = read_unlabelled_npz(config.unlabelled)
        else:
            source = read_unlabelled_folder(config.unlabelled)
    missing = [key for key in ("size", "mean", "std") if getattr(given, key) is None]
    if given.classes is None and given.class_names is None:
        missing.append("classes")
    if missing:
        raise UsageError(
            f"benchmark.input needs {', '.join(missing)}: without labelled data, only you know "
            f"what the teacher takes (size in pixels; mean and std per channel as it was trained)"
        )
    assert given.sides is not None
    assert given.mean is not None
    assert given.std is not None
    if given.channels is None and len(given.mean) not in (1, 3):
        raise UsageError(
            f"benchmark.input.mean has {len(given.mean)} values; give one per channel, 1 for grey "
            f"or 3 for colour"
        )
    classes = given.classes or len(given.class_names or ())
    names = given.class_names or tuple(str(label) for label in range(classes))
    if len(names) != classes:
        raise UsageError(
            f"benchmark.input has {len(names)} class_names for {classes} classes; mend one"
        )
    inputs = InputSpecification(
        channels=given.channels or len(given.mean),
        height=given.sides[0],
        width=given.sides[1],
        mean=given.mean,
        std=given.std,
        num_classes=classes,
    )
    kind: DataKind = "none" if source is None else "unlabelled"
    counts: dict[str, int] = {}
    pixels: Callable[[Split, Progress], Tensor] | None = None
    notes: tuple[str, ...] = ()
    if source is not None:
        split = split_by_hash(
            [0] * len(source), UNLABELLED_FRACTIONS, UNLABELLED_SALT, source.names()
        )
        parts = {name: source.chosen(indices) for name, indices in split.items()}
        counts = {name: len(part) for name, part in parts.items()}
        pixels = _decoder(parts, inputs.shape, config)
        notes = _conversion_note([source], inputs.channels)
    what = "no data" if source is None else f"{sum(counts.values())} unlabelled images"
    return Benchmark(
        name=config.name,
        title=f"{config.name}, {classes} classes, {what}",
        data=kind,
        inputs=inputs,
        class_names=names,
        counts=counts,
        teacher=_usual_teacher(inputs),
        student=_usual_student(inputs),
        teacher_recipe=OWN_RECIPE,
        source=str(config.unlabelled) if config.unlabelled else "none: the input is declared",
        config=config,
        notes=notes,
        pixels=pixels,
    )


# ------------------------------------------------------------------ both


def _carved(listing: Listing, config: BenchmarkConfig) -> dict[str, Source]:
    """The three splits; a missing validation split is carved from train by the hashed rule."""
    splits = dict(listing.splits)
    if "validation" in splits:
        return splits
    train = splits["train"]
    fraction = config.validation_fraction
    parts = split_by_hash(
        train.labels,
        {"train": 1 - fraction, "validation": fraction},
        VALIDATION_SALT,
        train.names(),
    )
    if not parts["validation"]:
        raise DataError(
            f"{listing.origin}: {len(train)} train images leave none for validation at "
            f"validation_fraction {fraction:g}; raise it or add a validation split"
        )
    left_out = sorted(set(train.labels) - {train.labels[index] for index in parts["train"]})
    if left_out:
        raise DataError(
            f"{listing.origin}: validation_fraction {fraction:g} takes all train images of class "
            f"{listing.class_names[left_out[0]]}; lower it or add a validation split"
        )
    return {
        "train": train.chosen(parts["train"]),
        "validation": train.chosen(parts["validation"]),
        "test": splits["test"],
    }


def _with_labels(
    config: BenchmarkConfig,
    listing: Listing,
    inputs: InputSpecification,
    *,
    stored: tuple[int, int],
    title: str,
    teacher: NetworkConfig,
    student: NetworkConfig,
    recipe: TrainingRecipe,
    source: str,
    declared: bool,
) -> Benchmark:
    check_listing(listing)
    splits = _carved(listing, config)
    return Benchmark(
        name=config.name,
        title=title,
        data="labelled",
        inputs=inputs,
        class_names=listing.class_names,
        counts={name: len(splits[name]) for name in _SPLITS},
        teacher=teacher,
        student=student,
        teacher_recipe=recipe,
        source=source,
        config=config,
        declared_normalisation=declared,
        notes=_conversion_note(splits.values(), inputs.channels),
        labels={
            name: torch.tensor(part.labels, dtype=torch.int64) for name, part in splits.items()
        },
        pixels=_decoder(splits, (inputs.channels, *stored), config),
    )


def _decoder(
    splits: dict[str, Source], shape: tuple[int, int, int], config: BenchmarkConfig
) -> Callable[[Split, Progress], Tensor]:
    return lambda split, progress: decode(splits[split], *shape, config.resize, progress)


def _conversion_note(sources: Iterable[Source], channels: int) -> tuple[str, ...]:
    """What is said once of images that are of another kind than the classifier takes."""
    wanted = "L" if channels == 1 else "RGB"
    others = sorted(frozenset().union(*(modes(source) for source in sources)) - {wanted})
    if not others:
        return ()
    what = "grey" if channels == 1 else "colour (RGB); what is transparent is laid on white"
    return (f"images of the kind {', '.join(others)} are converted to {what}",)
