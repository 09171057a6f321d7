"""What a method is: a named recipe over the one loop. A method is data, not code."""

from dataclasses import dataclass

from dfkd_tune.classifiers import NetworkConfig
from dfkd_tune.distillation._config import DistillationConfig
from dfkd_tune.distillation.terms import GENERATOR_TERMS, objective_needs
from dfkd_tune.inputs import InputSpecification

LARGE_SIDE = 64
_CIFAR_SIDE = 32
_FOUR_DOUBLINGS = 16

PLACEHOLDER = NetworkConfig(architecture="resnet8")
"""Student of a recipe before a benchmark's own takes its place."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A named composition with its published settings.

    Args:
        name: as in an experiment file.
        title: for people.
        source: the paper.
        recipe: published settings, and inferred ones where nothing is published.
        space: name of its search space.
        note: what is published and what is inferred.
    """

    name: str
    title: str
    source: str
    recipe: DistillationConfig
    space: str
    note: str

    def recipe_for(self, inputs: InputSpecification, student: NetworkConfig) -> DistillationConfig:
        """The recipe at an image size.

        From 64 pixels on the generator `upsample` gives way to `dcgan` and a batch has at most 64
        images, as DFAD has it for Caltech-101. Images whose sides do not allow four doublings get a
        generator of two. Below 32 pixels the weight of the attention transfer falls with the square
        of the side: the published ones are for the maps of CIFAR, and a mean over fewer positions
        weighs each of them more.

        Args:
            inputs: whose sides decide.
            student: usual for the benchmark.
        """
        recipe, sides = self.recipe, (inputs.height, inputs.width)
        generator, schedule, synthesis = recipe.generator, recipe.schedule, recipe.synthesis
        if min(sides) >= LARGE_SIDE:
            if generator.architecture == "upsample":
                generator = generator.model_copy(update={"architecture": "dcgan"})
            batch_size = min(64, schedule.batch_size)
            schedule = schedule.model_copy(update={"batch_size": batch_size})
            if synthesis.batch_size is not None:
                batch_size = min(64, synthesis.batch_size)
                synthesis = synthesis.model_copy(update={"batch_size": batch_size})
        if generator.architecture != "upsample" and any(s % _FOUR_DOUBLINGS for s in sides):
            generator = generator.model_copy(update={"doublings": 2})
        if generator.conditioning == "noisy_layer":
            # A layer for every image of a class in a round (NAYER).
            size = synthesis.batch_size or schedule.batch_size
            layers = -(-size // inputs.num_classes)
            generator = generator.model_copy(update={"noisy_layers": layers})
        objective = recipe.student_objective
        if min(sides) < _CIFAR_SIDE:
            transfer = objective.attention_transfer
            weight = transfer.weight * (min(sides) / _CIFAR_SIDE) ** 2
            transfer = transfer.model_copy(update={"weight": weight})
            objective = objective.model_copy(update={"attention_transfer": transfer})
        return recipe.model_copy(
            update={
                "student": student,
                "student_objective": objective,
                "generator": generator,
                "schedule": schedule,
                "synthesis": synthesis,
            }
        )


def method_service(method: Method, has_batch_norm: bool) -> str:
    """Say whether a method's recipe can serve a teacher, and what to do where it cannot.

    Args:
        method: whose recipe it is.
        has_batch_norm: whether the teacher has BatchNorm layers.
    """
    needs = objective_needs(method.recipe.generator_objective, GENERATOR_TERMS)
    if has_batch_norm or "teacher_statistics" not in needs:
        return "can serve it as published"
    return (
        "its recipe matches BatchNorm statistics, which this network does not keep; set "
        "settings.generator_objective.bn_statistics.weight to 0, and fix it in space.ranges"
    )
