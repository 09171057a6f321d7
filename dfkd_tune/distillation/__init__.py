"""The data-free loop. Nothing in this package can receive a real image."""

from dfkd_tune.distillation._collapse import CollapseConfig, CollapseSigns, most_kept
from dfkd_tune.distillation._config import (
    DistillationConfig,
    GeneratorOptimiserConfig,
    ScheduleConfig,
    StudentOptimiserConfig,
    configuration_hash,
    shared_part,
)
from dfkd_tune.distillation._inversion import InversionConfig, invert
from dfkd_tune.distillation._loop import distil, distil_together
from dfkd_tune.distillation._optimisation import learning_rate
from dfkd_tune.distillation._progress import Progress, State
from dfkd_tune.distillation._samples import image_grid, sample_per_class, to_pixels
from dfkd_tune.distillation._synthesis_config import (
    GenerativeReplayConfig,
    GeneratorAverageConfig,
    ImageBankConfig,
    SynthesisConfig,
)
from dfkd_tune.distillation.generators import (
    CONDITIONINGS,
    GENERATORS,
    Generator,
    GeneratorConfig,
    build_generator,
)
from dfkd_tune.distillation.methods import (
    METHODS,
    Method,
    Variant,
    ablation_of,
    get_method,
    method_service,
)
from dfkd_tune.distillation.synthesis import ImageBank
from dfkd_tune.distillation.terms import (
    GENERATOR_TERMS,
    STUDENT_TERMS,
    GeneratorObjective,
    LossTerm,
    Step,
    StudentObjective,
    TermSettings,
    active_terms,
    attention_map,
)

__all__ = [
    "CONDITIONINGS",
    "GENERATORS",
    "GENERATOR_TERMS",
    "METHODS",
    "STUDENT_TERMS",
    "CollapseConfig",
    "CollapseSigns",
    "DistillationConfig",
    "GenerativeReplayConfig",
    "Generator",
    "GeneratorAverageConfig",
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
    "SynthesisConfig",
    "TermSettings",
    "Variant",
    "ablation_of",
    "active_terms",
    "attention_map",
    "build_generator",
    "configuration_hash",
    "distil",
    "distil_together",
    "get_method",
    "image_grid",
    "invert",
    "learning_rate",
    "method_service",
    "most_kept",
    "sample_per_class",
    "shared_part",
    "to_pixels",
]
