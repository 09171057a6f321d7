"""What benches of single pieces have in common: works timed in turns, and a file of what came."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import torch

from dfkd_tune.sweeps import environment
from performance.device import wait_for

Key = TypeVar("Key")


def in_turns(
    works: Mapping[Key, Callable[[], object]], turns: int, device: torch.device
) -> dict[Key, float]:
    """Time works one after another, again and again, so that all see the same machine.

    Args:
        works: by name.
        turns: how often each is timed, after a first turn that warms up.
        device: that does them.

    Returns:
        Median milliseconds by name.
    """
    taken: dict[Key, list[float]] = {key: [] for key in works}
    for turn in range(turns + 1):
        for key, work in works.items():
            wait_for(device)
            began = time.perf_counter()
            work()
            wait_for(device)
            if turn > 0:
                taken[key].append(1e3 * (time.perf_counter() - began))
    return {key: median(times) for key, times in taken.items()}


def write_cases(
    output: Path | None,
    cases: Sequence[Mapping[str, Any]],
    *,
    turns: int,
    threads: int,
    device: torch.device,
) -> None:
    """Write what was measured, if a file is given.

    Args:
        output: JSON file.
        cases: what came.
        turns: of each.
        threads: of PyTorch.
        device: that computed.
    """
    if output is None:
        return
    content = {
        "environment": environment(),
        "device": device.type,
        "threads": threads,
        "turns": turns,
        "cases": list(cases),
    }
    output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
