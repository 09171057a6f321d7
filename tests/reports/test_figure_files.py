"""The page's figures as files, drawn by a real browser; and what is said where there is none."""

import io
import re
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from traced_runs import searched_run

from dfkd_tune.errors import ResourceError, UsageError
from dfkd_tune.records import RunFolder
from reports import collect_run, write_report
from reports.figure_files import figure_images
from reports.figures.mattered_files import mattered_files
from reports.view import RunView, view_run

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
needs_browser = pytest.mark.skipif(
    not any(shutil.which(name) for name in BROWSERS), reason="needs chromium"
)


@pytest.fixture
def searched(make_run: Any, spec: Any, make_selection: Any) -> RunFolder:
    return searched_run(make_run, spec, make_selection)


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


def test_what_the_page_draws_itself_is_drawn_for_files_at_the_same_places(
    searched: RunFolder,
) -> None:
    (view,) = views(searched)
    found, drawn = view.mattered, view.mattered_figures
    assert found is not None
    assert found.importance is not None
    assert drawn is not None
    assert drawn.contour is not None
    assert drawn.lines is not None
    importance, slices, contour, parallel = mattered_files(found, drawn)
    assert [f.name for f in (importance, slices, contour, parallel)] == [
        "importance",
        "slices",
        "contour",
        "parallel",
    ]
    (bars,) = importance.figure.data
    rows = found.importance.rows
    assert list(bars.x) == [row.importance.value for row in rows]
    ends = [
        (x - below, x + above)
        for x, below, above in zip(bars.x, bars.error_x.arrayminus, bars.error_x.array, strict=True)
    ]
    expected = [(row.importance.low, row.importance.high) for row in rows]
    assert np.asarray(ends) == pytest.approx(np.asarray(expected))
    places = {(x, y) for trace in slices.figure.data for x, y in zip(trace.x, trace.y, strict=True)}
    assert places == {(mark.x, mark.y) for each in drawn.slices for mark in each.marks}
    assert len({trace.xaxis for trace in slices.figure.data}) == len(drawn.slices)
    areas = sum(
        abs((xs[0] - xs[1]) * (ys[1] - ys[2]))
        for trace in contour.figure.data
        if trace.fill == "toself"
        for place in range(0, len(trace.x), 6)
        for xs, ys in [(trace.x[place : place + 3], trace.y[place : place + 3])]
    )
    assert areas == pytest.approx(100 * 100, rel=1e-3), "the shades cover all of it, once"
    lines = [at for trace in parallel.figure.data for at in trace.x if at is not None]
    assert sorted(lines) == sorted(at for line in drawn.lines.lines for at in line.at)
    assert mattered_files(replace(found, importance=None), None) == ()


@pytest.mark.browser
@needs_browser
def test_what_the_page_draws_itself_becomes_files(searched: RunFolder) -> None:
    files = write_report([searched.path], figures="svg")
    own = {"importance", "slices", "contour", "parallel"}
    assert own <= {path.stem for path in files.figures}
    text = "".join(
        ElementTree.parse(searched.report_path / "figures" / "slices.svg").getroot().itertext()
    )
    assert "learning_rate (log)" in text


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
