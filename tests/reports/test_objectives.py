"""Every search objective on every kind of data: the right words, and no number nobody measured."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dfkd_tune.records import RunFolder
from reports import collect_run, summarise, write_report
from reports.compute.caveats import caveats
from reports.configuration import network_name, short_architecture
from reports.objectives import data_kind, objective_name, objective_words

Maker = Any
KINDS = [
    ("val_real", "labelled"),
    ("unlabelled_real", "labelled"),
    ("unlabelled_real", "unlabelled"),
    ("data_free", "labelled"),
    ("data_free", "unlabelled"),
    ("data_free", "none"),
    ("test_peeking", "labelled"),
]
MEASURES = {
    ("val_real", "labelled"): "validation accuracy",
    ("unlabelled_real", "labelled"): "agreement with the teacher on the validation images",
    ("unlabelled_real", "unlabelled"): "agreement with the teacher on unlabelled images",
    ("data_free", "labelled"): "agreement with the teacher on the audit set",
    ("data_free", "unlabelled"): "agreement with the teacher on the audit set",
    ("data_free", "none"): "agreement with the teacher on the audit set",
    ("test_peeking", "labelled"): "test accuracy",
}
NAMES = "t0003 (resnet18 \N{MULTIPLICATION SIGN} 0.5, 23,456 parameters)"


class Text(HTMLParser):
    """The text of a page, without style and script, and its attributes for readers aloud."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hidden += tag in {"script", "style"}
        self.parts += [value or "" for name, value in attrs if name == "aria-label"]

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in {"script", "style"}

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.parts.append(data)


def html_of(run: RunFolder) -> str:
    return write_report([run.path]).html.read_text(encoding="utf-8")


def text_of(html: str) -> str:
    reader = Text()
    reader.feed(html)
    return re.sub(r"\s+", " ", " ".join(reader.parts).replace("\N{NO-BREAK SPACE}", " "))


def figures_of(html: str) -> dict[str, Any]:
    found = re.findall(r'data-for="run-1-plot-([^"]+)">(.*?)</script>', html)
    return {name: json.loads(text) for name, text in found}


def facts_of(html: str) -> str:
    found = re.search(r'<dl class="facts">(.*?)</dl>', html, re.DOTALL)
    assert found
    return text_of(found.group(1))


def said(run: RunFolder) -> str:
    return summarise(run.path).verdict.replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(("objective", "data"), KINDS)
def test_page_names_what_was_measured(make_kind: Maker, objective: str, data: str) -> None:
    html = html_of(make_kind(objective, data))
    text, measures = text_of(html), MEASURES[objective, data]
    assert f"ranked by their last {measures}" in text
    assert f"Each mark is one trial at its last {measures}" in text
    assert f"{measures[0].upper()}{measures[1:]} within a quarter" in text
    figures = figures_of(html)
    titles = {
        name: figures[name]["layout"]["yaxis"]["title"]["text"].replace("<br>", " ")
        for name in ("history-order", "history-seconds", "curves")
    }
    assert titles == {
        "history-order": f"last {measures}",
        "history-seconds": f"last {measures}",
        "curves": measures,
    }
    assert "Value of the search objective" in text
    by_accuracy = objective in ("val_real", "test_peeking")
    assert ("Last accuracy" in text) is by_accuracy
    assert ("Last agreement" in text) is not by_accuracy
    assert "4.23 ms" in text


@pytest.mark.parametrize(("objective", "data"), KINDS)
@pytest.mark.parametrize("selected", [True, False])
def test_nothing_is_shown_that_was_not_measured(
    make_kind: Maker, objective: str, data: str, selected: bool
) -> None:
    run = make_kind(objective, data, selected=selected)
    html = html_of(run)
    text = text_of(html)
    assert not re.search(r"(?<![\d.])0\.0 %", text)
    assert "nan" not in text.lower().split()
    assert "None" not in text.split()
    facts = facts_of(html)
    assert ("not measurable: no labels" in facts) is (data != "labelled")
    assert ("Relative accuracy, test" in facts) is (data == "labelled")
    assert ("no labels" in text) is (data != "labelled")
    teacher = [t for t in figures_of(html)["curves"]["data"] if t["name"] == "teacher"]
    assert bool(teacher) is (objective == "val_real")
    board = html[html.index('class="board"') : html.index("</table>", html.index('class="board"'))]
    assert ('data-key="relative"' in board) is (objective == "val_real")
    cells = [len(re.findall(r"<t[dh][ >]", row)) for row in board.split("<tr")[1:]]
    wide = max(cells)
    assert sorted(set(cells)) == [1, wide]
    assert f'colspan="{wide}"' in board
    if data != "labelled":
        assert "% relative accuracy" not in text
        assert summarise(run.path).relative_accuracy is None


