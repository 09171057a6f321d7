"""The synthetic images of a trial, ready to be embedded in the page."""

import base64
import struct
from dataclasses import dataclass
from pathlib import Path

from reports.collect import TrialData
from reports.compute.training import spread

SHOWN = 6
LARGEST_BYTES = 3 * 2**20
SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER_BYTES = 24


@dataclass(frozen=True, kw_only=True)
class Png:
    """A picture.

    Args:
        width: in pixels.
        height: in pixels.
        source: the file as a `data:` address.
    """

    width: int
    height: int
    source: str


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One grid of synthetic images.

    Args:
        epoch: after which it was made.
        width: in pixels.
        height: in pixels.
        source: the file as a `data:` address.
    """

    epoch: int
    width: int
    height: int
    source: str


def pictures(trial: TrialData) -> tuple[Picture, ...]:
    """Some grids of a trial's synthetic images, spread over its epochs.

    Files that are no PNG, or larger than 3 MiB, are passed over.

    Args:
        trial: the trial's records.

    Returns:
        At most six pictures in order of epochs.
    """
    epochs = spread(sorted(trial.image_grids), SHOWN)
    found = (_picture(epoch, trial.image_grids[epoch]) for epoch in epochs)
    return tuple(picture for picture in found if picture is not None)


def _picture(epoch: int, path: Path) -> Picture | None:
    png = read_png(path)
    if png is None:
        return None
    return Picture(epoch=epoch, width=png.width, height=png.height, source=png.source)


def read_png(path: Path) -> Png | None:
    """Read a PNG file; None where it is none, or larger than 3 MiB."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if not content.startswith(SIGNATURE) or not HEADER_BYTES <= len(content) <= LARGEST_BYTES:
        return None
    width, height = struct.unpack(">II", content[16:HEADER_BYTES])
    source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return Png(width=width, height=height, source=source)
