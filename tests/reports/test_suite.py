"""Several runs in one matrix: what each cell holds, and what is published beside it."""

import json
import math
import re
from typing import Any

import numpy as np
import pytest
from scipy import stats

from dfkd_tune.published import published_results
from dfkd_tune.records import (
    RunFolder,
    SplitScore,
    TeacherCard,
    TestOutcome,
    YardsticksRecord,
    write_record,
)
from reports import collect_run, write_report
from reports.compute.accuracy import relative_accuracy_interval
from reports.compute.matrix import Matrix, matrix

Maker = Any
ALONE = TestOutcome(images=450, both_correct=409, student_only=4, teacher_only=31, neither=6)


def outcome(student: int, teacher: int = 440) -> TestOutcome:
    both = min(student, teacher) - 5
    rest = {"student_only": student - both, "teacher_only": teacher - both}
    return TestOutcome(
        images=450, both_correct=both, **rest, neither=450 - both - sum(rest.values())
    )


def on(folder: RunFolder, benchmark: str, method: str, teacher: str, **keys: Any) -> RunFolder:
    old = json.loads(folder.experiment_file.read_text())
    new = {**old, "benchmark": benchmark, "method": method, **keys}
    folder.experiment_file.write_text(json.dumps(new))
    card = json.loads(folder.teacher_card_file.read_text())
    card |= {"benchmark": benchmark, "architecture": teacher}
    folder.teacher_card_file.write_text(json.dumps(card))
    return folder


def of(*folders: RunFolder) -> Matrix:
    return matrix([(f"run-{n}", collect_run(f.path)) for n, f in enumerate(folders, start=1)])


@pytest.fixture
def sweep(make_run: Maker, spec: Any, make_selection: Any) -> Any:
    def make(
        name: str, benchmark: str, method: str, test: TestOutcome | None = ALONE, **keys: Any
    ) -> RunFolder:
        trials = [
            spec(values=(0.5, 0.9), architecture="resnet18", width=keys.pop("width", 1.0)),
            spec(values=(0.4,), state="stopped", architecture="resnet18", width=1.0),
        ]
        selection = make_selection("t0000", test=test) if test else None
        run = make_run(trials, name=name, planned=4, selection=selection)
        return on(run, benchmark, method, "resnet34", **keys)

    return make


@pytest.fixture
def confirmation(make_run: Maker, spec: Any) -> RunFolder:
    comparison = {
        "what": "confirmation",
        "source": "/runs/one",
        "seeds": 3,
        "variants": [{"name": "t0000"}, {"name": "t0004"}],
    }
    trials = [
        spec(
            values=(0.5, end),
            architecture="resnet18",
            width=1.0,
            variant=variant,
            test=outcome(students),
        )
        for variant, end, counts in (("t0000", 0.9, (410, 400, 396)), ("t0004", 0.8, (430,) * 3))
        for students in counts
    ]
    run = make_run(trials, name="one-confirmed", kind="comparison", comparison=comparison)
    return on(run, "cifar10", "dfq", "resnet34")


def test_a_cell_of_one_search_has_the_interval_over_images(sweep: Any) -> None:
    found = of(sweep("one", "cifar10", "dfq"))
    assert found.methods == ("dfq",)
    (row,) = found.rows
    assert (row.benchmark, row.student) == ("cifar10", None)
    cell = row.cells["dfq"]
    assert cell.values == (pytest.approx(100 * 413 / 440),)
    assert cell.interval == relative_accuracy_interval(ALONE)
    assert cell.over == "images"
    assert cell.student_accuracy == pytest.approx(100 * 413 / 450)
    assert cell.teacher_accuracy == pytest.approx(100 * 440 / 450)
    assert (cell.finished, cell.planned) == (2, 4)
    assert cell.runs == (("run-1", "one"),)
    assert (cell.to_real, cell.to_kd) == (None, None)


