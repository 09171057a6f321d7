"""Every number on the pages of comparisons, traced to their records."""

from typing import Any

import pytest
from page_text import read_page
from traced import trace_sections
from traced_comparison import COMPARED, trace_verdict_of_confirmation
from traced_page import Files, Page
from traced_runs import ablation_run, confirmation_run, methods_run

from dfkd_tune.records import RunFolder
from reports import write_report

Maker = Any


def trace_all(run: RunFolder, **more: Any) -> None:
    """Trace all numbers of a comparison's page."""
    html = write_report([run.path]).html.read_text(encoding="utf-8")
    page, files = Page(read_page(html)), Files(run.path)
    trace_sections(page, files, {**COMPARED, **more})
    assert page.left() == []


def test_every_number_of_a_confirmation_is_traced(make_run: Maker, spec: Any) -> None:
    trace_all(confirmation_run(make_run, spec), Verdict=trace_verdict_of_confirmation)


def test_every_number_of_an_ablation_is_traced(make_run: Maker, spec: Any) -> None:
    trace_all(ablation_run(make_run, spec))


@pytest.mark.parametrize("seeds", [1, 3])
def test_every_number_of_a_comparison_of_methods_is_traced(
    make_run: Maker, spec: Any, seeds: int
) -> None:
    trace_all(methods_run(make_run, spec, seeds))


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("trials/t0001/test.json", ('"both_correct": 301', '"both_correct": 311')),
        ("experiment.json", ('"seeds": 2', '"seeds": 3')),
    ],
)
def test_a_number_that_is_not_of_the_records_is_found(
    make_run: Maker, spec: Any, file: str, change: tuple[str, str]
) -> None:
    run = ablation_run(make_run, spec)
    html = write_report([run.path]).html.read_text(encoding="utf-8")
    changed = run.path / file
    text = changed.read_text()
    assert change[0] in text
    changed.write_text(text.replace(*change))
    with pytest.raises(AssertionError):
        trace_sections(Page(read_page(html)), Files(run.path), COMPARED)
