"""Pieces that spaces are composed of: groups of dimensions with ranges that hold what is published.

Ranges are the spread of the settings with which the methods were shipped.
"""

import math
from collections.abc import Iterable
from dataclasses import replace

from dfkd_tune.distillation import DistillationConfig, active_terms
from search_spaces._dimensions import ON, Condition, Dimension, Value

_SPREAD = "spread of the settings with which the methods were shipped"

# Of every weight: lowest, highest, and where the range comes from.
_WEIGHTS: dict[str, tuple[float, float, str]] = {
    "generator_objective.preset_label": (0.05, 10, "0.4 to 1 in CMI, Fast-DFKD, NAYER"),
    "generator_objective.pseudo_label": (0.01, 10, "0.05 and 0.5 in DAFL, 1 in DFQ"),
    "generator_objective.bn_statistics": (
        0.01,
        30,
        "0.3 in DFKD-FGVC, 1 in DFQ and CMI, 10 in ADI",
    ),
    "generator_objective.activation": (1e-3, 0.3, "0.001 to 0.1 in DAFL"),
    "generator_objective.information_entropy": (0.5, 30, "5 and 20 in DAFL, 20 in DFQ"),
    "generator_objective.adversarial": (0.05, 5, "0.5 in CMI, 1 in DFQ, 1.33 in Fast-DFKD"),
    "generator_objective.contrast": (0.1, 2, "0.8 in CMI"),
    "generator_objective.total_variation": (1e-4, 0.1, "0.001 in ADI"),
    "student_objective.preset_label": (0.05, 2, "0.1 to 1 (inferred)"),
    "student_objective.attention_transfer": (1, 1e4, "250 in ZSKT, 1000 in its own paper"),
    "student_objective.high_order_attention": (0.1, 100, "0 to 100 in DFKD-FGVC, best 10"),
    "student_objective.semantic_contrast": (0.1, 100, "0 to 100 in DFKD-FGVC, best 8"),
}


def choice(key: str, choices: Iterable[Value], source: str, when: str | None = None) -> Dimension:
    """One of several values; `when` names a weight that must be on for it to apply."""
    return Dimension(
        key=key, kind="choice", choices=tuple(choices), condition=_is_on(when), source=source
    )


def logarithmic(
    key: str, low: float, high: float, source: str, when: str | None = None
) -> Dimension:
    """A number on a logarithmic scale; `when` names a weight that must be on for it to apply."""
    return Dimension(
        key=key,
        kind="float",
        low=low,
        high=high,
        log=True,
        condition=_is_on(when),
        source=source,
    )


def _is_on(weight: str | None) -> Condition | None:
    return None if weight is None else Condition(key=f"{weight}?", values=(ON,))


def weight(term: str, *, switch: bool) -> Dimension:
    """The weight of a term, such as `generator_objective.adversarial`.

    Args:
        term: its objective and name.
        switch: whether it may also be 0.
    """
    low, high, source = _WEIGHTS[term]
    return Dimension(
        key=f"{term}.weight",
        kind="float",
        low=low,
        high=high,
        log=True,
        switch=switch,
        source=source,
    )


def weights(recipe: DistillationConfig) -> tuple[Dimension, ...]:
    """The weights of a recipe's terms, in its order.

    Each may be switched off, but for the first of the generator, so that one is always left. The
    weight of `kd` is the unit of the student's others and is not searched.
    """
    found = []
    for index, name in enumerate(active_terms(recipe.generator_objective)):
        found.append(weight(f"generator_objective.{name}", switch=index > 0))
    for name in active_terms(recipe.student_objective):
        if name != "kd":
            found.append(weight(f"student_objective.{name}", switch=True))
    return tuple(found)


STUDENT = (
    choice(
        "student.architecture",
        ("resnet8", "resnet14", "convnet"),
        "networks that suit the image size; the benchmark's take their place",
    ),
    choice("student.width", (0.25, 0.5, 1.0, 2.0), "student size: 1/16 to 4 times the parameters"),
)

GENERATOR = (
    choice("generator.width", (16, 32, 64, 96), "64 in its lineage"),
    choice(
        "generator.latent_size",
        (64, 100, 128, 256, 512, 1000),
        "100 in ZSKT, 256 in CMI and DFAD, 512 and 1000 in DAFL",
    ),
)

CONDITIONING = (
    choice(
        "generator.conditioning",
        ("embed_concat", "one_hot_concat", "embed_multiply", "conditional_bn"),
        "options seen in the lineage of CGDD; the paper names none",
    ),
    Dimension(
        key="generator.label_embedding_size",
        kind="int",
        low=16,
        high=256,
        log=True,
        condition=Condition(key="generator.conditioning", values=("embed_concat",)),
        source="50 in CMI and CC-DFKD",
    ),
)

TEMPERATURE = choice(
    "student_objective.kd.temperature", (1.0, 2.0, 4.0, 10.0, 20.0), "1 to 20 in the methods"
)

STREAM_STEPS = choice("schedule.generator_steps", (1, 2, 5), _SPREAD)

GENERATOR_RATE = logarithmic("generator_optimiser.learning_rate", 1e-4, 2e-2, _SPREAD)


def generator_training(steps: Dimension) -> tuple[Dimension, Dimension]:
    """The generator's steps, and its rate tied to them.

    How far a generator moves is about its rate times its steps, so that published rates fall as the
    steps rise: Fast-DFKD has 0.005 at 2 steps, 0.003 at 5, 0.002 at 10. The product is searched, in
    the range of the rate at the middle one of the steps.

    Args:
        steps: choices of `schedule.generator_steps`.
    """
    numbers = [float(number) for number in steps.choices]
    middle = math.sqrt(min(numbers) * max(numbers))
    tied = replace(
        GENERATOR_RATE,
        low=float(f"{GENERATOR_RATE.low * middle:.1g}"),
        high=float(f"{GENERATOR_RATE.high * middle:.1g}"),
        times=steps.key,
        alone=(GENERATOR_RATE.low, GENERATOR_RATE.high),
        source=f"{_SPREAD}, at {middle:.2g} steps",
    )
    return steps, tied


STUDENT_RATE = logarithmic("student_optimiser.learning_rate", 1e-3, 0.3, _SPREAD)
