"""The two objectives as an experiment file states them: settings of every term."""

from pydantic import BaseModel, ConfigDict

from dfkd_tune.distillation.terms._bn_statistics import BatchNormStatistics
from dfkd_tune.distillation.terms._contrast import Contrast
from dfkd_tune.distillation.terms._generator_terms import (
    Activation,
    Adversarial,
    InformationEntropy,
    PixelNorm,
    PresetLabel,
    PseudoLabel,
    TotalVariation,
)
from dfkd_tune.distillation.terms._high_order_attention import MixedHighOrderAttention
from dfkd_tune.distillation.terms._semantic_contrast import SemanticContrast
from dfkd_tune.distillation.terms._student_terms import (
    AttentionTransfer,
    KnowledgeDistillation,
    StudentPresetLabel,
)
from dfkd_tune.distillation.terms._term import TermSettings


class GeneratorObjective(BaseModel):
    """Loss terms of the synthesis; a term with weight 0 is absent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset_label: PresetLabel = PresetLabel(weight=0)
    pseudo_label: PseudoLabel = PseudoLabel(weight=0)
    bn_statistics: BatchNormStatistics = BatchNormStatistics(weight=0)
    activation: Activation = Activation(weight=0)
    information_entropy: InformationEntropy = InformationEntropy(weight=0)
    adversarial: Adversarial = Adversarial(weight=0)
    contrast: Contrast = Contrast(weight=0)
    total_variation: TotalVariation = TotalVariation(weight=0)
    pixel_norm: PixelNorm = PixelNorm(weight=0)


class StudentObjective(BaseModel):
    """Loss terms of the student; a term with weight 0 is absent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kd: KnowledgeDistillation = KnowledgeDistillation(weight=0)
    preset_label: StudentPresetLabel = StudentPresetLabel(weight=0)
    attention_transfer: AttentionTransfer = AttentionTransfer(weight=0)
    high_order_attention: MixedHighOrderAttention = MixedHighOrderAttention(weight=0)
    semantic_contrast: SemanticContrast = SemanticContrast(weight=0)


def active_terms(objective: GeneratorObjective | StudentObjective) -> dict[str, TermSettings]:
    """The terms with a weight above 0, by name, in the objective's order."""
    settings = {name: getattr(objective, name) for name in type(objective).model_fields}
    return {name: value for name, value in settings.items() if value.weight > 0}
