"""The data-free loop. Nothing in this package can receive a real image."""

from dfkd_tune.distillation._config import (
    DistillationConfig,
    GeneratorObjective,
    GeneratorOptimiserConfig,
    ImageBankConfig,
    ScheduleConfig,
    StudentObjective,
    StudentOptimiserConfig,
    active_terms,
    configuration_hash,
)
from dfkd_tune.distillation._generator_terms import GENERATOR_TERMS
from dfkd_tune.distillation._generators import (
    CONDITIONINGS,
    GENERATORS,
    Generator,
    GeneratorConfig,
    build_generator,
)
from dfkd_tune.distillation._image_bank import ImageBank
from dfkd_tune.distillation._inversion import InversionConfig, invert
from dfkd_tune.distillation._loop import Progress, State, distil
from dfkd_tune.distillation._methods import METHODS, Method, get_method, method_service
from dfkd_tune.distillation._optimisation import learning_rate
from dfkd_tune.distillation._samples import image_grid, sample_per_class, to_pixels
from dfkd_tune.distillation._step import Step
from dfkd_tune.distillation._student_terms import STUDENT_TERMS, attention_map
from dfkd_tune.distillation._terms import LossTerm, TermSettings

__all__ = [
    "CONDITIONINGS",
    "GENERATORS",
    "GENERATOR_TERMS",
    "METHODS",
    "STUDENT_TERMS",
    "DistillationConfig",
    "Generator",
    "GeneratorConfig",
    "GeneratorObjective",
    "GeneratorOptimiserConfig",
    "ImageBank",
    "ImageBankConfig",
    "InversionConfig",
    "LossTerm",
    "Method",
    "Progress",
    "ScheduleConfig",
    "State",
    "Step",
    "StudentObjective",
    "StudentOptimiserConfig",
    "TermSettings",
    "active_terms",
    "attention_map",
    "build_generator",
    "configuration_hash",
    "distil",
    "get_method",
    "image_grid",
    "invert",
    "learning_rate",
    "method_service",
    "sample_per_class",
    "to_pixels",
]
