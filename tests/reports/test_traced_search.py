"""Every number on the page of a sweep with all that a sweep can have, traced to its records."""

from typing import Any

import pytest
from page_text import read_page
from traced import trace_run
from traced_page import Files, Page
from traced_runs import searched_run
from traced_search import SEARCHED

from dfkd_tune.records import RunFolder
from reports import write_report

Maker = Any


@pytest.fixture
def searched(make_run: Maker, spec: Any, make_selection: Any) -> RunFolder:
    return searched_run(make_run, spec, make_selection)


def test_every_number_of_a_search_is_traced_to_its_records(searched: RunFolder) -> None:
    html = write_report([searched.path]).html.read_text(encoding="utf-8")
    page, files = Page(read_page(html)), Files(searched.path)
    trace_run(page, files, SEARCHED)
    assert page.left() == []
