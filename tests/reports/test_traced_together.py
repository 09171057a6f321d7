"""Every number that a page tells of several runs together, traced to their records."""

import json
from pathlib import Path
from typing import Any

import pytest
from page_text import read_page
from traced import ALWAYS, Files, Page
from traced_together import (
    trace_aggregate,
    trace_comparison,
    trace_headlines,
    trace_matrix,
    trace_side_by_side,
    trace_verdict_of_comparison,
)

from dfkd_tune.records import RunFolder, TestOutcome
from reports import write_report

Maker = Any


def outcome(student: int, teacher: int = 440) -> TestOutcome:
    both = min(student, teacher) - 5
    rest = {"student_only": student - both, "teacher_only": teacher - both}
    return TestOutcome(
        images=450, both_correct=both, **rest, neither=450 - both - sum(rest.values())
    )


@pytest.fixture
def sweep(make_run: Maker, spec: Any, make_selection: Any) -> Any:
    """Writes a sweep of three complete trials and one that was stopped."""

    def make(name: str, right: int, ends: tuple[float, ...], **keys: Any) -> RunFolder:
        own = {"architecture": "resnet18", "width": 1.0}
        specs = [spec(values=(*[0.1] * 9, end), **own) for end in ends]
        specs.append(spec(values=(0.2, 0.3), state="stopped", **own))
        test = outcome(right)
        selection = make_selection("t0000", test=test, candidates=len(ends))
        run = make_run(specs, name=name, planned=8, selection=selection)
        return change(run, **keys)

    return make


@pytest.fixture
def confirmation(make_run: Maker, spec: Any) -> RunFolder:
    """Two configurations of a sweep, three seeds each."""
    variants = [{"name": name, "words": f"of {name}"} for name in ("t0000", "t0002")]
    comparison = {"what": "confirmation", "source": "/runs/one", "seeds": 3, "variants": variants}
    trials = [
        spec(
            values=(*[0.5] * 5, end - 0.001 * right, end),
            architecture="resnet18",
            width=1.0,
            variant=variant,
            test=outcome(right),
        )
        for variant, end, counts in (
            ("t0000", 0.9, (410, 400, 396)),
            ("t0002", 0.8, (430, 424, 431)),
        )
        for right in counts
    ]
    run = make_run(trials, name="one-confirmed", kind="comparison", comparison=comparison)
    return change(run, benchmark="cifar10", method="dfq")


def change(run: RunFolder, benchmark: str, method: str, **keys: Any) -> RunFolder:
    experiment = json.loads(run.experiment_file.read_text())
    experiment |= {"benchmark": benchmark, "method": method, **keys}
    run.experiment_file.write_text(json.dumps(experiment))
    card = json.loads(run.teacher_card_file.read_text())
    card |= {"benchmark": benchmark, "architecture": "resnet34"}
    run.teacher_card_file.write_text(json.dumps(card))
    return run


@pytest.fixture
def suite(sweep: Any, confirmation: RunFolder) -> list[Path]:
    """A search and its confirmation, and two searches on another benchmark."""
    one = sweep("one", 413, (0.9, 0.8, 0.7), benchmark="cifar10", method="dfq")
    three = sweep("three", 390, (0.7, 0.6), benchmark="cifar100", method="cmi")
    four = sweep("four", 380, (0.7, 0.6), benchmark="cifar100", method="dfq")
    return [one.path, confirmation.path, three.path, four.path]


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


def test_every_number_of_a_comparison_is_traced(confirmation: RunFolder) -> None:
    """But for what the page of a sweep tells in the same way."""
    html = write_report([confirmation.path]).html.read_text(encoding="utf-8")
    page, files = Page(read_page(html)), Files(confirmation.path)
    own = {"Verdict": trace_verdict_of_comparison, "comparison": trace_comparison}
    own |= {name: ALWAYS[name] for name in ("history", "leaderboard", "curves", "losses", "time")}
    names = {name: name if name == "Verdict" else f"run-1-{name}" for name in own}
    for name, trace in own.items():
        trace(page, files, page.section(names[name]))
    assert [text for text in page.left() if text.split(":")[0] in names.values()] == []
