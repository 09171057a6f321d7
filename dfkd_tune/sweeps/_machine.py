"""The machine: what it has, what runs on it, and whether a request fits."""

import os
import platform
import subprocess
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import torch

from dfkd_tune.errors import ResourceError
from dfkd_tune.records import GpuShareRecord
from dfkd_tune.sweeps._experiment_config import ResourcesConfig
from dfkd_tune.sweeps._gpu_share import share_of
from trainables import processor_name

PACKAGES = (
    "dfkd-tune",
    "ray",
    "optuna",
    "torch",
    "torchvision",
    "numpy",
    "pandas",
    "plotly",
    "scikit-learn",
)


def usable_cpus() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpu_count() -> int:
    """CUDA GPUs of this machine."""
    return torch.cuda.device_count()


def environment() -> dict[str, Any]:
    """Versions and hardware, for the records."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: package_version(name) for name in PACKAGES},
        "hardware": {
            "cpu": processor_name(torch.device("cpu")),
            "cpu_cores": usable_cpus(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "gpus": [torch.cuda.get_device_name(i) for i in range(gpu_count())],
            "cuda": torch.version.cuda if torch.cuda.is_available() else "none",
        },
        "git_commit": _git_commit(),
    }


def package_version(name: str) -> str:
    """The installed version of a package, or `not installed`."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _git_commit() -> str | None:
    """The commit of the checkout that this code runs from; marked where it has changes."""
    here = Path(__file__).parent
    try:
        commit = _git("rev-parse", "HEAD", cwd=here)
        if _git("ls-files", Path(__file__).name, cwd=here) == "":
            return None
        return f"{commit}{'+changes' if _git('status', '--porcelain', cwd=here) else ''}"
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*args: str, cwd: Path) -> str:
    result = subprocess.run(
        ["git", *args], cwd=cwd, capture_output=True, text=True, check=True, timeout=10
    )
    return result.stdout.strip()


@dataclass(frozen=True, kw_only=True)
class Allotment:
    """What a trial gets on this machine or cluster.

    Args:
        cpus: per trial; also its threads.
        gpus: per trial, at least.
        max_concurrent: trials at once.
        total_cpus: of the machine or cluster.
        total_gpus: of the machine or cluster.
        measured: by which larger students get more; None where all get the same.
        times: how much more than that each gets.
    """

    cpus: int
    gpus: float
    max_concurrent: int
    total_cpus: float
    total_gpus: float
    measured: GpuShareRecord | None = None
    times: int = 1

    def gpus_of(self, architecture: str, width: float) -> float:
        """What a trial gets whose student has this architecture and width."""
        if self.measured is None:
            return self.gpus
        return min(1.0, self.times * share_of(self.measured, architecture, width))

    @property
    def device(self) -> str:
        """Where a trial computes."""
        return "cuda" if self.gpus > 0 else "cpu"

    def __str__(self) -> str:
        """For people."""
        least = "at least " if self.measured is not None else ""
        gpus = f" and {least}{self.gpus:g} GPU" if self.gpus else ""
        return (
            f"{self.max_concurrent} at once, each with {self.cpus:g} CPU{gpus} "
            f"(of {self.total_cpus:g} CPUs and {self.total_gpus:g} GPUs)"
        )


def larger_share(allotment: Allotment) -> Allotment | None:
    """Twice the share of a GPU, for trials whose memory did not suffice.

    Returns:
        None where a trial has a whole GPU already, or none.
    """
    if not 0 < allotment.gpus < 1:
        return None
    gpus = min(1.0, 2 * allotment.gpus)
    fit = int(min(allotment.total_gpus // gpus, allotment.max_concurrent))
    return replace(allotment, gpus=gpus, max_concurrent=fit, times=2 * allotment.times)


def allot(resources: ResourcesConfig, total_cpus: float, total_gpus: float) -> Allotment:
    """Compare what is asked for with what there is.

    Raises:
        ResourceError: if not even one trial fits.
    """
    gpus = resources.gpus_per_trial
    if gpus == "auto":
        gpus = 1.0 if total_gpus >= 1 else 0.0
    if resources.cpus_per_trial > total_cpus:
        raise ResourceError(
            f"{resources.cpus_per_trial} CPUs per trial are asked for, there are {total_cpus:g}; "
            f"lower --cpus-per-trial (resources.cpus_per_trial)"
        )
    if gpus > total_gpus:
        raise ResourceError(
            f"{gpus:g} GPUs per trial are asked for, there are {total_gpus:g}; "
            f"lower --gpus-per-trial (resources.gpus_per_trial)"
        )
    fit = total_cpus // resources.cpus_per_trial
    if gpus > 0:
        fit = min(fit, total_gpus // gpus)
    return Allotment(
        cpus=resources.cpus_per_trial,
        gpus=gpus,
        max_concurrent=int(min(fit, resources.max_concurrent or fit)),
        total_cpus=total_cpus,
        total_gpus=total_gpus,
    )
