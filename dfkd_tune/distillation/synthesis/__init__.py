"""Synthesis: how images come about, and which of them the student trains on."""

from dfkd_tune.distillation.synthesis._batch import Batch
from dfkd_tune.distillation.synthesis._build import (
    Synthesis,
    build_synthesis,
    first_generator,
)
from dfkd_tune.distillation.synthesis._image_bank import ImageBank
from dfkd_tune.distillation.synthesis._rounds import RoundSynthesis
from dfkd_tune.distillation.synthesis._stream import StreamSynthesis
from dfkd_tune.distillation.synthesis._student_data import StudentData

__all__ = [
    "Batch",
    "ImageBank",
    "RoundSynthesis",
    "StreamSynthesis",
    "StudentData",
    "Synthesis",
    "build_synthesis",
    "first_generator",
]
