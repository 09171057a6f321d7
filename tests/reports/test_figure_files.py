"""The page's figures as files, drawn by a real browser; and what is said where there is none."""

import io
import re
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dfkd_tune.errors import ResourceError, UsageError
from dfkd_tune.records import RunFolder
from reports import collect_run, write_report
from reports.figure_files import figure_images
from reports.view import RunView, view_run

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
needs_browser = pytest.mark.skipif(
    not any(shutil.which(name) for name in BROWSERS), reason="needs chromium"
)


def views(run: RunFolder) -> list[RunView]:
    return [view_run(collect_run(run.path), "run-1")]


@pytest.mark.browser
@needs_browser
def test_every_figure_becomes_an_svg_that_is_the_same_each_time(realistic: RunFolder) -> None:
    files = write_report([realistic.path], figures="svg")
    names = {path.stem for path in files.figures}
    assert names == set(views(realistic)[0].figures)
    assert {path.parent for path in files.figures} == {realistic.report_path / "figures"}
    again = figure_images(views(realistic), "svg")
    for path in files.figures:
        content = path.read_bytes()
        assert content == again[path.name], path.name
        root = ElementTree.fromstring(content)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root.attrib["width"] == "900"
        text = content.decode()
        ids = re.findall(r' id="([^"]+)"', text)
        assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(ids)
    text = "".join(ElementTree.fromstring(again["time.svg"]).itertext())
    assert "compute seconds" in text
    assert "synthesis" in text


@pytest.mark.browser
@needs_browser
def test_figures_of_several_runs_have_their_names_apart(
    make_run: Any, spec: Any, tmp_path: Path
) -> None:
    runs = [make_run([spec(values=(0.5, 0.6))], name=name).path for name in ("a", "b")]
    files = write_report(runs, tmp_path / "out", figures="png")
    names = {path.name for path in files.figures}
    assert {"run-1-time.png", "run-2-time.png", "run-1-curves.png"} <= names
    (time,) = (path for path in files.figures if path.name == "run-1-time.png")
    with Image.open(io.BytesIO(time.read_bytes())) as image:
        assert image.width == 2 * 900
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    # Paper is white, and the bars have the colours of the page.
    assert (pixels == 255).all(1).mean() > 0.5
    assert (pixels == (0x00, 0x72, 0xB2)).all(1).any()


def test_without_a_browser_one_line_says_so_and_nothing_is_written(
    realistic: RunFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "chromium"))
    with pytest.raises(ResourceError, match=r"none is found; install one, or name it in .*_PATH$"):
        write_report([realistic.path], figures="svg")
    assert not realistic.report_path.exists()


def test_a_browser_that_does_not_start_is_said(
    realistic: RunFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "chromium"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("BROWSER_PATH", str(broken))
    with pytest.raises(ResourceError, match="does not start") as raised:
        figure_images(views(realistic), "svg")
    assert "\n" not in str(raised.value)


def test_without_kaleido_one_line_says_so(
    realistic: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kaleido", None)
    with pytest.raises(UsageError, match="need kaleido, which is not installed; pip install"):
        figure_images(views(realistic), "svg")
