"""All loss terms, by objective and name."""

from dfkd_tune.distillation.terms import _generator_terms as generator
from dfkd_tune.distillation.terms import _student_terms as student
from dfkd_tune.distillation.terms._bn_statistics import BatchNormStatistics, BatchNormTerm
from dfkd_tune.distillation.terms._contrast import Contrast, ContrastTerm
from dfkd_tune.distillation.terms._high_order_attention import (
    HighOrderAttentionTerm,
    MixedHighOrderAttention,
)
from dfkd_tune.distillation.terms._semantic_contrast import (
    SemanticContrast,
    SemanticContrastTerm,
)
from dfkd_tune.distillation.terms._term import LossTerm, Need, loss_term, module_term

_FEATURES: tuple[Need, ...] = ("student", "student_features", "teacher_features")

GENERATOR_TERMS: dict[str, LossTerm] = {
    term.name: term
    for term in (
        loss_term("preset_label", generator.PresetLabel, generator.preset_label),
        loss_term("pseudo_label", generator.PseudoLabel, generator.pseudo_label),
        module_term("bn_statistics", BatchNormStatistics, BatchNormTerm, "teacher_statistics"),
        loss_term("activation", generator.Activation, generator.activation, "teacher_features"),
        loss_term(
            "information_entropy", generator.InformationEntropy, generator.information_entropy
        ),
        loss_term("adversarial", generator.Adversarial, generator.adversarial, "student"),
        module_term("contrast", Contrast, ContrastTerm, "teacher_features"),
        loss_term("total_variation", generator.TotalVariation, generator.total_variation),
        loss_term("pixel_norm", generator.PixelNorm, generator.pixel_norm),
    )
}

STUDENT_TERMS: dict[str, LossTerm] = {
    term.name: term
    for term in (
        loss_term("kd", student.KnowledgeDistillation, student.knowledge_distillation, "student"),
        loss_term(
            "preset_label", student.StudentPresetLabel, student.student_preset_label, "student"
        ),
        loss_term(
            "attention_transfer", student.AttentionTransfer, student.attention_transfer, *_FEATURES
        ),
        module_term(
            "high_order_attention", MixedHighOrderAttention, HighOrderAttentionTerm, *_FEATURES
        ),
        module_term("semantic_contrast", SemanticContrast, SemanticContrastTerm, *_FEATURES),
    )
}
