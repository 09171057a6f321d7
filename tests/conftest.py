"""Shared fixtures: a small experiment, a teacher trained once, and quiet, private Ray."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

# Before Ray is imported anywhere: a cluster of our own, without tokens on disk.
os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

TINY: Mapping[str, Any] = {
    "name": "tiny",
    "benchmark": "digits",
    "teacher": {"architecture": "convnet", "width": 0.5, "recipe": {"epochs": 6}},
    "method": "cgdd",
    "settings": {
        "student": {"architecture": "convnet", "width": 0.25},
        "generator": {"width": 8, "latent_size": 64},
        "student_objective": {"attention_transfer": {"weight": 10.0}},
        "schedule": {
            "epochs": 6,
            "iterations_per_epoch": 3,
            "generator_steps": 1,
            "student_steps": 2,
            "batch_size": 16,
        },
    },
    "space": {
        "ranges": {
            "student.architecture": "convnet",
            "student.width": {"choices": [0.25, 0.5]},
            "generator.width": {"choices": [8, 16]},
        }
    },
    "search": {
        "trials": 4,
        "startup_trials": 2,
        "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 2},
    },
    "resources": {"gpus_per_trial": 0},
}


@pytest.fixture
def tiny() -> dict[str, Any]:
    """A raw experiment whose trials take a second."""
    import copy

    return copy.deepcopy(dict(TINY))


@pytest.fixture(scope="session")
def teacher_storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage whose teacher cache holds the tiny experiment's teacher."""
    import torch

    from dfkd_tune.benchmarks import get_benchmark
    from dfkd_tune.sweeps import teacher_cache
    from trainables import TeacherConfig, prepare_teacher

    storage = tmp_path_factory.mktemp("storage")
    config = TeacherConfig.model_validate(TINY["teacher"])
    prepare_teacher(
        get_benchmark("digits"), config, teacher_cache(storage), device=torch.device("cpu")
    )
    return storage


@pytest.fixture
def storage(teacher_storage: Path, tmp_path: Path) -> Path:
    """A fresh storage that shares the trained teacher."""
    (tmp_path / "teachers").symlink_to(teacher_storage / "teachers")
    return tmp_path


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """A local Ray of our own, with its own folder, shared by the sweeps of this process."""
    import shutil
    import tempfile

    import ray

    from dfkd_tune.sweeps import prepare_environment

    prepare_environment(local=True)
    # Short: the paths of its sockets must not be long.
    path = tempfile.mkdtemp(prefix="ray")
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        _temp_dir=path,
    )
    yield
    ray.shutdown()
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def sweep(ray_session: None) -> Callable[..., Any]:
    """Run a sweep of a raw or a resolved experiment, quietly."""
    import io

    from rich.console import Console

    from dfkd_tune.sweeps import ResolvedExperiment, SweepResult, resolve_experiment, run_sweep

    def run(raw: Mapping[str, Any] | ResolvedExperiment, **options: Any) -> SweepResult:
        resolved = raw if isinstance(raw, ResolvedExperiment) else resolve_experiment(raw, "tiny")
        return run_sweep(
            resolved,
            command="dfkd-tune sweep tiny.yaml",
            console=Console(file=io.StringIO()),
            **options,
        )

    return run