def test_seeds_that_no_choice_had_seen_are_the_cell(sweep: Any, confirmation: RunFolder) -> None:
    (row,) = of(sweep("one", "cifar10", "dfq"), confirmation).rows
    cell = row.cells["dfq"]
    values = [100 * students / 440 for students in (410, 400, 396)]
    assert cell.values == pytest.approx(values)
    assert cell.interval is not None
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert cell.interval.value == pytest.approx(np.mean(values))
    assert (cell.interval.low, cell.interval.high) == pytest.approx((low, high))
    assert cell.over == "seeds"
    assert cell.finished == 2 + 3
    assert [name for _, name in cell.runs] == ["one", "one-confirmed"]


def test_several_searches_of_a_cell_are_averaged(sweep: Any) -> None:
    (row,) = of(sweep("a", "cifar10", "dfq"), sweep("b", "cifar10", "dfq", outcome(396))).rows
    cell = row.cells["dfq"]
    assert cell.values == pytest.approx((100 * 413 / 440, 90.0))
    assert cell.over == "searches"


def test_a_comparison_of_methods_fills_a_row(make_run: Maker, spec: Any) -> None:
    variants = [{"name": "dfq"}, {"name": "mad"}, {"name": "cmi"}]
    comparison = {"what": "methods", "seeds": 2, "variants": variants}
    trials = [
        spec(values=(0.5,), variant="dfq", test=outcome(400)),
        spec(values=(0.5,), variant="dfq", test=outcome(420)),
        spec(values=(0.5,), variant="mad", test=outcome(380)),
        spec(values=(0.5,), variant="mad", state="diverged"),
        spec(values=(0.5,), variant="cmi", state="running"),
    ]
    found = of(make_run(trials, kind="comparison", comparison=comparison))
    assert found.methods == ("dfq", "mad", "cmi")
    cells = found.rows[0].cells
    assert cells["dfq"].values == pytest.approx((100 * 400 / 440, 100 * 420 / 440))
    assert cells["mad"].over == "images"
    assert (cells["mad"].finished, cells["mad"].planned) == (1, 2)
    assert cells["cmi"].missing == "not measured yet"


def test_missing_is_said_and_never_zero(sweep: Any, make_run: Maker, spec: Any) -> None:
    unlabelled = make_run(
        [spec(values=(0.5,))], name="bare", objective="unlabelled_real", data="unlabelled"
    )
    found = of(
        sweep("a", "cifar10", "dfq"),
        sweep("b", "cub200", "cmi", None),
        on(unlabelled, "own", "dfq", "cnn"),
    )
    told = {(row.benchmark, m): cell.missing for row in found.rows for m, cell in row.cells.items()}
    assert told == {
        ("cifar10", "dfq"): "",
        ("cifar10", "cmi"): "not run",
        ("cub200", "dfq"): "not run",
        ("cub200", "cmi"): "not measured yet",
        ("own", "dfq"): "no labels",
        ("own", "cmi"): "not run",
    }
    for entry in found.as_json():
        if entry["missing"]:
            assert entry["mean"] is entry["student_accuracy"] is entry["interval"] is None


def test_an_ablation_is_no_method(make_run: Maker, spec: Any) -> None:
    comparison = {"what": "ablation", "seeds": 1, "variants": [{"name": "full"}]}
    trials = [spec(values=(0.5,), variant="full", test=ALONE)]
    assert of(make_run(trials, kind="comparison", comparison=comparison)) == Matrix(
        methods=(), rows=()
    )


def test_several_fixed_students_have_a_row_each(sweep: Any) -> None:
    searched = [{"key": "student.width", "range": "0.25 to 1"}]
    found = of(
        sweep("a", "cifar10", "dfq", width=0.5),
        sweep("b", "cifar10", "dfq", width=1.0),
        sweep("c", "cifar10", "dfq", dimensions=searched),
        sweep("d", "cub200", "dfq"),
    )
    times = "\N{MULTIPLICATION SIGN}"
    assert [(row.benchmark, row.student) for row in found.rows] == [
        ("cifar10", f"resnet18 {times} 0.5"),
        ("cifar10", f"resnet18 {times} 1"),
        ("cifar10", "searched"),
        ("cub200", None),
    ]


