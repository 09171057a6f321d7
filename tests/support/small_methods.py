"""Methods made small: runs of a tenth of a second in which every part of a recipe is at work."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from dfkd_tune.classifiers import NetworkConfig, build_classifier
from dfkd_tune.distillation import METHODS, DistillationConfig
from dfkd_tune.inputs import InputSpecification

INPUTS = InputSpecification(
    channels=3,
    height=16,
    width=16,
    mean=(0.5, 0.4, 0.3),
    std=(0.2, 0.25, 0.3),
    num_classes=5,
)
"""The smallest images of which every generator can be had."""

STUDENT = NetworkConfig(architecture="convnet", width=0.1)
BATCH = 10


def small_teacher() -> nn.Module:
    """A teacher to whom noise is of any class, with statistics that no fresh layer has."""
    network = build_classifier(NetworkConfig(architecture="convnet", width=0.15), INPUTS, 11)
    numbers = torch.Generator().manual_seed(5)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            size = module.num_features
            module.running_mean = 0.3 * torch.randn(size, generator=numbers)
            module.running_var = 0.5 + torch.rand(size, generator=numbers)
    noise = torch.randn(100, *INPUTS.shape, generator=numbers)
    network.eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.Linear):
            logits = network(noise)
            factor = 1 / logits.std(0).mean()
            module.weight.mul_(factor)
            module.bias.copy_((module.bias - logits.mean(0)) * factor)
    return network.requires_grad_(True)


def small(name: str) -> dict[str, Any]:
    """A method's recipe with fewer and smaller of everything, as a configuration file states it.

    Args:
        name: of the method.
    """
    recipe = METHODS[name].recipe_for(INPUTS, STUDENT).model_dump()
    schedule, synthesis = recipe["schedule"], recipe["synthesis"]
    schedule.update(
        epochs=2,
        generator_epochs=min(1, schedule["generator_epochs"]),
        iterations_per_epoch=2,
        generator_steps=min(2, schedule["generator_steps"]),
        student_steps=min(2, schedule["student_steps"]),
        batch_size=BATCH,
    )
    if synthesis["batch_size"] is not None:
        synthesis["batch_size"] = BATCH
    if synthesis["restart_every"]:
        synthesis["restart_every"] = 1
    recipe["generator"].update(width=8, latent_size=6, label_embedding_size=8, noisy_layers=2)
    # Smaller than what the rounds make, so that it is written over.
    recipe["image_bank"]["size"] = min(25, recipe["image_bank"]["size"])
    recipe["generator_objective"]["contrast"].update(embedding=8, memory=25, negatives=8)
    recipe["student_objective"]["semantic_contrast"].update(hidden_width=16, output_width=8)
    recipe["generative_replay"].update(latent_size=6, width=4)
    return recipe


def small_config(name: str, changes: Mapping[str, Any] | None = None) -> DistillationConfig:
    """The validated configuration of `small`.

    Args:
        name: of the method.
        changes: laid over the recipe's sections.
    """
    recipe = small(name)
    for section, given in (changes or {}).items():
        recipe[section] = {**recipe[section], **given} if isinstance(given, Mapping) else given
    return DistillationConfig.model_validate(recipe)


GENERATOR_SIDE: dict[str, Any] = {
    "generator.width": 8,
    "generator.latent_size": 64,
    "generator.label_embedding_size": 50,
    "generator.conditioning": "embed_concat",
    "generator_optimiser.learning_rate*schedule.generator_steps": 0.001,
    "schedule.generator_steps": 1,
    "generator_objective.preset_label.weight": 1.0,
    "generator_objective.bn_statistics.weight": 1.0,
    "generator_objective.activation.weight": 0,
    "generator_objective.information_entropy.weight": 0,
    "generator_objective.adversarial.weight": 0,
}
"""Fixed, so that of the tiny experiment's trials only the student's side is searched."""
