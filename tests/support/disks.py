"""A disk that can be filled, for tests of what happens then."""

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

KIB = 1024


class SmallDisk:
    """A file system of a few MiB in memory; where mounting is forbidden, a limit on file sizes.

    Either way it is the system that refuses to write.

    Args:
        path: where it is mounted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mounted = False
        self.limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self, left: int) -> None:
        """Leave so many KiB."""
        if not self.mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (left * KIB, self.limits[1]))
            return
        # Appended to: nothing is free in between, for others that write meanwhile.
        ballast = (self.path / "ballast").open("ab", buffering=0)
        with ballast, suppress(OSError):
            while True:
                ballast.write(b"0" * 4 * KIB)
        size = (self.path / "ballast").stat().st_size
        os.truncate(self.path / "ballast", max(0, size - left * KIB))

    def free(self) -> None:
        """Make space again."""
        resource.setrlimit(resource.RLIMIT_FSIZE, self.limits)
        (self.path / "ballast").unlink(missing_ok=True)


@contextmanager
def small_disk(path: Path, size: int) -> Iterator[SmallDisk]:
    """A disk of so many KiB."""
    path.mkdir()
    disk = SmallDisk(path)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(path)]
    with suppress(OSError):
        disk.mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield disk
    finally:
        disk.free()
        if disk.mounted:
            subprocess.run(["umount", str(path)], check=True)
