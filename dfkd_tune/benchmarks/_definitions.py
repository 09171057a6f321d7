"""The project's own benchmarks, by name: what is known of each before its data are read."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dfkd_tune.benchmarks._sources import Listing
from dfkd_tune.classifiers import NetworkConfig, TrainingRecipe

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class BenchmarkDefinition:
    """A benchmark before its data are read.

    Args:
        name: as in an experiment file.
        title: for people.
        channels: 1 grey, 3 colour.
        size: pixels of one side of the classifier's input.
        stored_size: pixels of one side of the decoded images, from which crops are taken; None
            where it is the input's.
        mean, std: per channel, of pixels in [0, 1].
        num_classes: classes.
        teacher: default architecture of the teacher.
        student: default student.
        teacher_recipe: default training of the teacher.
        layout: what the folder holds in the original distribution, for messages.
        source: where the images come from.
        read: reads the original distribution; None where the data need no folder.
        read_installed: reads data that an installed package carries.
    """

    name: str
    title: str
    channels: int
    size: int
    stored_size: int | None = None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    num_classes: int
    teacher: NetworkConfig
    student: NetworkConfig
    teacher_recipe: TrainingRecipe
    layout: str
    source: str
    read: Callable[[Path], Listing] | None = None
    read_installed: Callable[[], Listing] | None = None
