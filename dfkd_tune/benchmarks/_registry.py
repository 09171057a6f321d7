"""All benchmarks, by name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from dfkd_tune.benchmarks._digits import load_digits_split
from dfkd_tune.benchmarks._images import LabelledImages
from dfkd_tune.classifiers import NetworkConfig, TrainingRecipe
from dfkd_tune.errors import unknown_name
from dfkd_tune.inputs import InputSpecification

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A data set with its split, its input, and the teacher usually trained on it.

    Args:
        name: as in an experiment file.
        title: for people.
        inputs: all that distillation may know of the data.
        class_names: one per class, in label order.
        load: gives one split.
        teacher: default architecture of the teacher.
        teacher_recipe: default training of the teacher.
        source: where the images come from.
    """

    name: str
    title: str
    inputs: InputSpecification
    class_names: tuple[str, ...]
    load: Callable[[Split], LabelledImages]
    teacher: NetworkConfig
    teacher_recipe: TrainingRecipe
    source: str


BENCHMARKS: dict[str, Benchmark] = {
    "digits": Benchmark(
        name="digits",
        title="Handwritten digits, 8 x 8 pixels",
        inputs=InputSpecification(
            channels=1,
            height=8,
            width=8,
            # Of the train split's pixels in [0, 1].
            mean=(0.3061,),
            std=(0.3766,),
            num_classes=10,
        ),
        class_names=tuple("0123456789"),
        load=load_digits_split,
        teacher=NetworkConfig(architecture="resnet14", width=1.0),
        teacher_recipe=TrainingRecipe(
            epochs=40, batch_size=64, learning_rate=0.1, weight_decay=5e-4, crop_padding=1
        ),
        source="scikit-learn's load_digits (UCI optical recognition of handwritten digits)",
    ),
}


def get_benchmark(name: str) -> Benchmark:
    """Find a benchmark by name.

    Raises:
        UnknownNameError: if there is none of that name.
    """
    if name not in BENCHMARKS:
        raise unknown_name("benchmark", name, BENCHMARKS)
    return BENCHMARKS[name]
