"""What runs: a trial, a teacher, and the thin wrappers through which Ray runs them."""

from trainables._ray import BUDGET, VALUE, WORST_VALUE, distil_trial
from trainables._teachers import (
    Teacher,
    TeacherConfig,
    check_teacher,
    copy_teacher,
    load_network,
    prepare_teacher,
    score_teacher,
    teacher_hash,
    teacher_network_config,
    teacher_recipe,
)
from trainables._trials import (
    SavingConfig,
    SupersededError,
    run_trial,
    student_size,
    validation_scores,
)

__all__ = [
    "BUDGET",
    "VALUE",
    "WORST_VALUE",
    "SavingConfig",
    "SupersededError",
    "Teacher",
    "TeacherConfig",
    "check_teacher",
    "copy_teacher",
    "distil_trial",
    "load_network",
    "prepare_teacher",
    "run_trial",
    "score_teacher",
    "student_size",
    "teacher_hash",
    "teacher_network_config",
    "teacher_recipe",
    "validation_scores",
]