def test_a_figure_that_was_chosen_by_is_called_so_everywhere(make_kind: Maker) -> None:
    run = make_kind("test_peeking", "labelled", test_evaluations=6)
    text = text_of(html_of(run))
    assert "by which it was itself chosen among 5 complete trials, so the figure flatters" in said(
        run
    )
    assert "Relative accuracy, test, by which it was chosen" in facts_of(html_of(run))
    assert "chosen by it" in text
    assert "No figure on that split is an honest estimate then" in text
    assert "6 trials of this run met the test split after every evaluation" in text
    assert "touched once" not in text
    assert "untouched" not in text_of(html_of(make_kind("test_peeking", "none", selected=False)))


@pytest.mark.parametrize("data", ["labelled", "unlabelled", "none"])
def test_a_choice_by_the_pool_is_called_so(make_kind: Maker, data: str) -> None:
    run = make_kind("data_free", data, pool_agreement=0.456)
    verdict = said(run)
    by = "agreement with the teacher on the synthetic images of the other trials"
    assert by in verdict
    assert "audit set" not in verdict
    assert ("45.6 %" in verdict) is (data == "none")
    assert "each student's own left out" in " ".join(caveats(collect_run(run.path)))


def test_a_choice_by_both_kinds_of_synthetic_images_is_called_so(make_kind: Maker) -> None:
    run = make_kind("data_free", "none", synthetic_agreement=0.456)
    verdict = said(run)
    assert "mean agreement with the teacher on the audit set and on the synthetic images" in verdict
    assert "45.6 %" in verdict
    told = " ".join(caveats(collect_run(run.path)))
    assert "by the mean agreement with the teacher on the audit set" in told
    assert "each student's own left out" in told


def test_verdict_by_labels(make_kind: Maker) -> None:
    for objective, by in (
        ("val_real", "accuracy on the validation split"),
        (
            "unlabelled_real",
            "agreement with the teacher on the validation images, without their labels",
        ),
        (
            "data_free",
            "agreement with the teacher on an audit set made from the teacher alone",
        ),
    ):
        verdict = said(make_kind(objective, "labelled"))
        assert verdict.startswith(f"The best student, {NAMES}, reaches 93.9 % (95 % interval 91.")
        assert verdict.endswith(f"chosen among 5 complete trials by {by}; one seed.")


def test_verdict_by_held_out_agreement(make_kind: Maker) -> None:
    assert said(make_kind("unlabelled_real", "unlabelled")) == (
        f"The best student, {NAMES}, chooses the teacher's class on 93.6 % of 250 unlabelled "
        "images that the choice has not seen (95 % interval 89.9 to 96.0 %); chosen among 5 "
        "complete trials by agreement with the teacher on unlabelled images; one seed."
    )
    assert "on an audit set made from the teacher alone; one seed." in said(
        make_kind("data_free", "unlabelled")
    )


def test_verdict_without_any_data(make_kind: Maker) -> None:
    assert said(make_kind("data_free", "none")) == (
        f"The best student, {NAMES}, has 93.0 % agreement with the teacher on an audit set made "
        "from the teacher alone, by which it was chosen among 5 complete trials; no real image "
        "was there to measure its accuracy by; one seed."
    )


@pytest.mark.parametrize(
    ("objective", "data", "end"),
    [
        ("unlabelled_real", "unlabelled", "the unlabelled images kept apart are untouched."),
        ("data_free", "labelled", "the test split is untouched."),
        ("data_free", "none", "no real image was there to measure accuracy by."),
    ],
)
def test_verdict_without_a_selection(make_kind: Maker, objective: str, data: str, end: str) -> None:
    run = make_kind(objective, data, selected=False)
    verdict = said(run)
    explained = objective_words(collect_run(run.path)).explained
    assert f"{NAMES} has 93.0 % {explained}, best of 5 complete trials; one seed, and" in verdict
    assert verdict.endswith(end)


