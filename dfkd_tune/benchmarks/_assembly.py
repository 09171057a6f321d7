"""From a listing to a benchmark: what those of ours and a person's own have in common."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from dfkd_tune.benchmarks._benchmark import Benchmark, Split
from dfkd_tune.benchmarks._config import BenchmarkConfig
from dfkd_tune.benchmarks._decoding import Progress, decode, modes
from dfkd_tune.benchmarks._sources import Listing, Source, check_listing
from dfkd_tune.benchmarks._splits import split_by_hash
from dfkd_tune.classifiers import NetworkConfig, TrainingRecipe
from dfkd_tune.errors import DataError
from dfkd_tune.inputs import InputSpecification

VALIDATION_SALT = "dfkd-tune/validation/1"
UNLABELLED_SALT = "dfkd-tune/unlabelled/1"
UNLABELLED_FRACTIONS = {"validation": 0.5, "test": 0.5}
_SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def carved(listing: Listing, config: BenchmarkConfig) -> dict[str, Source]:
    """The three splits; a missing validation split is carved from train by the hashed rule.

    Raises:
        DataError: if validation would be empty, or take a whole class of train.
    """
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


def with_labels(
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
    """A benchmark of labelled images, with its three splits.

    Args:
        config: from which another process opens the same benchmark.
        listing: what a reader found.
        inputs: of the classifier.
        stored: height and width of the decoded images; crops are taken from them.
        title: for people.
        teacher: default architecture.
        student: default student.
        recipe: default training of the teacher.
        source: where the images come from.
        declared: whether mean and deviation were given, not measured.

    Raises:
        DataError: if the listing is not what labelled data must be, or leaves no validation split.
    """
    check_listing(listing)
    splits = carved(listing, config)
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
        notes=conversion_note(splits.values(), inputs.channels),
        labels={
            name: torch.tensor(part.labels, dtype=torch.int64) for name, part in splits.items()
        },
        pixels=decoder(splits, (inputs.channels, *stored), config),
    )


def decoder(
    splits: dict[str, Source], shape: tuple[int, int, int], config: BenchmarkConfig
) -> Callable[[Split, Progress], Tensor]:
    """What decodes one split to pixels of this shape, `(C, H, W)`."""
    return lambda split, progress: decode(splits[split], *shape, config.resize, progress)


def conversion_note(sources: Iterable[Source], channels: int) -> tuple[str, ...]:
    """What is said once of images that are of another kind than the classifier takes."""
    wanted = "L" if channels == 1 else "RGB"
    others = sorted(frozenset().union(*(modes(source) for source in sources)) - {wanted})
    if not others:
        return ()
    what = "grey" if channels == 1 else "colour (RGB); what is transparent is laid on white"
    return (f"images of the kind {', '.join(others)} are converted to {what}",)