def test_all_three_ratios(sweep: Any) -> None:
    run = sweep("one", "cifar10", "dfq")

    def card(correct: int) -> TeacherCard:
        score = SplitScore(accuracy=correct / 450, correct=correct, images=450)
        old = collect_run(run.path).teacher
        assert old is not None
        return old.model_copy(update={"architecture": "resnet18", "scores": {"test": score}})

    record = YardsticksRecord(trial="t0000", real=card(430), kd=card(420), time="")
    write_record(run.yardsticks_file, record)
    cell = of(run).rows[0].cells["dfq"]
    assert cell.to_real == pytest.approx(100 * 413 / 430)
    assert cell.to_kd == pytest.approx(100 * 413 / 420)
    other = record.model_copy(update={"real": card(430).model_copy(update={"width": 0.5})})
    write_record(run.yardsticks_file, other)
    assert of(run).rows[0].cells["dfq"].to_real is None


def test_published_figures_stand_beside_with_what_is_not_alike(sweep: Any) -> None:
    found = of(
        sweep("a", "cifar10", "dfq", inputs={"height": 64}),
        sweep("b", "cifar10", "cgdd"),
        sweep("c", "cub200", "cmi"),
        sweep("d", "digits", "dfq"),
    )
    cells = {(row.benchmark, m): cell for row in found.rows for m, cell in row.cells.items()}
    same = cells["cifar10", "dfq"].published
    assert same is not None
    assert same.same_networks
    best = max(
        r.relative_accuracy or -math.inf
        for r in published_results("cifar10")
        if (r.method, r.teacher, r.student) == ("DFQ", "resnet34", "resnet18")
    )
    assert same.result.relative_accuracy == best
    for part in (
        same.result.source,
        "resnet34 → resnet18",
        "best test epoch of one run, here the last of 10 epochs",
        "images of 32 pixels, here 64",
    ):
        assert part in same.note
    unnamed = cells["cifar10", "cgdd"].published
    assert unnamed is not None
    assert not unnamed.same_networks
    assert "networks not named" in unnamed.note
    other = cells["cub200", "cmi"].published
    assert other is not None
    assert "other networks than here" in other.note
    # What is published stands also where nothing was run; where nothing is published, none does.
    assert cells["cub200", "dfq"].missing == "not run"
    assert cells["cub200", "dfq"].published is not None
    assert cells["digits", "dfq"].published is None


def test_the_page_of_several_runs_has_the_matrix(
    sweep: Any, confirmation: RunFolder, tmp_path: Any
) -> None:
    runs = [
        sweep("one", "cifar10", "dfq"),
        confirmation,
        sweep("two", "cub200", "cmi", None),
        sweep("<b>three", "digits", "<i>mine"),
    ]
    files = write_report([run.path for run in runs], tmp_path / "report")
    html = files.html.read_text(encoding="utf-8")
    section = re.search(r'<section aria-labelledby="matrix">.*?</section>', html, re.DOTALL)
    assert section
    text = section.group().replace("\N{NO-BREAK SPACE}", " ")
    assert "<strong>91.4 %</strong>" in text
    assert "3 seeds, 5 trials" in text
    assert text.count('id="matrix-note-') >= 2
    assert "&lt;i&gt;mine" in text
    assert "<i>mine" not in html
    assert text.count("not measured yet") >= 1
    assert text.count("<table") == text.count("<caption>") == 2
    content = json.loads(files.summary_json.read_text())
    entry = next(
        e for e in content["matrix"] if (e["benchmark"], e["method"]) == ("cifar10", "dfq")
    )
    assert entry["mean"] == pytest.approx(np.mean([100 * n / 440 for n in (410, 400, 396)]))
    assert entry["published"]["teacher_accuracy"] == 95.7
    assert "matrix" not in json.loads(write_report([runs[0].path]).summary_json.read_text())
