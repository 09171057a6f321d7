"""The recipes' figures are those of their sources, written down here once more.

From the tables that were gathered of papers and public code: hyper-parameters of DFKD-FGVC, those
proposed for CGDD, the scripts of CMI and its framework (DFQ, DeepInversion, CMI, Fast-DFKD, NAYER),
and the settings of DAFL, ZSKT, DFAD and PRE-DFKD as they were shipped.
"""

from typing import Any

import pytest

from dfkd_tune.distillation import METHODS, DistillationConfig, active_terms

# Of the framework of CMI: generator and student as its scripts have them.
SCRIPTS: dict[str, Any] = {
    "generator.latent_size": 256,
    "generator_optimiser.beta1": 0.5,
    "generator_optimiser.beta2": 0.999,
    "generator_optimiser.schedule": "constant",
    "student_optimiser.kind": "sgd",
    "student_optimiser.learning_rate": 0.1,
    "student_optimiser.momentum": 0.9,
    "student_optimiser.schedule": "cosine",
    "schedule.batch_size": 256,
    "schedule.epochs": 200,
    "schedule.student_mode_in_generator_step": "eval",
    "student_objective.kd.divergence": "kl_teacher_student",
    "total_student_steps": 200 * 400,
}
SIGMOID = {"generator.output_head": "sigmoid_normalise"}
CGDD: dict[str, Any] = {
    "generator.architecture": "upsample",
    "generator.conditioning": "embed_concat",
    "generator.label_embedding_size": 50,
    "generator.latent_size": 256,
    "generator.width": 64,
    "generator.output_head": "tanh_bn",
    "generator.leaky_relu_slope": 0.2,
    "generator_objective.preset_label.weight": 1,
    "generator_objective.preset_label.label_smoothing": 0,
    "generator_objective.bn_statistics.weight": 1,
    "generator_objective.bn_statistics.distance": "l2",
    "generator_objective.activation.weight": 0,
    "generator_objective.information_entropy.weight": 0,
    "student_objective.kd.weight": 1,
    "student_objective.kd.temperature": 4,
    "student_objective.kd.divergence": "kl_teacher_student",
    "student_objective.preset_label.weight": 0.5,
    "student_objective.preset_label.gate_by_teacher": False,
    "student_objective.attention_transfer.weight": 1000,
    "student_objective.attention_transfer.exponent": 2,
    "student_objective.attention_transfer.reduction": "mean",
    "student_objective.attention_transfer.stages": "all",
    "student_objective.attention_transfer.distance": "mean_squared",
    "generator_optimiser.learning_rate": 1e-3,
    "generator_optimiser.beta1": 0.5,
    "generator_optimiser.beta2": 0.999,
    "student_optimiser.learning_rate": 0.1,
    "student_optimiser.momentum": 0.9,
    "student_optimiser.weight_decay": 5e-4,
    "student_optimiser.schedule": "cosine",
    "student_optimiser.warmup_epochs": 0,
    "schedule.mode": "alternating",
    "schedule.label_sampling": "uniform",
    "schedule.batch_size": 256,
    "schedule.epochs": 200,
    "schedule.iterations_per_epoch": 400,
    "schedule.generator_steps": 1,
    "schedule.student_steps": 5,
    "schedule.student_mode_in_generator_step": "train",
    "schedule.generator_mode_when_sampling": "train",
}

