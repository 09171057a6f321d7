"""Every number that a page tells of several runs together, traced to their records."""

from pathlib import Path
from typing import Any

import pytest
from page_text import read_page
from traced_page import Files, Page
from traced_runs import confirmation_run, suite_runs, sweep_maker
from traced_together import (
    trace_aggregate,
    trace_headlines,
    trace_matrix,
    trace_side_by_side,
)

from dfkd_tune.records import RunFolder
from reports import write_report

Maker = Any


@pytest.fixture
def sweep(make_run: Maker, spec: Any, make_selection: Any) -> Any:
    return sweep_maker(make_run, spec, make_selection)


@pytest.fixture
def confirmation(make_run: Maker, spec: Any) -> RunFolder:
    return confirmation_run(make_run, spec)


@pytest.fixture
def suite(sweep: Any, confirmation: RunFolder) -> list[Path]:
    return suite_runs(sweep, confirmation)


def of_all_runs(page: Page) -> list[str]:
    """What is left over above the sections of single runs, which pages of their own tell too."""
    single = {block for article in page.body.all("article") for block in article.walk()}
    page.claimed |= single
    return page.left()


def test_every_number_of_several_runs_is_traced(suite: list[Path], tmp_path: Path) -> None:
    html = write_report(suite, tmp_path / "out").html.read_text(encoding="utf-8")
    page, runs = Page(read_page(html)), [Files(path) for path in suite]
    trace_headlines(page, runs, page.section("headline"))
    trace_matrix(page, runs, page.section("matrix"))
    trace_aggregate(page, runs, page.section("aggregate"))
    page.text(page.body.all("h1")[0], str(len(suite)))
    assert of_all_runs(page) == []


def test_every_number_of_sweeps_side_by_side_is_traced(sweep: Any, tmp_path: Path) -> None:
    one = sweep("one", 413, (0.9, 0.8, 0.7), benchmark="cifar10", method="dfq")
    two = sweep("two", 420, (0.8, 0.92), benchmark="cifar10", method="dfq", seed=4)
    paths = [one.path, two.path]
    html = write_report(paths, tmp_path / "out", compare=True).html.read_text(encoding="utf-8")
    page, runs = Page(read_page(html)), [Files(path) for path in paths]
    trace_headlines(page, runs, page.section("headline"))
    trace_side_by_side(page, runs, page.section("side-by-side"))
    trace_matrix(page, runs, page.section("matrix"))
    (why,) = page.section("aggregate").all("p")
    page.text(why, "2")
    page.text(page.body.all("h1")[0], str(len(runs)))
    assert of_all_runs(page) == []
