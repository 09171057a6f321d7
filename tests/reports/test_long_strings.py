"""Runs in whose records every string is hostile and has 10,000 characters."""

from pathlib import Path
from typing import Any

import pytest
from long_strings import EVIL, LONG, lengthen
from page_text import Element, blocks, read_page
from traced_runs import confirmation_run, searched_run, sweep_maker

from dfkd_tune.records import RunFolder
from reports import summarise, write_report

Maker = Any
LONGEST = 2_000
"""Characters of a block that is not made for a long text."""


@pytest.fixture
def runs(
    make_run: Maker, make_kind: Maker, spec: Any, make_selection: Any, look: Any, realistic: Any
) -> dict[str, RunFolder]:
    """Runs that between them have every kind of record."""
    data_free = make_kind("data_free", "labelled")
    look(data_free, "t0003")
    return {
        "realistic": realistic,
        "searched": searched_run(make_run, spec, make_selection),
        "confirmed": confirmation_run(make_run, spec),
        "data-free": data_free,
    }


@pytest.mark.parametrize("links", [False, True])
@pytest.mark.parametrize("name", ["realistic", "searched", "confirmed", "data-free"])
def test_long_strings_break_nothing_and_are_shown_in_short(
    runs: dict[str, RunFolder], name: str, links: bool
) -> None:
    run = runs[name]
    assert lengthen(run.path, links=links) > 50
    summary = summarise(run.path)
    assert summary.finished == len(summary.leaderboard)
    for text in (summary.state_words, summary.verdict):
        assert len(text) < LONGEST
    body = page_of(run.path)
    assert "Unreadable records" not in {heading.own for heading in body.all("h3")}
    long = [block.own for block in blocks(body) if len(block.own) > LONGEST and not whole(block)]
    assert [text[:200] for text in long] == []


def test_long_strings_of_several_runs(
    make_run: Maker, spec: Any, make_selection: Any, tmp_path: Path
) -> None:
    sweep = sweep_maker(make_run, spec, make_selection)
    runs = [
        sweep("one", 413, (0.9, 0.8, 0.7), benchmark="cifar10", method="dfq"),
        sweep("two", 420, (0.8, 0.92), benchmark="cifar10", method="dfq", seed=4),
    ]
    for run in runs:
        lengthen(run.path, links=False)
    html = write_report([run.path for run in runs], tmp_path / "out", compare=True).html
    body = read_page(html.read_text(encoding="utf-8"))
    long = [block.own for block in blocks(body) if len(block.own) > LONGEST and not whole(block)]
    assert [text[:200] for text in long] == []


def page_of(path: Path) -> Element:
    html = write_report([path]).html.read_text(encoding="utf-8")
    assert EVIL not in html.replace("&lt;", "")
    assert "&lt;/script&gt;" in html
    return read_page(html)


def whole(block: Element) -> bool:
    """Whether a block shows a text as it is, and scrolls."""
    here: Element | None = block
    while here is not None:
        if here.tag == "pre" or "whole" in here.classes:
            return True
        here = here.above
    return False


def test_whole_texts_are_there(realistic: RunFolder) -> None:
    """Of what is shown in short, the command, the settings and the errors are there in whole."""
    lengthen(realistic.path, links=False)
    shown = [block.own for block in blocks(page_of(realistic.path)) if whole(block)]
    assert sum(LONG.split()[-1] in text for text in shown) >= 4
