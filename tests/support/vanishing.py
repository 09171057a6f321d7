"""A folder that goes away for a while, as a share does whose server restarts."""

import threading
from pathlib import Path


class Vanishing:
    """Moves a folder away, and back after a while.

    Args:
        folder: that goes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.aside = folder.with_name(folder.name + "-aside")
        self.made_anew = False
        self.timer: threading.Timer | None = None

    def go(self, seconds: float) -> None:
        """Go away now, and come back by itself."""
        self.folder.rename(self.aside)
        self.timer = threading.Timer(seconds, self.come_back)
        self.timer.start()

    def come_back(self) -> None:
        """Come back; notes whether something has taken its place."""
        self.made_anew = self.folder.exists()
        self.aside.rename(self.folder)
