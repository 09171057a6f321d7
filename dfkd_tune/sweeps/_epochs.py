"""How a training by epochs is shown: a bar on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_INTERVAL_SECONDS = 5.0


@contextmanager
def epoch_progress(console: Console) -> Iterator[Callable[[int, int, str], None]]:
    """Show how far a training is.

    Yields:
        To be called after each epoch with its number, the number of epochs, and a line of text.
    """
    if not console.is_terminal:
        last = time.monotonic()

        def say(epoch: int, epochs: int, text: str) -> None:
            nonlocal last
            if epoch == epochs or time.monotonic() - last >= PLAIN_INTERVAL_SECONDS:
                last = time.monotonic()
                console.print(text, highlight=False, soft_wrap=True)

        yield say
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None, visible=False)
        yield lambda epoch, epochs, text: bar.update(
            task, completed=epoch, total=epochs, description=text, visible=True
        )
