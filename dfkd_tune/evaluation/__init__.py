"""Scores of teachers and students on images that the caller owns."""

from dfkd_tune.evaluation._attention import AttentionMaps, attention_maps, map_correlations
from dfkd_tune.evaluation._classes import class_results
from dfkd_tune.evaluation._duplicates import nearest_others, penultimate_features
from dfkd_tune.evaluation._scores import (
    class_entropy,
    fidelity_scores,
    held_out_agreement,
    paired_outcome,
    predict_logits,
    predict_stored,
    relative_accuracy,
    split_score,
    student_scores,
)

__all__ = [
    "AttentionMaps",
    "attention_maps",
    "class_entropy",
    "class_results",
    "fidelity_scores",
    "held_out_agreement",
    "map_correlations",
    "nearest_others",
    "paired_outcome",
    "penultimate_features",
    "predict_logits",
    "predict_stored",
    "relative_accuracy",
    "split_score",
    "student_scores",
]
