"""Ends a trial's process that no longer gets anywhere, and keeps what it was doing."""

import faulthandler
import time
from pathlib import Path
from types import TracebackType
from typing import Self

FIRST_SECONDS = 24 * 3600.0
START_SECONDS = 600.0
LEAST_SECONDS = 600.0
TIMES_LONGEST = 20.0


class Watchdog:
    """Ends the process, with its stacks in a file, where an epoch does not end in time.

    The clock is Python's own in C: it ends a process that hangs within a library too. There is one
    for each process, as there is one trial at a time.

    Args:
        file: where the stacks go; emptied at the start.
        seconds: in which every epoch must end; the first, which reads images and networks too, has
            10 minutes more. None: 24 hours for the first, then 20 times the longest so far and at
            least 10 minutes.
    """

    def __init__(self, file: Path, seconds: float | None) -> None:
        self.seconds = seconds
        self.longest = 0.0
        self.since = time.monotonic()
        # Kept open: nothing can be opened when it is needed.
        self.output = file.open("w", encoding="utf-8")

    def limit(self) -> float:
        """Seconds in which the next epoch must end."""
        if self.seconds is not None:
            return self.seconds + (START_SECONDS if self.longest == 0 else 0)
        if self.longest == 0:
            return FIRST_SECONDS
        return max(LEAST_SECONDS, TIMES_LONGEST * self.longest)

    def epoch_ended(self) -> None:
        """Wait for the next epoch."""
        now = time.monotonic()
        self.longest, self.since = max(self.longest, now - self.since), now
        self._wait()

    def _wait(self) -> None:
        faulthandler.dump_traceback_later(self.limit(), exit=True, file=self.output)

    def __enter__(self) -> Self:
        """Wait for the first epoch."""
        self.since = time.monotonic()
        self._wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait no longer."""
        faulthandler.cancel_dump_traceback_later()
        self.output.close()
