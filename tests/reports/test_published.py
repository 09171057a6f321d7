"""Published results beside a run: which rows, in which order, and how the page marks them."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from dfkd_tune.published import published_results
from dfkd_tune.records import RunFolder
from reports import RunData, collect_run, write_report
from reports.compute.published import (
    compare_published,
    own_result,
    protocol_words,
    run_networks,
)

Maker = Any


@pytest.fixture
def cifar_run(make_run: Maker, spec: Any, make_selection: Any) -> RunFolder:
    """A run on cifar10 of wrn40_2 to wrn16_1 with a selected trial."""
    trial = spec(values=(0.5, 0.9), architecture="wrn16_1", width=1.0)
    return on(make_run([trial], selection=make_selection("t0000")), "cifar10")


def on(folder: RunFolder, benchmark: str, teacher: str = "wrn40_2", **experiment: Any) -> RunFolder:
    """Make it a run on another benchmark."""
    old = json.loads(folder.experiment_file.read_text())
    folder.experiment_file.write_text(json.dumps({**old, "benchmark": benchmark, **experiment}))
    card = json.loads(folder.teacher_card_file.read_text())
    card |= {"benchmark": benchmark, "architecture": teacher}
    folder.teacher_card_file.write_text(json.dumps(card))
    return folder


def page(folder: RunFolder) -> str:
    return write_report([folder.path]).html.read_text(encoding="utf-8")


def section(html: str) -> str:
    found = re.search(r'<section aria-labelledby="run-1-published">.*?</section>', html, re.DOTALL)
    assert found
    return found.group()


def test_rows_of_the_same_networks_come_first(cifar_run: RunFolder) -> None:
    found = compare_published(collect_run(cifar_run.path))
    assert found is not None
    assert found.benchmark == "cifar10"
    assert {(r.teacher, r.student) for r in found.same_networks} == {("wrn40_2", "wrn16_1")}
    assert [r.method for r in found.same_networks[:3]] == ["student on real data", "AdaDFKD", "CMI"]
    assert {r.method for r in found.unnamed_networks} == {"CGDD", "LS-GDFD"}
    groups = (found.same_networks, found.unnamed_networks, found.other_networks)
    assert sum(map(len, groups)) == len(published_results("cifar10"))
    assert not set(found.same_networks) & set(found.other_networks)


def test_own_result_is_the_selected_student_on_the_test_split(cifar_run: RunFolder) -> None:
    own = own_result(collect_run(cifar_run.path))
    assert own is not None
    assert own.trial == "t0000"
    assert own.method == "cgdd"
    assert own.student_accuracy == pytest.approx(100 * 413 / 450)
    assert own.teacher_accuracy == pytest.approx(100 * 440 / 450)
    assert own.relative_accuracy is not None
    assert own.relative_accuracy.value == pytest.approx(100 * 413 / 440)
    assert own.teacher == "wrn40_2 \N{MULTIPLICATION SIGN} 1"
    assert own.student == "wrn16_1 \N{MULTIPLICATION SIGN} 1"


def test_a_scaled_network_is_not_the_published_one(cifar_run: RunFolder) -> None:
    run = collect_run(cifar_run.path)
    assert run_networks(run) == ("wrn40_2", "wrn16_1")
    assert run.teacher is not None
    narrow = replace(run, teacher=run.teacher.model_copy(update={"width": 0.5}))
    assert run_networks(narrow) == (None, "wrn16_1")
    found = compare_published(narrow)
    assert found is not None
    assert found.same_networks == ()
    assert run_networks(replace(run, teacher=None, trials=())) == (None, None)


def test_nothing_is_published_on_the_digits(realistic: RunFolder) -> None:
    assert compare_published(collect_run(realistic.path)) is None


def test_unknown_benchmark(cifar_run: RunFolder) -> None:
    assert (
        compare_published(replace(collect_run(cifar_run.path), experiment={}, teacher=None)) is None
    )


def words(run: RunData) -> str:
    return protocol_words(run, published_results("cifar10"))


def test_protocol_tells_how_often_the_test_split_was_touched(
    cifar_run: RunFolder, make_selection: Any
) -> None:
    run = collect_run(cifar_run.path)
    assert "this run touched the test split once" in words(run)
    assert "most published code reports the best epoch on its test split" in words(run)
    often = make_selection("t0000", test_evaluations=4)
    assert "4 students of this run met the test split" in words(replace(run, selection=often))
    assert "not touched the test split yet" in words(replace(run, selection=None))


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({"height": 64}, True),
        ({"height": 32}, False),
        ({"height": True}, False),
        ({}, False),
        (None, False),
        ("32", False),
    ],
)
def test_protocol_tells_of_another_image_size(
    cifar_run: RunFolder, inputs: Any, told: bool
) -> None:
    run = collect_run(cifar_run.path)
    run = replace(run, experiment={**run.experiment, "inputs": inputs})
    sentence = "images are 64 pixels high here and 32 in what is published"
    assert (sentence in words(run)) is told
    assert ("pixels" in words(run)) is told


def test_page_shows_published_results_beside_the_run(cifar_run: RunFolder) -> None:
    html = page(cifar_run)
    shown = section(html)
    assert '<a href="#run-1-published">Published results</a>' in html
    assert html.index('"run-1-leaderboard"') < html.index('"run-1-published"')
    assert shown.index("this run</span>") < shown.index("AdaDFKD")
    assert "Published, not run here: the same networks" in shown
    assert "zju-vipa/CMI@0e2b421 README" in shown
    assert "90.01" in shown
    assert "as stated there" in shown
    assert shown.index("<details") < shown.index("vgg11")
    assert shown.count("<caption>") == shown.count("<table") == 2
    assert "<th>" not in shown


def test_page_leaves_the_section_out_where_nothing_is_published(realistic: RunFolder) -> None:
    html = page(realistic)
    assert "Published results" not in html
    assert "run-1-published" not in html


def test_page_without_a_selection_has_no_own_row(make_run: Maker, spec: Any) -> None:
    trials = [spec(values=(0.5,), state="running", architecture="resnet18_imagenet", width=1)]
    shown = section(page(on(make_run(trials), "cub200", teacher="resnet34_imagenet")))
    assert "no test accuracy yet" in shown
    assert "this run</span>" not in shown
    assert "DFKD-FGVC" in shown
    assert "<details" not in shown


def test_page_says_so_where_the_networks_are_others(make_run: Maker) -> None:
    shown = section(page(on(make_run(teacher=True), "aircraft", teacher="cnn")))
    assert "No published result is known for this run's teacher and student" in shown
    assert shown.count("<table") == 1
    assert shown.index("<details") < shown.index("<table")


def test_foreign_text_is_escaped(make_run: Maker, spec: Any, make_selection: Any) -> None:
    evil = "<img src=x onerror=alert(1)>"
    trial = spec(values=(0.5,), architecture=evil, width=1.0)
    run = make_run([trial], selection=make_selection("t0000"))
    html = page(on(run, "cifar10", teacher=evil, method=evil))
    assert "<img src=x" not in html
    assert "&lt;img src=x" in section(html)