FIGURES: dict[str, dict[str, Any]] = {
    "cgdd": {**CGDD, "generator_objective.adversarial.weight": 0},
    "cgdd_v4": {
        **CGDD,
        "generator_objective.adversarial.weight": 1,
        "generator_objective.adversarial.divergence": "kl_teacher_student",
    },
    "dfkd_fgvc": {
        "generator.architecture": "attention",
        "generator.conditioning": "none",
        "generator.output_head": "tanh",
        "generator.latent_size": 256,
        "generator.width": 64,
        "generator.leaky_relu_slope": 0.2,
        "generator.spectral_norm": True,
        "generator.deconvolution": 3,
        "generator.attention.mix_weight": 0.05,
        "generator.attention.reduction": 8,
        "generator.attention.axis": "spatial",
        "generator.attention.rescale": "none",
        "generator.attention.blocks": "all",
        "generator_objective.bn_statistics.weight": 0.3,
        "generator_objective.bn_statistics.distance": "l2",
        "generator_objective.adversarial.weight": 1,
        "generator_objective.adversarial.divergence": "kl_teacher_student",
        "student_objective.kd.weight": 1,
        "student_objective.kd.temperature": 1,
        "student_objective.kd.divergence": "kl_teacher_student",
        "student_objective.high_order_attention.weight": 10,
        "student_objective.high_order_attention.order": 3,
        "student_objective.high_order_attention.inner_share": 0.25,
        "student_objective.high_order_attention.activation": "sigmoid_of_sum",
        "student_objective.high_order_attention.policy": "separate_fixed_teacher",
        "student_objective.high_order_attention.stages": "all",
        "student_objective.high_order_attention.target": "features",
        "student_objective.high_order_attention.adapter": "conv",
        "student_objective.semantic_contrast.weight": 8,
        "student_objective.semantic_contrast.temperature": 0.07,
        "student_objective.semantic_contrast.anchors": "teacher",
        "student_objective.semantic_contrast.head": "shared",
        "student_objective.semantic_contrast.hidden_norm": "batch",
        "student_objective.semantic_contrast.hidden_layers": 2,
        "student_objective.semantic_contrast.hidden_width": 512,
        "student_objective.semantic_contrast.output_width": 128,
        "generator_optimiser.learning_rate": 1e-3,
        "generator_optimiser.beta1": 0.5,
        "generator_optimiser.beta2": 0.99,
        "generator_optimiser.schedule": "constant",
        "student_optimiser.kind": "sgd",
        "student_optimiser.learning_rate": 1e-2,
        "student_optimiser.momentum": 0.9,
        "student_optimiser.weight_decay": 5e-4,
        "student_optimiser.schedule": "cosine",
        "student_optimiser.warmup_epochs": 0,
        "schedule.mode": "alternating",
        "schedule.epochs": 200,
        "schedule.iterations_per_epoch": 50,
        "schedule.generator_steps": 20,
        "schedule.student_steps": 15,
        "schedule.batch_size": 64,
        "schedule.student_mode_in_generator_step": "train",
        "total_student_steps": 150_000,
    },
    "zskt": {
        "generator_objective.adversarial.weight": 1,
        "generator_objective.adversarial.divergence": "kl_teacher_student",
        "student_objective.kd.temperature": 1,
        "student_objective.attention_transfer.weight": 250,
        "generator_optimiser.learning_rate": 1e-3,
        "generator_optimiser.schedule": "cosine",
        "generator_optimiser.gradient_clip": 5,
        "student_optimiser.kind": "adam",
        "student_optimiser.learning_rate": 2e-3,
        "student_optimiser.schedule": "cosine",
        "student_optimiser.gradient_clip": 5,
        "schedule.generator_steps": 1,
        "schedule.student_steps": 10,
        "schedule.reuse_batch": True,
        "schedule.batch_size": 128,
        "total_student_steps": 10 * 80_000,
    },
    "dafl": {
        "generator.latent_size": 1000,
        "generator.conditioning": "none",
        "generator.output_head": "tanh_bn",
        "generator_objective.pseudo_label.weight": 0.05,
        "generator_objective.pseudo_label.form": "cross_entropy",
        "generator_objective.information_entropy.weight": 5,
        "generator_objective.information_entropy.logarithm": "10",
        "generator_objective.activation.weight": 0.01,
        "student_objective.kd.weight": 1,
        "student_objective.kd.temperature": 1,
        "generator_optimiser.learning_rate": 0.02,
        "student_optimiser.kind": "sgd",
        "student_optimiser.learning_rate": 0.1,
        "student_optimiser.momentum": 0.9,
        "student_optimiser.weight_decay": 5e-4,
        "student_optimiser.schedule": "step",
        "student_optimiser.milestones": (800 / 2000, 1600 / 2000),
        "schedule.epochs": 2000,
        "schedule.iterations_per_epoch": 120,
        "schedule.generator_steps": 1,
        "schedule.student_steps": 1,
        "schedule.batch_size": 1024,
    },
    "dfad": {
        "generator.latent_size": 256,
        "generator.conditioning": "none",
        "generator.output_head": "tanh_bn",
        "generator_objective.adversarial.weight": 1,
        "generator_objective.adversarial.divergence": "l1",
        "student_objective.kd.divergence": "l1",
        "generator_optimiser.learning_rate": 1e-3,
        "student_optimiser.kind": "sgd",
        "student_optimiser.learning_rate": 0.1,
        "student_optimiser.weight_decay": 5e-4,
        "student_optimiser.schedule": "step",
        "student_optimiser.milestones": (100 / 500, 200 / 500),
        "schedule.epochs": 500,
        "schedule.iterations_per_epoch": 50,
        "schedule.generator_steps": 1,
        "schedule.student_steps": 5,
        "schedule.batch_size": 256,
        "schedule.student_mode_in_generator_step": "train",
    },
    "adi": {
        "student_optimiser.weight_decay": 0.0001,
        **{name: SCRIPTS[name] for name in SCRIPTS if not name.startswith("generator")},
        "generator_objective.adversarial.weight": 1,
        "generator_objective.adversarial.divergence": "js",
        "generator_objective.adversarial.temperature": 3,
        "generator_objective.bn_statistics.weight": 10,
        "generator_objective.preset_label.weight": 1,
        "generator_objective.total_variation.weight": 1e-3,
        "student_objective.kd.temperature": 20,
        "generator_optimiser.learning_rate": 0.1,
        "synthesis.kind": "rounds",
        "synthesis.optimise": "pixels",
        "schedule.generator_steps": 1000,
        "schedule.student_steps": 400,
    },
    "dfq": {
        "student_optimiser.weight_decay": 0.0001,
        **SCRIPTS,
        **SIGMOID,
        "generator_objective.adversarial.weight": 1,
        "generator_objective.bn_statistics.weight": 1,
        "generator_objective.pseudo_label.weight": 1,
        "generator_objective.information_entropy.weight": 20,
        "generator_objective.activation.weight": 0,
        "student_objective.kd.temperature": 1,
        "generator_optimiser.learning_rate": 1e-3,
        "schedule.generator_steps": 1,
        "schedule.student_steps": 10,
    },
    "mad": {"generator_average.momentum": 0.95},
    "cmi": {
        "student_optimiser.weight_decay": 0.0001,
        **SCRIPTS,
        **SIGMOID,
        "generator_objective.adversarial.weight": 0.5,
        "generator_objective.adversarial.agreement_only": True,
        "generator_objective.bn_statistics.weight": 1,
        "generator_objective.preset_label.weight": 1,
        "generator_objective.contrast.weight": 0.8,
        "generator_objective.contrast.temperature": 0.1,
        "generator_objective.contrast.memory": 40_960,
        "generator_objective.contrast.negatives": 4_096,
        "generator_objective.contrast.embedding": 256,
        "student_objective.kd.temperature": 20,
        "generator_optimiser.learning_rate": 1e-3,
        "synthesis.kind": "rounds",
        "synthesis.restart_every": 1,
        "schedule.generator_steps": 200,
        "schedule.student_steps": 400,
    },
    "pre_dfkd": {
        "generator_objective.information_entropy.logarithm": "10",
        "generative_replay.divergence_weight": 1e-05,
        "generator.latent_size": 1000,
        "generator_objective.pseudo_label.weight": 1,
        "generator_objective.information_entropy.weight": 5,
        "generator_objective.activation.weight": 0.1,
        "generator_objective.adversarial.divergence": "js",
        "student_objective.kd.divergence": "l1",
        "generator_optimiser.learning_rate": 0.02,
        "generative_replay.share": 1 / 8,
        "generative_replay.learning_rate_factor": 1 / 40,
        "student_optimiser.learning_rate": 0.1,
        "student_optimiser.schedule": "cosine",
        "schedule.epochs": 400,
        "schedule.iterations_per_epoch": 36,
        "schedule.generator_steps": 1,
        "schedule.student_steps": 10,
        "schedule.batch_size": 1024,
    },
    "fast": {
        **SCRIPTS,
        **SIGMOID,
        "generator_objective.adversarial.weight": 1.33,
        "generator_objective.adversarial.agreement_only": True,
        "generator_objective.bn_statistics.weight": 10,
        "generator_objective.bn_statistics.momentum": 0.9,
        "generator_objective.preset_label.weight": 0.4,
        "student_objective.kd.temperature": 20,
        "generator_optimiser.learning_rate": 2e-3,
        "student_optimiser.learning_rate": 0.2,
        "student_optimiser.weight_decay": 1e-4,
        "synthesis.kind": "rounds",
        "synthesis.latent_learning_rate": 0.01,
        "schedule.generator_epochs": 20,
        "schedule.generator_steps": 10,
        "schedule.student_steps": 400,
    },
    "nayer": {
        **SCRIPTS,
        # 512 of the student, 400 of a round, of which there are two in an epoch.
        "schedule.batch_size": 512,
        "synthesis.batch_size": 400,
        "schedule.iterations_per_epoch": 2,
        **SIGMOID,
        "generator.conditioning": "noisy_layer",
        "generator_objective.adversarial.weight": 1.33,
        "generator_objective.adversarial.agreement_only": True,
        "generator_objective.bn_statistics.weight": 10,
        "generator_objective.bn_statistics.momentum": 0.9,
        "generator_objective.preset_label.weight": 0.5,
        "student_objective.kd.temperature": 20,
        "generator_optimiser.learning_rate": 4e-3,
        "student_optimiser.learning_rate": 0.2,
        "student_optimiser.weight_decay": 1e-4,
        "synthesis.kind": "rounds",
        "synthesis.latent_learning_rate": 0,
        # Every 10 epochs.
        "synthesis.restart_every": 20,
        "schedule.generator_epochs": 20,
        "schedule.generator_steps": 30,
        "schedule.student_steps": 200,
        "schedule.label_sampling": "balanced",
    },
}
"""What the sources have and a recipe must have; of ZSKD the tables have nothing."""

