"""The page as text: self-contained, escaped, in order, stable; and the files beside it."""

import json
import re
from dataclasses import asdict
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pandas as pd
import pytest

from dfkd_tune.records import ErrorRecord, RestoreRecord, RunFolder
from reports import write_report
from reports.collect import collect_run
from reports.tables import TRIAL_COLUMNS
from reports.view import view_run

Maker = Any
EVIL = "</script><img src=x onerror=alert(1)>"
CSP = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data:; font-src data:"
)


class Reader(HTMLParser):
    """Collects what the tests look at."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    return reader


def html_of(folder: RunFolder) -> str:
    return write_report([folder.path]).html.read_text(encoding="utf-8")


def test_page_is_self_contained(realistic: RunFolder) -> None:
    html = html_of(realistic)
    reader = read(html)
    for _, attributes in reader.elements:
        for name in ("src", "href", "data", "action", "poster", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (name, value)
    policies = [m for m in reader.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1
    assert (policies[0]["content"] or "").startswith(CSP)
    assert html.count("plotly.js v") == 1
    assert not reader.all("link")[1:]


def test_ids_are_unique_and_links_lead_somewhere(realistic: RunFolder) -> None:
    reader = read(html_of(realistic))
    ids = [attributes["id"] for _, attributes in reader.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    for _, attributes in reader.elements:
        for name in ("href", "for", "aria-controls", "aria-labelledby", "data-for", "data-table"):
            value = attributes.get(name)
            if value and not value.startswith("data:"):
                assert value.removeprefix("#") in ids, (name, value)


@pytest.mark.parametrize("count", [1, 2])
def test_headings_are_in_order(make_run: Maker, spec: Any, tmp_path: Any, count: int) -> None:
    error = ErrorRecord(type="ValueError", message="bad")
    runs = [
        make_run([spec(values=(0.5,)), spec(state="failed", error=error)], name=f"r{i}").path
        for i in range(count)
    ]
    html = write_report(runs, tmp_path / "out").html.read_text(encoding="utf-8")
    levels = [int(tag[1]) for tag, _ in read(html).elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_sections_are_in_order(realistic: RunFolder) -> None:
    html = html_of(realistic)
    names = ["headline", *(f"run-1-{name}" for name in (
        "history", "leaderboard", "curves", "losses", "classes", "attention", "images", "variety",
        "time", "failures", "reproduce", "caveats"))]  # fmt: skip
    places = [html.index(f'aria-labelledby="{name}"') for name in names]
    assert places == sorted(places)
    assert html.index('aria-label="Verdict"') < places[0]


def test_language_skip_link_and_table_semantics(realistic: RunFolder) -> None:
    html = html_of(realistic)
    reader = read(html)
    assert reader.all("html")[0]["lang"] == "en"
    assert reader.all("a")[0] == {"class": "skip", "href": "#content"}
    assert all("scope" in attributes for attributes in reader.all("th"))
    assert html.count('aria-sort="') == 1 + html.count('th[aria-sort="')
    assert all(attributes.get("alt") for attributes in reader.all("img"))
    assert len(reader.all("figcaption")) == len(reader.all("figure"))


def test_all_trials_are_in_the_page_without_a_script(make_run: Maker, spec: Any) -> None:
    run = make_run([spec(values=(0.01 * i,), total_epochs=1) for i in range(1, 31)])
    rows = [a for a in read(html_of(run)).all("tr") if "trial" in (a.get("class") or "")]
    assert len(rows) == 30
    assert not any("hidden" in row for row in rows)


def test_foreign_text_is_escaped_everywhere(
    make_run: Maker, spec: Any, make_selection: Any
) -> None:
    long = EVIL + "x" * 10_000
    restore = RestoreRecord(session="s2", time="2025", from_epoch=0, note=long)
    run = make_run(
        [
            spec(
                values=(0.5,),
                architecture=long,
                parameters={EVIL: EVIL, "long": long},
                reason=long,
                restores=(restore,),
                error=ErrorRecord(type=EVIL, message=long, traceback=long),
            ),
            spec(
                state="failed",
                reason=long,
                error=ErrorRecord(type=long, message=long, traceback=long),
            ),
        ],
        message=long,
        state="interrupted",
        command=long,
        selection=make_selection("t0000", rule=long, objective=long),
    )
    record = json.loads(run.run_file.read_text())
    run.run_file.write_text(json.dumps({**record, "name": long}))
    experiment = {"benchmark": long, "method": long, EVIL: [long]}
    run.experiment_file.write_text(json.dumps(experiment))
    metrics = run.trial_folder("t0000").metrics_file
    line = json.loads(metrics.read_text())
    line["losses"][EVIL] = 1.0
    metrics.write_text(json.dumps(line) + "\n")
    html = html_of(run)
    assert "<img src=x" not in html
    assert "onerror=alert" in html
    reader = read(html)
    assert len(reader.all("script")) == html.count("</script>")
    assert not [a for _, a in reader.elements if "onerror" in a]


def test_page_and_files_are_stable(realistic: RunFolder, tmp_path: Any) -> None:
    first = write_report([realistic.path], tmp_path / "a")
    second = write_report([realistic.path], tmp_path / "b")
    written, again = asdict(first), asdict(second)
    assert written.pop("figures") == again.pop("figures") == ()
    for name in written:
        assert written[name].read_bytes() == again[name].read_bytes(), name


def test_trials_csv(realistic: RunFolder) -> None:
    frame = pd.read_csv(write_report([realistic.path]).trials_csv)
    assert len(frame) == 12
    assert tuple(frame.columns[: len(TRIAL_COLUMNS)]) == TRIAL_COLUMNS
    assert "param.kd.weight" in frame.columns
    assert frame["rank"].dropna().tolist() == [1, 2, 3, 4, 5, 6]
    assert frame["selected"].sum() == 1
    assert frame.loc[frame["state"] == "stopped", "rank"].isna().all()


def test_trials_parquet_holds_the_same_with_types(realistic: RunFolder) -> None:
    files = write_report([realistic.path])
    frame, text = pd.read_parquet(files.trials_parquet), pd.read_csv(files.trials_csv)
    assert list(frame.columns) == list(text.columns)
    assert frame["trial"].tolist() == text["trial"].tolist()
    assert frame["last_value"].tolist() == text["last_value"].tolist()
    assert str(frame["rank"].dtype) == "Int64"
    assert frame["selected"].dtype == bool
    assert frame["param.kd.weight"].dtype == float


def test_a_setting_of_several_types_is_text_in_parquet(make_run: Maker, spec: Any) -> None:
    values = [0.5, "auto", True, None, [1, 2]]
    run = make_run(
        [spec(values=(0.9 - 0.1 * i,), parameters={"x": v}) for i, v in enumerate(values)]
    )
    frame = pd.read_parquet(write_report([run.path]).trials_parquet)
    found = frame["param.x"].tolist()
    assert found[:3] == ["0.5", "auto", "True"]
    assert pd.isna(found[3])
    assert found[4] == "[1, 2]"


def test_curves_csv(realistic: RunFolder) -> None:
    frame = pd.read_csv(write_report([realistic.path]).curves_csv)
    run = collect_run(realistic.path)
    assert len(frame) == sum(len(trial.epochs) for trial in run.trials)
    first = frame[frame["trial"] == "t0000"]
    assert first["validation.accuracy"].tolist() == [
        epoch.validation["accuracy"] for epoch in run.trials[0].epochs
    ]
    assert {"loss.student/kd", "learning_rate.student", "seconds.total"} <= set(frame.columns)


def test_empty_csv_files_keep_their_header(make_run: Maker) -> None:
    files = write_report([make_run().path])
    assert files.trials_csv.read_text().startswith("run,trial,rank,")
    assert files.curves_csv.read_text().startswith("run,trial,epoch,")


def test_summary_json(realistic: RunFolder) -> None:
    content = json.loads(write_report([realistic.path]).summary_json.read_text())
    assert content["schema_version"] == 1
    (run,) = content["runs"]
    assert run["name"] == "digits"
    assert run["counts"]["stopped"] == 4
    assert run["selection"]["test"]["images"] == 450
    assert run["relative_accuracy"]["value"] == pytest.approx(100 * 413 / 440)
    assert run["verdict"].startswith("The best student")


def test_best_config_json(realistic: RunFolder) -> None:
    files = write_report([realistic.path])
    assert files.best_config_json is not None
    selection = realistic.selection()
    assert selection is not None
    configuration = realistic.trial_folder(selection.trial).trial().configuration
    assert json.loads(files.best_config_json.read_text()) == configuration


def test_default_output_is_inside_the_run(realistic: RunFolder) -> None:
    files = write_report([realistic.path])
    assert files.html == realistic.path / "report" / "report.html"
    assert {path.name for path in realistic.report_path.iterdir()} == {
        "report.html", "trials.csv", "trials.parquet", "curves.csv", "summary.json", "matrix.md",
        "matrix.tex", "best_config.json", "best_config.yaml",
    }  # fmt: skip


def test_the_collapse_watch_is_drawn_with_its_signs(make_run: Maker, spec: Any) -> None:
    values = (0.2, 0.3, 0.4, 0.5)
    trial = spec(
        values=values, total_epochs=4, signs={3: ("features",), 4: ("features", "classes")}
    )
    (figure,) = (
        view.figures["watch"] for view in [view_run(collect_run(make_run([trial]).path), "run-1")]
    )
    distance, agreement, marks = figure.figure.data
    assert list(distance.y) == pytest.approx([1.25 - 0.125 * epoch for epoch in range(1, 5)])
    assert list(agreement.y) == pytest.approx([0.4 + 0.125 * epoch for epoch in range(1, 5)])
    assert list(marks.x) == [3, 4]
    assert list(marks.text) == ["features", "features, classes"]
    assert figure.summary.endswith("signs of collapse in 2 of 4 epochs.")


def test_a_watch_without_signs_says_so(make_run: Maker, spec: Any) -> None:
    folder = make_run([spec(values=(0.2, 0.3), total_epochs=2)])
    figure = view_run(collect_run(folder.path), "run-1").figures["watch"]
    assert len(figure.figure.data) == 2
    assert figure.summary.endswith("over 2 epochs: no sign of collapse.")
