"""From an experiment file to a finished, resumable sweep."""

from dfkd_tune.sweeps._again import experiment_of_run
from dfkd_tune.sweeps._allot_here import allot_here
from dfkd_tune.sweeps._baseline import random_baseline
from dfkd_tune.sweeps._dashboard import dashboard_server, recorded_study
from dfkd_tune.sweeps._distill import (
    Assignment,
    assignment_from_experiment,
    assignment_from_run,
    first_difference,
    run_distillation,
)
from dfkd_tune.sweeps._efficiency import Efficiency, measure_efficiency
from dfkd_tune.sweeps._epochs import epoch_progress
from dfkd_tune.sweeps._estimate import cohorts_of, disk_of, expected_share, pace_of, trials_left
from dfkd_tune.sweeps._experiment import ResolvedExperiment, resolve_experiment
from dfkd_tune.sweeps._experiment_config import SAMPLERS, Experiment
from dfkd_tune.sweeps._experiment_file import override, read_experiment_file
from dfkd_tune.sweeps._folder import Resume, check_writable
from dfkd_tune.sweeps._given import (
    Comparison,
    ablation,
    comparison_of_methods,
    confirmation,
)
from dfkd_tune.sweeps._gpu_probe import scan_share, share_plan
from dfkd_tune.sweeps._gpu_share import share_of
from dfkd_tune.sweeps._machine import (
    Allotment,
    allot,
    environment,
    gpu_count,
    package_version,
    usable_cpus,
)
from dfkd_tune.sweeps._preparation import (
    audit_cache,
    best_device,
    ensure_audit,
    prepare_images,
    teacher_cache,
    teacher_with_progress,
)
from dfkd_tune.sweeps._ray import prepare_environment, ray_cluster
from dfkd_tune.sweeps._selection import ranked_complete_trials
from dfkd_tune.sweeps._suite import Suite, SuiteConfig, resolve_suite, run_suite
from dfkd_tune.sweeps._sweep import SweepResult, run_sweep
from dfkd_tune.sweeps._validation import validation_lines
from dfkd_tune.sweeps._yardsticks import measure_yardsticks

__all__ = [
    "SAMPLERS",
    "Allotment",
    "Assignment",
    "Comparison",
    "Efficiency",
    "Experiment",
    "ResolvedExperiment",
    "Resume",
    "Suite",
    "SuiteConfig",
    "SweepResult",
    "ablation",
    "allot",
    "allot_here",
    "assignment_from_experiment",
    "assignment_from_run",
    "audit_cache",
    "best_device",
    "check_writable",
    "cohorts_of",
    "comparison_of_methods",
    "confirmation",
    "dashboard_server",
    "disk_of",
    "ensure_audit",
    "environment",
    "epoch_progress",
    "expected_share",
    "experiment_of_run",
    "first_difference",
    "gpu_count",
    "measure_efficiency",
    "measure_yardsticks",
    "override",
    "pace_of",
    "package_version",
    "prepare_environment",
    "prepare_images",
    "random_baseline",
    "ranked_complete_trials",
    "ray_cluster",
    "read_experiment_file",
    "recorded_study",
    "resolve_experiment",
    "resolve_suite",
    "run_distillation",
    "run_suite",
    "run_sweep",
    "scan_share",
    "share_of",
    "share_plan",
    "teacher_cache",
    "teacher_with_progress",
    "trials_left",
    "usable_cpus",
    "validation_lines",
]
