"""What `doctor` checks."""

import platform
import shutil
import sys
from pathlib import Path
from typing import Any

from dfkd_tune.errors import DfkdTuneError, StorageError
from dfkd_tune.sweeps import check_writable, environment, package_version, ray_cluster, usable_cpus


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
