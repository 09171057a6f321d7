"""The page's figures as files, drawn by kaleido in a browser without a window."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from dfkd_tune.errors import ResourceError, UsageError
from reports.figures import Figure
from reports.figures.mattered_files import mattered_files
from reports.suite import SideView, SuiteView
from reports.view import RunView

ImageFormat = Literal["svg", "png"]

WIDTH = 900
"""Of a figure, pixels of CSS."""

SCALE: Mapping[ImageFormat, int] = {"svg": 1, "png": 2}
"""Pixels of an image for each of these."""

PAPER = "#FFFFFF"


def figure_images(
    views: Sequence[RunView],
    image_format: ImageFormat,
    suite: SuiteView | None = None,
    side: SideView | None = None,
) -> dict[str, bytes]:
    """Draw every figure of the page, in the light theme.

    Args:
        views: of the runs.
        image_format: of the files.
        suite: of all runs together; None for a single one.
        side: of the runs side by side; None where that was not asked for.

    Returns:
        The content of each file by its name; with the run's anchor in front where there are
        several runs.

    Raises:
        UsageError: if kaleido is not installed.
        ResourceError: if there is no browser, or it does not start.
    """
    figures = {
        f"{view.anchor}-{name}" if len(views) > 1 else name: figure
        for view in views
        for name, figure in _figures(view).items()
    }
    for several in (suite, side):
        if several is not None:
            figures |= {f"{several.anchor}-{name}": f for name, f in several.figures.items()}
    try:
        import kaleido
        from kaleido.errors import BrowserClosedError, BrowserFailedError, ChromeNotFoundError
    except ModuleNotFoundError as error:
        if error.name != "kaleido":
            raise
        raise UsageError(
            "figures as files need kaleido, which is not installed; pip install kaleido"
        ) from error

    async def draw() -> list[bytes]:
        # No MathJax, which would come from a network.
        async with kaleido.Kaleido(mathjax=False) as browser:
            return [
                await browser.calc_fig(content, opts=options)
                for content, options in (_drawn(f, image_format) for f in figures.values())
            ]

    try:
        # In a thread: the caller may be in an event loop of its own.
        with ThreadPoolExecutor(1) as pool:
            images = pool.submit(asyncio.run, draw()).result()
    except ChromeNotFoundError as error:
        raise ResourceError(
            "figures as files are drawn by Chromium or Chrome, and none is found; install one, or "
            "name it in the environment variable BROWSER_PATH"
        ) from error
    except (BrowserClosedError, BrowserFailedError, OSError) as error:
        raise ResourceError(
            f"the browser that draws figures as files does not start "
            f"({(str(error).splitlines() or [type(error).__name__])[0]}); name another one in the "
            f"environment variable BROWSER_PATH"
        ) from error
    if image_format == "svg":
        images = [_with_fixed_ids(image) for image in images]
    names = [f"{name}.{image_format}" for name in figures]
    return dict(zip(names, images, strict=True))


def _figures(view: RunView) -> dict[str, Figure]:
    """All figures of a run, with those that the page draws itself."""
    found = dict(view.figures)
    if view.mattered is not None:
        found |= {f.name: f for f in mattered_files(view.mattered, view.mattered_figures)}
    return found


def _drawn(figure: Figure, image_format: ImageFormat) -> tuple[dict[str, Any], dict[str, Any]]:
    """A figure on paper, and how it is to be drawn."""
    content = figure.figure.to_dict()
    content["layout"] |= {"paper_bgcolor": PAPER, "plot_bgcolor": PAPER}
    # plotly would draw them at random.
    for place, trace in enumerate(content["data"]):
        trace["uid"] = f"trace-{place}"
    options = {
        "format": image_format,
        "width": WIDTH,
        "height": int(content["layout"]["height"]),
        "scale": SCALE[image_format],
    }
    return content, options


def _with_fixed_ids(image: bytes) -> bytes:
    """An SVG without the random part of its ids, so that the same figure gives the same bytes."""
    found = re.search(rb'id="defs-([0-9a-f]{6})"', image)
    if found is None:
        return image
    # Only in names: the same digits may be those of a colour.
    return re.sub(rb"(?<=[a-z-])" + found[1], b"0", image)
