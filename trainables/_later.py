"""Work that goes on beside the training: one piece at a time."""

import threading
from collections.abc import Callable


class Later:
    """Does a piece of work in a thread of its own; what it raises is raised when it is waited for.

    A process that ends by itself waits for the thread; one that is killed leaves its work undone.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def begin(self, work: Callable[[], object]) -> None:
        """Begin a piece of work, once the one before has ended.

        Raises:
            Exception: what the one before raised; the new one is not begun.
        """
        self.finish()

        def run() -> None:
            try:
                work()
            except Exception as error:
                self._error = error

        self._thread = threading.Thread(target=run, name="checkpoint")
        self._thread.start()

    def finish(self) -> None:
        """Wait for what was begun.

        Raises:
            Exception: what it raised.
        """
        self.wait()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def wait(self) -> None:
        """Wait for what was begun, whatever comes of it."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
