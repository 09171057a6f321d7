"""From a benchmark's configuration to a benchmark that is ready to use."""

import os
from functools import cache
from pathlib import Path

from dfkd_tune.benchmarks._assembly import with_labels
from dfkd_tune.benchmarks._benchmark import Benchmark
from dfkd_tune.benchmarks._config import BenchmarkConfig
from dfkd_tune.benchmarks._definitions import BenchmarkDefinition
from dfkd_tune.benchmarks._download import DOWNLOADS
from dfkd_tune.benchmarks._own import open_declared, open_labelled
from dfkd_tune.benchmarks._readers import check_folder, is_image_folder, read_image_folder
from dfkd_tune.benchmarks._reasons import reason_of
from dfkd_tune.benchmarks._registry import BENCHMARKS
from dfkd_tune.benchmarks._sources import Listing
from dfkd_tune.errors import DataError, UsageError, unknown_name
from dfkd_tune.inputs import InputSpecification

DATA_VARIABLE = "DFKD_TUNE_DATA"


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

    Nothing is written. No image file is decoded, but for a person's own labelled images whose
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
        return open_labelled(config, config.labelled)
    if config.unlabelled is None and config.input == type(config.input)():
        raise unknown_name("benchmark", config.name, BENCHMARKS)
    return open_declared(config)


def data_folder(config: BenchmarkConfig) -> Path:
    """Where the images of a benchmark of ours are looked for."""
    if config.root is not None:
        return config.root
    given = os.environ.get(DATA_VARIABLE)
    return (Path(given) if given else Path("data")).absolute() / config.name


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
    return with_labels(
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
