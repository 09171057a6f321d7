"""Sweeps of one benchmark side by side: what differs, what came of it, and when it is refused."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfkd_tune.errors import UsageError
from dfkd_tune.records import RunFolder, TestOutcome
from reports import collect_run, write_report
from reports.compute.side_by_side import NOT_SET, SideBySide, difference_interval, side_by_side
from reports.suite import view_sides

Maker = Any
FIRST = TestOutcome(images=450, both_correct=390, student_only=10, teacher_only=50, neither=0)
SECOND = TestOutcome(images=450, both_correct=405, student_only=10, teacher_only=35, neither=0)

Make = Callable[..., RunFolder]


@pytest.fixture
def sweep(make_run: Maker, spec: Any, make_selection: Any) -> Make:
    def make(
        name: str,
        ends: tuple[float, ...],
        test: TestOutcome | None = None,
        **keys: Any,
    ) -> RunFolder:
        # One after another: ten epochs of 50 steps each, and a stopped one in the end.
        specs = [spec(values=(*[0.1] * 9, end)) for end in ends]
        specs.append(spec(values=(0.2, 0.3), state="stopped"))
        selection = make_selection("t0000", test=test) if test else None
        run = make_run(specs, name=name, planned=len(specs), selection=selection)
        return change(run, **keys)

    return make


def change(run: RunFolder, **keys: Any) -> RunFolder:
    old = json.loads(run.experiment_file.read_text())
    run.experiment_file.write_text(json.dumps({**old, **keys}))
    return run


def found(*runs: RunFolder) -> SideBySide:
    return side_by_side([collect_run(run.path) for run in runs])


def test_the_difference_is_that_of_the_counts_with_a_normal_interval() -> None:
    both = difference_interval(FIRST, SECOND)
    assert both is not None
    relative, test = both
    assert relative.value == pytest.approx(100 * (415 / 440 - 400 / 440))
    assert test.value == pytest.approx(100 * (415 - 400) / 450)
    # Two shares of images drawn apart from one another, by the normal approximation.
    error = math.sqrt(sum(p * (1 - p) / 450 for p in (400 / 450, 415 / 450)))
    assert test.low == pytest.approx(test.value - 196 * error, abs=0.3)
    assert test.high == pytest.approx(test.value + 196 * error, abs=0.3)
    # The ratio of two means over the same images, by its linear part.
    variance = 0.0
    for outcome in (FIRST, SECOND):
        pairs = np.repeat(
            [[1, 1], [1, 0], [0, 1], [0, 0]],
            [outcome.both_correct, outcome.student_only, outcome.teacher_only, outcome.neither],
            axis=0,
        )
        student, teacher = pairs.T
        ratio = student.mean() / teacher.mean()
        variance += np.var((student - ratio * teacher) / teacher.mean()) / 450
    assert relative.low == pytest.approx(relative.value - 196 * math.sqrt(variance), abs=0.3)
    assert relative.high == pytest.approx(relative.value + 196 * math.sqrt(variance), abs=0.3)
    assert difference_interval(FIRST, SECOND) == both


def test_the_difference_turns_with_the_order_and_needs_a_teacher() -> None:
    one, other = difference_interval(FIRST, SECOND), difference_interval(SECOND, FIRST)
    assert one is not None
    assert other is not None
    assert one[0].value == -other[0].value
    assert one[0].low == pytest.approx(-other[0].high, abs=0.2)
    blind = TestOutcome(images=9, both_correct=0, student_only=4, teacher_only=0, neither=5)
    assert difference_interval(FIRST, blind) is None


def test_searches_are_compared_at_the_steps_that_all_have_trained(sweep: Make) -> None:
    # Of 500 steps a trial and 100 of the stopped one.
    sides = found(sweep("a", (0.6, 0.7, 0.9)), sweep("b", (0.8,)))
    assert sides.equal_steps == 600
    a, b = sides.columns
    assert (a.path.student_steps, b.path.student_steps) == (1600, 600)
    assert (a.best, b.best) == (0.9, 0.8)
    assert (a.best_at_equal, b.best_at_equal) == (0.6, 0.8)
    assert sides.common == 0.8
    assert (a.steps_to_common, b.steps_to_common) == (1500, 500)
    assert a.summary.counts["stopped"] == 1


def test_without_a_complete_trial_nothing_is_common(sweep: Make) -> None:
    sides = found(sweep("a", (0.6,)), sweep("b", ()))
    assert sides.common is None
    assert [column.best for column in sides.columns] == [0.6, None]
    assert [column.steps_to_common for column in sides.columns] == [None, None]
    assert sides.differences[0].relative is None


def test_what_differs_has_the_values_of_both(sweep: Make) -> None:
    first = {
        "storage": "/one",
        "settings": {"schedule": {"epochs": 10, "batch_size": 64}},
        "dimensions": [
            {"key": "kd.weight", "range": "0.1 to 1", "condition": ""},
            {"key": "same", "range": "1, 2", "condition": ""},
        ],
    }
    second = {
        "storage": "/two",
        "settings": {"schedule": {"epochs": 20, "batch_size": 64}, "seed": None},
        "dimensions": [
            {"key": "kd.weight", "range": "0.1 to 1", "condition": "kd.weight? is on"},
            {"key": "same", "range": "1, 2", "condition": ""},
            {"key": "width", "range": "16, 32", "condition": ""},
        ],
    }
    sides = found(sweep("a", (0.5,), **first), sweep("b", (0.5, 0.6), **second))
    assert {row.key: row.values for row in sides.settings} == {
        "search.trials": ("2", "3"),
        "settings.schedule.epochs": ("10", "20"),
        "settings.seed": (NOT_SET, "none"),
    }
    assert {row.key: row.values for row in sides.space} == {
        "kd.weight": ("0.1 to 1", "0.1 to 1, where kd.weight? is on"),
        "width": (NOT_SET, "16, 32"),
    }


def test_the_figure_is_of_one_objective_only(sweep: Make) -> None:
    runs = sweep("a", (0.6, 0.7)), sweep("b", (0.8,))
    (figure,) = view_sides(found(*runs)).figures.values()
    lines = figure.figure.data
    assert [line.name for line in lines] == ["a", "b"]
    assert list(lines[0].x) == [500, 1000, 1100]
    assert list(lines[0].y) == [0.6, 0.7, 0.7]
    assert len({line.line.dash for line in lines}) == 2
    change(runs[1], search={"objective": "data_free", "trials": 2})
    sides = found(*runs)
    assert not sides.one_objective
    assert view_sides(sides).figures == {}


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (
            lambda run: change(run, benchmark="letters"),
            ("a is of benchmark digits", "b of letters"),
        ),
        (
            lambda run: run.teacher_card_file.write_text(
                run.teacher_card_file.read_text().replace("f" * 64, "9" * 64)
            ),
            ("teacher of a is cnn", "SHA-256 ffffffff", "that of b is cnn", "SHA-256 99999999"),
        ),
        (lambda run: run.teacher_card_file.unlink(), ("that of b is not there yet",)),
        (
            lambda run: run.run_file.write_text(
                run.run_file.read_text().replace('"sweep"', '"comparison"')
            ),
            ("b is of kind comparison",),
        ),
    ],
)
def test_what_cannot_be_compared_is_one_line_and_writes_nothing(
    sweep: Make, tmp_path: Path, edit: Callable[[RunFolder], Any], said: tuple[str, ...]
) -> None:
    runs = sweep("a", (0.5,)), sweep("b", (0.5,))
    edit(runs[1])
    with pytest.raises(UsageError) as caught:
        write_report([run.path for run in runs], tmp_path / "report", compare=True)
    assert "\n" not in str(caught.value)
    for part in said:
        assert part in str(caught.value)
    assert not (tmp_path / "report").exists()
    assert write_report([run.path for run in runs], tmp_path / "report").html.exists()


def test_one_run_alone_cannot_be_compared(sweep: Make) -> None:
    with pytest.raises(UsageError, match="give two run folders or more"):
        write_report([sweep("a", (0.5,)).path], compare=True)


def test_the_page_shows_them_side_by_side(sweep: Make, tmp_path: Path) -> None:
    runs = [
        sweep("a", (0.6,), FIRST, note="</script><script>alert(1)</script>" + "x" * 9000),
        sweep("b", (0.8,), SECOND),
        sweep("c", (0.7,)),
    ]
    files = write_report([run.path for run in runs], tmp_path / "report", compare=True)
    html = files.html.read_text(encoding="utf-8")
    section = re.search(r'<section aria-labelledby="side-by-side">.*?</section>', html, re.DOTALL)
    assert section
    text = section.group().replace("\N{NO-BREAK SPACE}", " ")
    assert "<script>alert" not in html
    assert re.search(r"\+3\.4 <span", text)
    assert re.search(r"\+3\.3 <span", text)
    assert text.count("not run") >= 3
    assert 'id="sides-plot-side-by-side"' in text
    assert "Steps to 60.0 %" in text
    assert text.count("<table") == text.count("<caption>")
    assert '<a href="#side-by-side">' in html
    content = json.loads(files.summary_json.read_text())["compare"]
    assert content["differences"][0]["relative"]["value"] == pytest.approx(100 * 15 / 440)
    assert content["differences"][1]["relative"] is None
    again = write_report([run.path for run in runs], tmp_path / "again", compare=True)
    assert again.html.read_bytes() == files.html.read_bytes()
    plain = write_report([run.path for run in runs], tmp_path / "plain")
    assert "side-by-side" not in plain.html.read_text(encoding="utf-8")
