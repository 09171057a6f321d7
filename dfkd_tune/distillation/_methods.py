"""Methods: named recipes over the one loop. A method is data, not code."""

from dataclasses import dataclass

from dfkd_tune.classifiers import NetworkConfig
from dfkd_tune.distillation._config import (
    DistillationConfig,
    GeneratorObjective,
    StudentObjective,
)
from dfkd_tune.distillation._generator_terms import (
    GENERATOR_TERMS,
    BatchNormStatistics,
    PresetLabel,
)
from dfkd_tune.distillation._objective import Objective
from dfkd_tune.distillation._student_terms import (
    AttentionTransfer,
    KnowledgeDistillation,
    StudentPresetLabel,
)
from dfkd_tune.errors import unknown_name
from dfkd_tune.inputs import InputSpecification

LARGE_SIDE = 64


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

        From 64 pixels on the generator is `dcgan` and a batch 64 images, as DFAD has it for
        Caltech-101; the recipe itself is for 32 pixels.

        Args:
            inputs: whose smaller side decides.
            student: usual for the benchmark.
        """
        recipe = self.recipe.model_copy(update={"student": student})
        if min(inputs.height, inputs.width) < LARGE_SIDE:
            return recipe
        return recipe.model_copy(
            update={
                "generator": recipe.generator.model_copy(update={"architecture": "dcgan"}),
                "schedule": recipe.schedule.model_copy(update={"batch_size": 64}),
            }
        )


METHODS: dict[str, Method] = {
    "cgdd": Method(
        name="cgdd",
        title="Conditional generative data-free distillation with attention transfer",
        source="arXiv 2112.15358 v1",
        recipe=DistillationConfig(
            method="cgdd",
            student=NetworkConfig(architecture="resnet8"),
            generator_objective=GeneratorObjective(
                preset_label=PresetLabel(weight=1.0),
                bn_statistics=BatchNormStatistics(weight=1.0),
            ),
            student_objective=StudentObjective(
                kd=KnowledgeDistillation(weight=1.0, temperature=4.0),
                preset_label=StudentPresetLabel(weight=0.5),
                attention_transfer=AttentionTransfer(weight=1000.0),
            ),
        ),
        space="cgdd",
        note="Published: conditional generator guided by preset labels and the teacher, student "
        "trained by distillation, preset labels and attention transfer. All weights, the order of "
        "training and the conditioning are inferred from its lineage.",
    ),
}


def get_method(name: str) -> Method:
    """Find a method by name.

    Raises:
        UnknownNameError: if there is none of that name.
    """
    if name not in METHODS:
        raise unknown_name("method", name, METHODS)
    return METHODS[name]


def method_service(method: Method, has_batch_norm: bool) -> str:
    """Say whether a method's recipe can serve a teacher, and what to do where it cannot.

    Args:
        method: whose recipe it is.
        has_batch_norm: whether the teacher has BatchNorm layers.
    """
    needs = Objective("generator", method.recipe.generator_objective, GENERATOR_TERMS).needs
    if has_batch_norm or "teacher_statistics" not in needs:
        return "can serve it as published"
    return (
        "its recipe matches BatchNorm statistics, which this network does not keep; set "
        "settings.generator_objective.bn_statistics.weight to 0, and fix it in space.ranges"
    )
