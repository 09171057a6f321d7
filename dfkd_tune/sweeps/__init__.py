"""From an experiment file to a finished, resumable sweep."""

from dfkd_tune.sweeps._distill import (
    Assignment,
    assignment_from_experiment,
    assignment_from_run,
    first_difference,
    run_distillation,
)
from dfkd_tune.sweeps._epochs import epoch_progress
from dfkd_tune.sweeps._experiment import (
    Experiment,
    ResolvedExperiment,
    resolve_experiment,
)
from dfkd_tune.sweeps._experiment_file import override, read_experiment_file
from dfkd_tune.sweeps._folder import Resume, check_writable
from dfkd_tune.sweeps._machine import (
    Allotment,
    allot,
    environment,
    gpu_count,
    package_version,
    usable_cpus,
)
from dfkd_tune.sweeps._ray import prepare_environment, ray_cluster
from dfkd_tune.sweeps._sweep import SweepResult, run_sweep, teacher_cache, teacher_with_progress

__all__ = [
    "Allotment",
    "Assignment",
    "Experiment",
    "ResolvedExperiment",
    "Resume",
    "SweepResult",
    "allot",
    "assignment_from_experiment",
    "assignment_from_run",
    "check_writable",
    "environment",
    "epoch_progress",
    "first_difference",
    "gpu_count",
    "override",
    "package_version",
    "prepare_environment",
    "ray_cluster",
    "read_experiment_file",
    "resolve_experiment",
    "run_distillation",
    "run_sweep",
    "teacher_cache",
    "teacher_with_progress",
    "usable_cpus",
]
