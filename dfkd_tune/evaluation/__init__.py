"""Scores of teachers and students on images that the caller owns."""

from dfkd_tune.evaluation._scores import (
    paired_outcome,
    predict_logits,
    relative_accuracy,
    split_score,
    student_scores,
)

__all__ = [
    "paired_outcome",
    "predict_logits",
    "relative_accuracy",
    "split_score",
    "student_scores",
]
