"""When a whole sweep ends before its trials do."""

import threading
import time
from typing import Any

from ray import tune
from typing_extensions import override

from trainables import STORAGE


class Until(tune.Stopper):
    """Ends everything once a person interrupts, time is up, or records fail.

    Args:
        interrupted: set when a person wants the sweep to end.
        budget_seconds: from now; None for no limit.
    """

    def __init__(self, interrupted: threading.Event, budget_seconds: float | None) -> None:
        self.interrupted = interrupted
        self.storage_problem = ""
        self.deadline = None if budget_seconds is None else time.monotonic() + budget_seconds

    @override
    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is stopped for itself here; one that cannot record anything ends all."""
        self.storage_problem = self.storage_problem or result.get(STORAGE, "")
        return False

    @override
    def stop_all(self) -> bool:
        """Whether the sweep ends now."""
        late = self.deadline is not None and time.monotonic() > self.deadline
        return self.interrupted.is_set() or late or bool(self.storage_problem)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray writes a snapshot of its settings, which is never read back."""
        return {}
