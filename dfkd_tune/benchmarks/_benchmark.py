"""A benchmark that is ready to use, and the data it may have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from dfkd_tune.benchmarks._config import BenchmarkConfig
from dfkd_tune.benchmarks._decoding import Progress
from dfkd_tune.benchmarks._images import LabelledImages
from dfkd_tune.classifiers import NetworkConfig, TrainingRecipe
from dfkd_tune.errors import DataError
from dfkd_tune.inputs import InputSpecification

Split = Literal["train", "validation", "test"]
DataKind = Literal["labelled", "unlabelled", "none"]


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A data set with its split, its input, and the teacher usually trained on it.

    Args:
        name: as in an experiment file.
        title: for people.
        data: what there is of real images.
        inputs: all that distillation may know of the data.
        class_names: one per class, in label order.
        counts: images by split.
        teacher: default architecture of the teacher.
        student: default student.
        teacher_recipe: default training of the teacher.
        source: where the images come from.
        config: from which another process opens the same benchmark.
        declared_normalisation: whether mean and deviation were given, not measured here.
        notes: what was done with the data that a person should know.
        labels: `(N,)`, int64, by split; none where the images have none.
        pixels: decodes one split to `(N, C, H, W)`, uint8; None where there are no images.
    """

    name: str
    title: str
    data: DataKind
    inputs: InputSpecification
    class_names: tuple[str, ...]
    teacher: NetworkConfig
    student: NetworkConfig
    teacher_recipe: TrainingRecipe
    source: str
    config: BenchmarkConfig
    counts: Mapping[str, int] = field(default_factory=dict)
    declared_normalisation: bool = True
    notes: tuple[str, ...] = ()
    labels: Mapping[str, Tensor] = field(default_factory=dict)
    pixels: Callable[[Split, Progress], Tensor] | None = None

    def load(self, split: Split) -> LabelledImages:
        """Load one split of labelled images.

        Raises:
            DataError: if the benchmark has no labels, or an image cannot be read.
        """
        if not self.labels:
            raise DataError(
                f"benchmark '{self.name}' has no labelled images; give benchmark.labelled"
            )
        return LabelledImages(images=self.images(split), labels=self.labels[split])

    def images(self, split: Split) -> Tensor:
        """Load the images of one split: `(N, C, H, W)`, uint8.

        Raises:
            DataError: if the benchmark has none, or one cannot be read.
        """
        if self.pixels is None:
            raise DataError(f"benchmark '{self.name}' has no images; give benchmark.unlabelled")
        return self.pixels(split, _quietly)

    def prepare(self, progress: Progress) -> None:
        """Decode all images, so that they are only mapped into memory from then on.

        Args:
            progress: told the images done, and all, of one split after another.

        Raises:
            DataError: naming an image that cannot be read.
        """
        if self.pixels is not None:
            for split in _SPLITS:
                if split in self.counts:
                    self.pixels(split, progress)


_SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def _quietly(_done: int, _all: int) -> None:
    """Show nothing."""