DEPARTURES: dict[tuple[str, str], tuple[Any, Any]] = {
    # Of the framework, the release with DFQ samples in evaluation mode.
    ("dfq", "schedule.generator_mode_when_sampling"): ("eval", "train"),
}
"""Where a source and a recipe differ: what the source has, and what the recipe."""


def figure(recipe: DistillationConfig, where: str) -> Any:
    if where == "total_student_steps":
        return recipe.schedule.total_student_steps
    value: Any = recipe
    for name in where.split("."):
        value = getattr(value, name)
    return value


@pytest.mark.parametrize("name", FIGURES)
def test_a_recipe_has_the_figures_of_its_source(name: str) -> None:
    recipe = METHODS[name].recipe
    found = {where: figure(recipe, where) for where in FIGURES[name]}
    assert found == FIGURES[name]


def test_every_method_is_in_the_table_but_the_one_of_which_it_has_nothing() -> None:
    assert sorted({*FIGURES, "zskd"}) == sorted(METHODS)


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "mad"])
def test_a_recipe_has_no_term_that_its_source_has_not(name: str) -> None:
    """A weight of one is what a term has where the table gives none."""
    recipe = METHODS[name].recipe
    for objective in ("generator_objective", "student_objective"):
        for term, settings in active_terms(getattr(recipe, objective)).items():
            told = [where for where in FIGURES[name] if where.startswith(f"{objective}.{term}.")]
            assert told, term
            if f"{objective}.{term}.weight" not in FIGURES[name]:
                assert settings.weight == 1, term


@pytest.mark.parametrize(("name", "where"), DEPARTURES)
def test_known_departures_from_a_source_are_these(name: str, where: str) -> None:
    published, ours = DEPARTURES[name, where]
    assert figure(METHODS[name].recipe, where) == ours != published
    assert where not in FIGURES[name]


def test_mad_is_dfq_with_an_average() -> None:
    found, expected = (METHODS[name].recipe.model_dump() for name in ("mad", "dfq"))
    found["method"] = "dfq"
    found["generator_average"] = expected["generator_average"]
    assert found == expected
    assert METHODS["mad"].recipe.generator_average.share == 0.5