def test_only_complete_trial(make_kind: Maker) -> None:
    assert "the only complete trial; no real image" in said(
        make_kind("data_free", "none", candidates=1)
    )


def test_complete_trials_without_a_value(make_run: Maker, spec: Any) -> None:
    assert said(make_run([spec()])) == (
        "No verdict: 1 trial of this run is complete, and no value of the search objective is "
        "recorded."
    )


@pytest.mark.parametrize(("objective", "data"), KINDS)
def test_summary_json_holds_objective_value_and_agreement(
    make_kind: Maker, objective: str, data: str
) -> None:
    files = write_report([make_kind(objective, data).path])
    (run,) = json.loads(files.summary_json.read_text())["runs"]
    assert run["objective"] == objective
    assert run["data"] == data
    assert run["measures"] == MEASURES[objective, data]
    assert run["value"] == 0.93
    assert (run["held_out_agreement"] is not None) is (data == "unlabelled")
    assert (run["relative_accuracy"] is not None) is (data == "labelled")
    if data == "unlabelled":
        assert run["held_out_agreement"]["value"] == pytest.approx(93.6)
    assert (run["teacher_validation_accuracy"] is None) is (data != "labelled")


@pytest.mark.parametrize(("objective", "data"), KINDS)
def test_tables_hold_the_value_and_no_undefined_ratio(
    make_kind: Maker, objective: str, data: str
) -> None:
    files = write_report([make_kind(objective, data).path])
    trials, curves = pd.read_csv(files.trials_csv), pd.read_csv(files.curves_csv)
    assert set(trials["objective"]) == {objective}
    assert trials["last_value"].tolist() == [0.93, 0.9, 0.8, 0.7, 0.6, 0.25]
    assert trials["latency_ms"].tolist()[0] == 4.234
    assert trials["relative_value"].notna().all() == (objective == "val_real")
    assert trials["relative_value"].isna().all() == (objective != "val_real")
    assert curves["value"].notna().all()
    assert ("validation.accuracy" in curves.columns) is (data == "labelled")


def words(run: RunFolder) -> str:
    return " ".join(caveats(collect_run(run.path))).replace("\N{NO-BREAK SPACE}", " ")


def test_caveats_of_unlabelled_images(make_kind: Maker) -> None:
    text = words(make_kind("unlabelled_real", "unlabelled"))
    assert "on 251 unlabelled real images. No label was used; agreement with the teacher" in text
    assert "is not accuracy" in text
    assert "The 250 images kept apart were touched once, after the choice." in text
    assert "limited number of unlabelled images only" in text
    assert "test split" not in text
    again = words(make_kind("data_free", "unlabelled", test_evaluations=3))
    assert "3 students of this run met the 250 images kept apart" in again


def test_caveats_of_labels_that_the_search_left_alone(make_kind: Maker) -> None:
    text = words(make_kind("unlabelled_real", "labelled"))
    assert (
        "the 300 real images of the validation split. No label was used in search or choice" in text
    )
    assert "The test split was touched once" in text


@pytest.mark.parametrize("data", ["labelled", "unlabelled", "none"])
def test_caveats_of_the_audit_set(make_kind: Maker, data: str) -> None:
    run = make_kind("data_free", data)
    text = words(run)
    assert "No real image was used in search or choice" in text
    assert "600 images, SHA-256 0123456789ab; the teacher sees 97.5 % of them as asked" in text
    assert ("Validation accuracies were recorded beside it" in text) is (data == "labelled")
    assert ("There are no real images" in text) is (data == "none")
    run.audit_card_file.unlink()
    assert "its card is not in the run folder" in words(run)


def test_damaged_audit_card_does_not_stop_the_report(make_kind: Maker) -> None:
    run = make_kind("data_free", "none")
    run.audit_card_file.write_text("[")
    assert "audit/card.json is damaged" in html_of(run)


