"""The space of every method: its own weights and knobs, with ranges that hold what is published."""

from dfkd_tune.distillation import METHODS
from search_spaces._dimensions import METHOD_KEY, Dimension
from search_spaces._pieces import (
    CONDITIONING,
    GENERATOR,
    GENERATOR_RATE,
    STREAM_STEPS,
    STUDENT,
    STUDENT_RATE,
    TEMPERATURE,
    choice,
    generator_training,
    logarithmic,
    weight,
    weights,
)
from search_spaces._space import SearchSpace

_ADVERSARIAL = "generator_objective.adversarial"
_STATISTICS = "generator_objective.bn_statistics"
_CONTRAST = "generator_objective.contrast"
_HIGH_ORDER = "student_objective.high_order_attention"
_SEMANTIC = "student_objective.semantic_contrast"

_DIVERGENCE = choice(
    f"{_ADVERSARIAL}.divergence",
    ("kl_teacher_student", "l1", "js"),
    "KL in DFQ, L1 in DFAD, JS in DeepInversion",
    when=f"{_ADVERSARIAL}.weight",
)
_MOMENTUM = choice(
    f"{_STATISTICS}.momentum",
    (0.0, 0.9),
    "0.9 in Fast-DFKD and NAYER, none elsewhere",
    when=f"{_STATISTICS}.weight",
)
_RATES = (GENERATOR_RATE, STUDENT_RATE)


def _space(name: str, *dimensions: Dimension) -> SearchSpace:
    """Student first, then what is the method's own."""
    return SearchSpace(
        name=name, title=f"{name}: {METHODS[name].title}", dimensions=(*STUDENT, *dimensions)
    )


def _weights(name: str) -> tuple[Dimension, ...]:
    return weights(METHODS[name].recipe)


def _round_steps(*steps: int) -> Dimension:
    return choice("schedule.generator_steps", steps, "of a round; the published number and around")


# v1 and v4 differ in the adversary alone, so that one space holds both.
_CGDD = (
    *CONDITIONING,
    *GENERATOR,
    weight("generator_objective.preset_label", switch=False),
    weight(_STATISTICS, switch=True),
    weight("generator_objective.activation", switch=True),
    weight("generator_objective.information_entropy", switch=True),
    weight(_ADVERSARIAL, switch=True),
    _DIVERGENCE,
    TEMPERATURE,
    weight("student_objective.preset_label", switch=True),
    weight("student_objective.attention_transfer", switch=True),
    *generator_training(STREAM_STEPS),
    STUDENT_RATE,
)

