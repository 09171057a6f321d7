"""What runs: a trial, a teacher, and the thin wrappers through which Ray runs them."""

from trainables._audit import Audit, AuditConfig, copy_audit, prepare_audit
from trainables._curves import (
    CurveModel,
    RecordedCurve,
    read_curves,
    recorded_curves,
    write_curves,
)
from trainables._faults import hung, worker_died
from trainables._machine import processor_name
from trainables._objectives import (
    SEARCH_OBJECTIVES,
    USUAL_OBJECTIVE,
    ObjectiveName,
    SearchObjective,
)
from trainables._pool import load_kept, save_kept, score_on_pool
from trainables._ray import (
    BUDGET,
    STORAGE,
    UNSETTLED,
    VALUE,
    WORST_VALUE,
    distil_trial,
    train_teacher,
)
from trainables._simulated import seconds_per_epoch, simulate_trial
from trainables._teachers import (
    Teacher,
    TeacherConfig,
    add_test_score,
    cached_teacher,
    card_network,
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
    run_benchmark,
    run_objective,
    run_trial,
    student_size,
)
from trainables._yardsticks import (
    YARDSTICKS,
    Yardstick,
    distillation_loss,
    prepare_yardstick,
    yardstick_recipe,
)

__all__ = [
    "BUDGET",
    "SEARCH_OBJECTIVES",
    "STORAGE",
    "UNSETTLED",
    "USUAL_OBJECTIVE",
    "VALUE",
    "WORST_VALUE",
    "YARDSTICKS",
    "Audit",
    "AuditConfig",
    "CurveModel",
    "ObjectiveName",
    "RecordedCurve",
    "SavingConfig",
    "SearchObjective",
    "SupersededError",
    "Teacher",
    "TeacherConfig",
    "Yardstick",
    "add_test_score",
    "cached_teacher",
    "card_network",
    "check_teacher",
    "copy_audit",
    "copy_teacher",
    "distil_trial",
    "distillation_loss",
    "hung",
    "load_kept",
    "load_network",
    "prepare_audit",
    "prepare_teacher",
    "prepare_yardstick",
    "processor_name",
    "read_curves",
    "recorded_curves",
    "run_benchmark",
    "run_objective",
    "run_trial",
    "save_kept",
    "score_on_pool",
    "score_teacher",
    "seconds_per_epoch",
    "simulate_trial",
    "student_size",
    "teacher_hash",
    "teacher_network_config",
    "teacher_recipe",
    "train_teacher",
    "worker_died",
    "write_curves",
    "yardstick_recipe",
]
