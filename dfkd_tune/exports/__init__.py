"""Exports: the student that a run has found, for use elsewhere, with a model card."""

from dfkd_tune.exports._export import (
    ExportedFile,
    ExportedStudent,
    export_student,
    load_student,
)
from dfkd_tune.exports._formats import FORMATS, TOLERANCE, ExportFormat

__all__ = [
    "FORMATS",
    "TOLERANCE",
    "ExportFormat",
    "ExportedFile",
    "ExportedStudent",
    "export_student",
    "load_student",
]
