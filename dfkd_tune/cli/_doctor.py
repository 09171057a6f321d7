"""What `doctor` checks."""

import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from dfkd_tune.classifiers import used_precision
from dfkd_tune.cli._experiment import resolved_from
from dfkd_tune.errors import DfkdTuneError, ResourceError, StorageError
from dfkd_tune.records import GpuShareRecord
from dfkd_tune.sweeps import (
    check_writable,
    environment,
    gpu_count,
    package_version,
    ray_cluster,
    scan_share,
    share_of,
    usable_cpus,
)


def machine_checks(storage: Path) -> list[dict[str, Any]]:
    """Check versions, hardware, storage, and whether Ray starts.

    Args:
        storage: folder that will hold the runs; not left behind where it was not there.

    Returns:
        One mapping per check: its name, whether it is well, and what was found.
    """
    checks: list[dict[str, Any]] = []

    def check(name: str, good: bool, found: str) -> None:
        checks.append({"check": name, "ok": good, "found": found})

    found = environment()
    hardware = found["hardware"]
    check("python", sys.version_info >= (3, 11), platform.python_version())
    for name in ("torch", "torchvision", "ray", "optuna", "pandas", "plotly"):
        version = package_version(name)
        check(name, version != "not installed", version)
    check("cpu", True, f"{hardware['cpu']}, {usable_cpus()} cores usable")
    check("memory", hardware["memory_gib"] >= 4, f"{hardware['memory_gib']} GiB")
    gpus = hardware["gpus"]
    check("gpu", True, ", ".join(gpus) if gpus else "none; trials run on the CPU")
    device = torch.device("cuda" if gpus else "cpu")
    fast = used_precision("auto", device) == "bfloat16"
    words = "computed in hardware" if fast else "not in hardware here: float32 is faster"
    check("bfloat16", True, words)
    check("storage", *_storage(storage))
    check("ray", *_ray())
    return checks


def _storage(storage: Path) -> tuple[bool, str]:
    existed = storage.exists()
    try:
        check_writable(storage)
    except StorageError as error:
        return False, str(error)
    free = shutil.disk_usage(storage).free / 2**30
    if not existed:
        storage.rmdir()
    return free >= 1, f"{storage.absolute()} is writable, {free:.0f} GiB free"


def _ray() -> tuple[bool, str]:
    try:
        with ray_cluster(None, usable_cpus()) as resources:
            return True, f"a local cluster starts, with {resources.get('CPU', 0):g} CPUs"
    except DfkdTuneError as error:
        return False, str(error)


def gpu_share_scan(experiment: Path, device: str, console: Console) -> GpuShareRecord:
    """Measure how many trials of an experiment should share the GPU, or the CPU, of this machine.

    Raises:
        ResourceError: if there is no GPU, or measuring failed.
    """
    if device == "cuda" and not gpu_count():
        raise ResourceError("this machine has no GPU to share; --device cpu measures on its CPU")
    resolved = resolved_from(experiment)
    with ray_cluster(None, usable_cpus()):
        return scan_share(resolved, device, console)


def scan_rows(measured: GpuShareRecord) -> tuple[list[list[str]], list[list[str]]]:
    """For people: by number of trials, and by student size.

    Returns:
        Rows of trials, student steps per second, of one trial, and what is chosen; and rows of
        student, peak memory, and share.
    """
    first = measured.throughputs[0].steps_per_second if measured.throughputs else 0.0
    counts = [
        [
            str(each.trials),
            "out of memory" if each.out_of_memory else f"{each.steps_per_second:.3g}",
            f"{each.steps_per_second / first:.2f}" if first else "-",
            "chosen" if each.trials == measured.trials else "",
        ]
        for each in measured.throughputs
    ]
    students = [
        [
            f"{each.architecture} x {each.width:g}",
            f"{each.peak_mib:,.0f} MiB",
            f"{share_of(measured, each.architecture, each.width):g}",
        ]
        for each in measured.students
    ]
    return counts, students