METHOD_SPACES: tuple[SearchSpace, ...] = (
    _space("cgdd", *_CGDD),
    _space("cgdd_v4", *_CGDD),
    _space(
        "dfkd_fgvc",
        *GENERATOR,
        choice(
            "generator.attention.mix_weight",
            (0.0, 0.01, 0.05, 0.07, 0.09),
            "its table 4, best 0.05",
        ),
        choice("generator.attention.axis", ("spatial", "channel", "sigmoid"), "not published"),
        choice("generator.attention.rescale", ("none", "unit_mean"), "not published"),
        *_weights("dfkd_fgvc"),
        choice(
            f"{_HIGH_ORDER}.order",
            (1, 2, 3, 4),
            "its table 5, best 3",
            when=f"{_HIGH_ORDER}.weight",
        ),
        choice(
            f"{_HIGH_ORDER}.activation",
            ("sigmoid_of_sum", "mean_of_sigmoids", "softmax"),
            "not published; the second in MHN",
            when=f"{_HIGH_ORDER}.weight",
        ),
        logarithmic(
            f"{_SEMANTIC}.temperature",
            0.05,
            1,
            "not published; 0.07 in CPSC-DFKD",
            when=f"{_SEMANTIC}.weight",
        ),
        choice(
            f"{_SEMANTIC}.head",
            ("shared", "separate"),
            "not settled: its eq. 8 writes one letter for both",
            when=f"{_SEMANTIC}.weight",
        ),
        *generator_training(
            choice("schedule.generator_steps", (1, 5, 10, 20), "20, and 1 to 50 elsewhere")
        ),
        STUDENT_RATE,
    ),
    _space(
        "zskd",
        choice(
            "generator_objective.preset_label.temperature",
            (1.0, 5.0, 10.0, 20.0, 40.0),
            "20 in its paper",
        ),
        TEMPERATURE,
        logarithmic("generator_optimiser.learning_rate", 1e-3, 0.3, "0.01 in its paper"),
        logarithmic("student_optimiser.learning_rate", 1e-4, 1e-2, "of Adam"),
    ),
    _space(
        "zskt",
        *GENERATOR,
        *_weights("zskt"),
        TEMPERATURE,
        GENERATOR_RATE,
        logarithmic("student_optimiser.learning_rate", 1e-4, 1e-2, "of Adam; 0.002 in its code"),
    ),
    _space("dafl", *GENERATOR, *_weights("dafl"), TEMPERATURE, *_RATES),
    _space("dfad", *GENERATOR, *_weights("dfad"), *generator_training(STREAM_STEPS), STUDENT_RATE),
    _space(
        "adi",
        *_weights("adi"),
        TEMPERATURE,
        _round_steps(200, 500, 1000, 2000),
        logarithmic("generator_optimiser.learning_rate", 1e-2, 0.5, "of the pixels; 0.1"),
        STUDENT_RATE,
    ),
    _space(
        "dfq",
        *GENERATOR,
        *_weights("dfq"),
        _DIVERGENCE,
        TEMPERATURE,
        *generator_training(STREAM_STEPS),
        STUDENT_RATE,
    ),
    _space(
        "mad",
        *GENERATOR,
        choice("generator_average.momentum", (0.9, 0.95, 0.99), "0.95 best in its paper"),
        *_weights("mad"),
        TEMPERATURE,
        *generator_training(STREAM_STEPS),
        STUDENT_RATE,
    ),
    _space(
        "cmi",
        *GENERATOR,
        *_weights("cmi"),
        logarithmic(
            f"{_CONTRAST}.temperature",
            0.05,
            0.5,
            "0.1 to 0.2 in its scripts",
            when=f"{_CONTRAST}.weight",
        ),
        TEMPERATURE,
        *generator_training(_round_steps(50, 100, 200, 500)),
        STUDENT_RATE,
    ),
    _space(
        "pre_dfkd",
        *GENERATOR,
        choice("generative_replay.share", (0.0625, 0.125, 0.25, 0.5), "an eighth in its code"),
        *_weights("pre_dfkd"),
        *_RATES,
    ),
    _space(
        "fast",
        *GENERATOR,
        *_weights("fast"),
        _MOMENTUM,
        TEMPERATURE,
        logarithmic("synthesis.latent_learning_rate", 1e-3, 0.1, "0.01 to 0.015 in its scripts"),
        *generator_training(_round_steps(2, 5, 10, 20)),
        STUDENT_RATE,
    ),
    _space(
        "nayer",
        *GENERATOR,
        choice("synthesis.restart_every", (1, 5, 10, 20), "10 in its scripts"),
        *_weights("nayer"),
        _MOMENTUM,
        TEMPERATURE,
        *generator_training(_round_steps(10, 20, 30, 40, 60)),
        STUDENT_RATE,
    ),
)


def _over(spaces: tuple[SearchSpace, ...]) -> SearchSpace:
    """The space over methods: which one, the student that all share, and then each one's own."""
    return SearchSpace(
        name="methods",
        title="over all methods: which one, and its own weights and knobs",
        dimensions=(
            choice(METHOD_KEY, (space.name for space in spaces), "all methods of this project"),
            *STUDENT,
            *(
                dimension.of_method(space.name)
                for space in spaces
                for dimension in space.dimensions
                if dimension not in STUDENT
            ),
        ),
    )


SPACE_OVER_METHODS = _over(METHOD_SPACES)
