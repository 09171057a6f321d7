"""Loss terms: what the synthesis and the student are trained for."""

from dfkd_tune.distillation.terms._bn_statistics import BatchNormStatistics
from dfkd_tune.distillation.terms._contrast import Contrast
from dfkd_tune.distillation.terms._divergences import Divergence, divergence, divergences
from dfkd_tune.distillation.terms._generator_terms import (
    Activation,
    Adversarial,
    InformationEntropy,
    PixelNorm,
    PresetLabel,
    PseudoLabel,
    TotalVariation,
    neighbour_differences,
)
from dfkd_tune.distillation.terms._high_order_attention import MixedHighOrderAttention
from dfkd_tune.distillation.terms._objective import Objective, objective_needs
from dfkd_tune.distillation.terms._registry import GENERATOR_TERMS, STUDENT_TERMS
from dfkd_tune.distillation.terms._sections import (
    GeneratorObjective,
    StudentObjective,
    active_terms,
)
from dfkd_tune.distillation.terms._semantic_contrast import SemanticContrast
from dfkd_tune.distillation.terms._step import NO_LABEL, Step
from dfkd_tune.distillation.terms._student_terms import (
    AttentionTransfer,
    KnowledgeDistillation,
    StudentPresetLabel,
    attention_map,
)
from dfkd_tune.distillation.terms._term import LossTerm, TermContext, TermModule, TermSettings

__all__ = [
    "GENERATOR_TERMS",
    "NO_LABEL",
    "STUDENT_TERMS",
    "Activation",
    "Adversarial",
    "AttentionTransfer",
    "BatchNormStatistics",
    "Contrast",
    "Divergence",
    "GeneratorObjective",
    "InformationEntropy",
    "KnowledgeDistillation",
    "LossTerm",
    "MixedHighOrderAttention",
    "Objective",
    "PixelNorm",
    "PresetLabel",
    "PseudoLabel",
    "SemanticContrast",
    "Step",
    "StudentObjective",
    "StudentPresetLabel",
    "TermContext",
    "TermModule",
    "TermSettings",
    "TotalVariation",
    "active_terms",
    "attention_map",
    "divergence",
    "divergences",
    "neighbour_differences",
    "objective_needs",
]
