"""Benchmarks of a person's own: labelled images, unlabelled ones, or a declared input alone."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dfkd_tune.benchmarks._assembly import (
    UNLABELLED_FRACTIONS,
    UNLABELLED_SALT,
    carved,
    conversion_note,
    decoder,
    with_labels,
)
from dfkd_tune.benchmarks._benchmark import Benchmark, DataKind, Split
from dfkd_tune.benchmarks._config import BenchmarkConfig
from dfkd_tune.benchmarks._decoding import Progress, decoded_parts
from dfkd_tune.benchmarks._readers import (
    read_image_folder,
    read_npz,
    read_unlabelled_folder,
    read_unlabelled_npz,
)
from dfkd_tune.benchmarks._sources import ImageArray, Source, check_listing
from dfkd_tune.benchmarks._splits import split_by_hash
from dfkd_tune.classifiers import NetworkConfig, TrainingRecipe
from dfkd_tune.errors import UsageError
from dfkd_tune.inputs import InputSpecification

OWN_RECIPE = TrainingRecipe(
    epochs=60,
    batch_size=64,
    learning_rate=0.1,
    crop_padding=4,
    flip=True,
    precision="auto",
    channels_last=True,
)


def open_labelled(config: BenchmarkConfig, path: Path) -> Benchmark:
    """Labelled images: a normalisation that is not declared is measured on the train split.

    Args:
        config: with absolute paths.
        path: of its labelled images, a tree of folders or an `.npz`.

    Raises:
        UsageError: if the input that is declared does not suit the data, or must be declared.
        DataError: if the data are missing or not what they should be.
    """
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
    inputs = InputSpecification(
        channels=channels,
        height=sides[0],
        width=sides[1],
        mean=given.mean or (0.0,) * channels,
        std=given.std or (1.0,) * channels,
        num_classes=classes,
    )
    if not declared:
        train = carved(listing, config)["train"]
        mean, std = channel_statistics(decoded_parts(train, channels, *sides, config.resize))
        inputs = replace(inputs, mean=mean, std=std)
    return with_labels(
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


def open_declared(config: BenchmarkConfig) -> Benchmark:
    """Unlabelled images only, or none at all: the input must be declared.

    Args:
        config: with absolute paths.

    Raises:
        UsageError: if something is not declared, or contradicts itself.
        DataError: if the images are missing or cannot be read.
    """
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
        pixels = decoder(parts, inputs.shape, config)
        notes = conversion_note([source], inputs.channels)
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


def channel_statistics(
    parts: Iterable[np.ndarray],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, of pixels in [0, 1], to four digits.

    Args:
        parts: `(n, C, H, W)`, uint8, of all images; at least one.
    """
    count = 0
    total = squares = np.zeros(1)
    for part in parts:
        values = torch.from_numpy(part).double() / 255
        count += part[:, 0].size
        total = total + values.sum(dim=(0, 2, 3)).numpy()
        squares = squares + values.square().sum(dim=(0, 2, 3)).numpy()
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
