"""Every number on the page, traced to the records that it came from."""

import re

import pytest
from page_text import read_page
from traced import trace_mattered, trace_run
from traced_page import Files, Page

from dfkd_tune.records import RunFolder
from reports import write_report


def test_every_number_of_a_sweep_is_traced_to_its_records(realistic: RunFolder) -> None:
    html = write_report([realistic.path]).html.read_text(encoding="utf-8")
    page, files = Page(read_page(html)), Files(realistic.path)
    trace_run(page, files, {"mattered": trace_mattered})
    assert page.left() == []


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("selection.json", ('"both_correct": 409', '"both_correct": 408')),
        ("trials/t0004/metrics.jsonl", ('"total":3.5', '"total":4.5')),
        ("trials/t0011/trial.json", ('"macs": 1234567', '"macs": 1254567')),
    ],
)
def test_a_number_that_is_not_of_the_records_is_found(
    realistic: RunFolder, file: str, change: tuple[str, str]
) -> None:
    html = write_report([realistic.path]).html.read_text(encoding="utf-8")
    changed = realistic.path / file
    text = changed.read_text()
    assert change[0] in text
    changed.write_text(text.replace(*change))
    page, files = Page(read_page(html)), Files(realistic.path)
    with pytest.raises(AssertionError):
        trace_run(page, files, {"mattered": trace_mattered})


def test_a_number_that_nothing_claims_is_found(realistic: RunFolder) -> None:
    html = write_report([realistic.path]).html.read_text(encoding="utf-8")
    changed = re.sub(r"</main>", "<p>42 trials</p></main>", html)
    assert Page(read_page(changed)).left()[-1] == "page: 42 trials"
