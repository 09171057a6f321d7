"""Many short trials: the driver does not grow, and nothing is left running."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from dfkd_tune.records import FINAL_STATES, RunFolder

TRIALS = 200
SETTLED = 20
MOST_GROWTH = 50 * 2**20


@pytest.mark.long
@pytest.mark.sweep
@pytest.mark.timeout(1500)
def test_the_driver_does_not_grow_and_leaves_no_process(
    tiny: dict[str, Any], storage: Path
) -> None:
    tiny["storage"] = str(storage)
    tiny["search"] = {"trials": TRIALS, "sampler": "random", "scheduler": {"name": "none"}}
    tiny["settings"]["schedule"] |= {"epochs": 1, "iterations_per_epoch": 1}
    file = storage / "tiny.yaml"
    file.write_text(yaml.safe_dump(tiny))
    run = RunFolder(storage / "tiny")
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", "from dfkd_tune.cli import main; main()", "sweep", str(file)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    driver = psutil.Process(process.pid)
    sizes: list[tuple[int, int]] = []
    children: set[psutil.Process] = set()
    while process.poll() is None:
        ended = (
            sum(folder.status().state in FINAL_STATES for folder in run.trial_folders())
            if run.trials_path.exists()
            else 0
        )
        try:
            sizes.append((ended, driver.memory_info().rss))
            children |= set(driver.children(recursive=True))
        except psutil.NoSuchProcess:
            break
        time.sleep(2)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    seconds = time.monotonic() - began
    states = [folder.status().state for folder in run.trial_folders()]
    assert states == ["complete"] * TRIALS
    # Once it chooses, it loads students and images.
    searching = [size for ended, size in sizes if SETTLED <= ended < TRIALS]
    growth = max(searching) - searching[0]
    _, alive = psutil.wait_procs(list(children), timeout=60)
    print(
        f"{TRIALS} trials in {seconds:.0f} s; the driver grew by {growth / 2**20:.1f} MiB "
        f"from {searching[0] / 2**20:.0f} MiB; {len(alive)} of {len(children)} processes left"
    )
    assert growth < MOST_GROWTH
    assert not alive
