"""Work that goes on beside the training: one piece at a time."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Later:
    """Does a piece of work in a thread of its own; what it raises is raised when it is waited for.

    A process that ends by itself waits for the thread; one that is killed leaves its work undone.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._begun: Future[object] | None = None

    def begin(self, work: Callable[[], object]) -> None:
        """Begin a piece of work, once the one before has ended.

        Raises:
            Exception: what the one before raised; the new one is not begun.
        """
        self.finish()
        self._begun = self._threads.submit(work)

    def finish(self) -> None:
        """Wait for what was begun.

        Raises:
            Exception: what it raised.
        """
        begun, self._begun = self._begun, None
        if begun is not None:
            begun.result()

    def close(self) -> None:
        """Wait for what was begun, whatever comes of it, and begin nothing any more."""
        self._threads.shutdown()