@pytest.mark.parametrize(("objective", "data"), KINDS)
def test_choice_is_judged_only_where_labels_had_no_part_in_it(
    make_kind: Maker, objective: str, data: str
) -> None:
    html = html_of(make_kind(objective, data))
    judged = objective not in ("val_real", "test_peeking") and data == "labelled"
    assert ('aria-labelledby="run-1-choice"' in html) is judged
    assert ('href="#run-1-choice"' in html) is judged
    if judged:
        text = text_of(html)
        assert f"choice without {'data' if objective == 'data_free' else 'labels'}" in text
        assert re.search(r"decided 0\.70 -?\d\.\d\d to \d\.\d\d 0\.60 \d\.\d t0003", text)
        assert "The choice, t0003 86.0 %" in text
        assert "The best, t0001 88.0 %" in text
        assert "2.0 percentage points" in text


def test_published_results_have_no_own_row_without_labels(make_kind: Maker) -> None:
    run = make_kind("unlabelled_real", "unlabelled")
    experiment = json.loads(run.experiment_file.read_text())
    run.experiment_file.write_text(json.dumps({**experiment, "benchmark": "cifar10"}))
    text = text_of(html_of(run))
    assert "no test accuracy, for want of labels, so it has no row here" in text
    assert "this run has no labelled test images" in text


def test_runs_of_several_objectives_side_by_side(make_kind: Maker, tmp_path: Path) -> None:
    runs = [make_kind(*kind).path for kind in KINDS]
    text = text_of(write_report(runs, tmp_path / "out").html.read_text(encoding="utf-8"))
    for measures in MEASURES.values():
        assert f"93.0 % {measures}" in text
    assert "93.6 % 89.9 to 96.0 %" in text
    assert "no labels" in text


def test_runs_that_have_not_begun_side_by_side(make_run: Maker, tmp_path: Path) -> None:
    runs = [make_run(name=f"{o}-{d}", objective=o, data=d, teacher=False).path for o, d in KINDS]
    assert write_report(runs, tmp_path / "out").html.is_file()


def test_unknown_objective_is_shown_as_it_is(make_kind: Maker) -> None:
    run = make_kind("my_Score", "labelled")
    assert "chosen among 5 complete trials by my_Score; one seed." in said(run)
    text = text_of(html_of(run))
    assert "ranked by their last my_Score" in text
    assert "Last value" in text
    assert "The search objective was my_Score." in text


@pytest.mark.parametrize(("objective", "data"), KINDS)
def test_what_the_experiment_does_not_tell_is_read_from_the_records(
    make_kind: Maker, objective: str, data: str
) -> None:
    run = make_kind(objective, data)
    run.experiment_file.unlink()
    found = collect_run(run.path)
    assert (objective_name(found), data_kind(found)) == (objective, data)


def test_objective_without_any_record(make_run: Maker) -> None:
    run = make_run(teacher=False)
    run.experiment_file.unlink()
    found = collect_run(run.path)
    assert (objective_name(found), data_kind(found)) == ("val_real", "labelled")


@pytest.mark.parametrize(
    ("architecture", "short"),
    [
        ("resnet18", "resnet18"),
        ("torchvision:resnet18", "torchvision:resnet18"),
        ("package.module:make", "package.module:make"),
        ("/home/a/nets/file.py:make", "file.py:make"),
        ("C:\\nets\\file.py:make", "file.py:make"),
        ("file.py:make", "file.py:make"),
    ],
)
def test_networks_of_a_file_are_named_without_its_folders(architecture: str, short: str) -> None:
    assert short_architecture(architecture) == short
    assert network_name(architecture, 1.0) == f"{short} \N{MULTIPLICATION SIGN} 1"
    assert network_name(architecture, None) == short


def test_page_names_no_folder_of_a_foreign_network(make_run: Maker, spec: Any) -> None:
    run = make_run([spec(values=(0.5,), architecture="/home/a/file.py:make")])
    summary = summarise(run.path)
    assert summary.leaderboard[0].student == "file.py:make \N{MULTIPLICATION SIGN} 0.5"
    assert "/home/a" not in summary.verdict


def test_real_images_break_no_tie_of_a_data_free_search(make_run: Maker, spec: Any) -> None:
    run = make_run([spec(values=(0.5,)), spec(values=(0.5,))], objective="data_free")
    metrics = run.trial_folder("t0001").metrics_file
    line = json.loads(metrics.read_text())
    line["validation"]["agreement"] = 1.0
    metrics.write_text(json.dumps(line) + "\n")
    assert [row.trial for row in summarise(run.path).leaderboard] == ["t0000", "t0001"]
