"""Every number inside the figures of a page, traced to the records that it came from."""

import json
from pathlib import Path
from typing import Any

import pytest
from large_runs import write_large_run
from page_figures import Drawn, read_figures, trace_figures
from traced_figures import ALWAYS_DRAWN, FIGURES, MARKS, side_by_side
from traced_page import Files
from traced_runs import (
    ablation_run,
    confirmation_run,
    methods_run,
    searched_run,
    suite_runs,
    sweep_maker,
)
from traced_together import profile

from dfkd_tune.records import RunFolder
from reports import write_report

Maker = Any


@pytest.fixture
def sweep(make_run: Maker, spec: Any, make_selection: Any) -> Any:
    return sweep_maker(make_run, spec, make_selection)


def figures_of(paths: list[Path], output: Path | None = None, **keys: Any) -> list[Drawn]:
    return read_figures(write_report(paths, output, **keys).html.read_text(encoding="utf-8"))


def trace_run(figures: list[Drawn], files: Files, *more: str, place: int = 1) -> None:
    """Trace all figures of one run, which must be those of every run and `more`."""
    names = trace_figures(figures, f"run-{place}", files, FIGURES)
    assert sorted(names) == sorted([*ALWAYS_DRAWN, *more])


def test_every_number_in_the_figures_of_a_sweep_is_traced(realistic: RunFolder) -> None:
    figures = figures_of([realistic.path])
    trace_run(figures, Files(realistic.path), "balance", "classes")
    assert {figure.place for figure in figures} == {"run-1"}


def test_every_number_in_the_figures_of_a_search_is_traced(
    make_run: Maker, spec: Any, make_selection: Any
) -> None:
    run = searched_run(make_run, spec, make_selection)
    trace_run(figures_of([run.path]), Files(run.path), "baseline", "choice", "trade-off")


def test_every_number_in_the_figures_of_several_runs_is_traced(
    make_run: Maker, spec: Any, sweep: Any, tmp_path: Path
) -> None:
    paths = suite_runs(sweep, confirmation_run(make_run, spec))
    figures, runs = figures_of(paths, tmp_path / "out"), [Files(path) for path in paths]
    for place, files in enumerate(runs, start=1):
        more = ["comparison"] if files.run["kind"] == "comparison" else []
        trace_run(figures, files, *more, place=place)
    assert trace_figures(figures, "suite", runs, {"profile": profile}) == ["profile"]
    places = {"suite", *(f"run-{place}" for place in range(1, len(runs) + 1))}
    assert {figure.place for figure in figures} == places


def test_every_number_in_the_figures_of_sweeps_side_by_side_is_traced(
    sweep: Any, tmp_path: Path
) -> None:
    one = sweep("one", 413, (0.9, 0.8, 0.7), benchmark="cifar10", method="dfq")
    two = sweep("two", 420, (0.8, 0.92), benchmark="cifar10", method="dfq", seed=4)
    runs = [Files(run.path) for run in (one, two)]
    figures = figures_of([one.path, two.path], tmp_path / "out", compare=True)
    for place, files in enumerate(runs, start=1):
        trace_run(figures, files, place=place)
    assert trace_figures(figures, "sides", runs, {"side-by-side": side_by_side}) == ["side-by-side"]
    assert {figure.place for figure in figures} == {"sides", "run-1", "run-2"}


def test_every_number_in_the_figures_of_comparisons_is_traced(make_run: Maker, spec: Any) -> None:
    runs = (methods_run(make_run, spec, 1), methods_run(make_run, spec, 3))
    for run in (ablation_run(make_run, spec), *runs):
        trace_run(figures_of([run.path]), Files(run.path), "comparison")


def test_what_is_drawn_of_too_many_trials_and_classes_is_traced(tmp_path: Path, look: Any) -> None:
    """All that must be drawn is there, and all that is drawn by chance is right."""
    run = write_large_run(tmp_path / "large", trials=1600, epochs=2)
    for trial in run.trial_folders():
        if int(trial.name[1:]) % 10 in (1, 3, 5, 7):
            change(trial.status_file, '"state": "stopped"', '"state": "complete"')
        if int(trial.name[1:]) >= 1440:
            # A week of rest: two bars in the timeline, of many trials each.
            change(trial.metrics_file, '"time":"2025-03-02', '"time":"2025-03-09')
    experiment = json.loads(run.experiment_file.read_text())
    experiment["search"]["objective"] = "unlabelled_real"
    run.experiment_file.write_text(json.dumps({**experiment, "dimensions": []}))
    names, images = [f"class {place}" for place in range(60)], [20 + i % 7 for i in range(60)]
    selection = json.loads(run.selection_file.read_text())
    selection["objective"] = "unlabelled_real"
    selection["classes"] = {
        "where": "test",
        "names": names,
        "images": images,
        "teacher": [count - place % 4 for place, count in enumerate(images)],
        "student": [count - place % 9 for place, count in enumerate(images)],
        "confusions": [],
    }
    run.selection_file.write_text(json.dumps(selection))
    look(run, selection["trial"], names=tuple(names), balance=tuple(images))
    files = Files(run.path)
    assert len(files.ranked) > MARKS
    trace_run(figures_of([run.path]), files, "balance", "choice", "classes", "trade-off")


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("trials/t0001/metrics.jsonl", '"value":0.8262', '"value":0.8263'),
        ("trials/t0004/metrics.jsonl", '"class_entropy":1.50', '"class_entropy":1.51'),
        ("trials/t0003/status.json", '"state": "stopped"', '"state": "failed"'),
    ],
)
def test_a_figure_with_another_number_than_the_records_is_found(
    realistic: RunFolder, file: str, old: str, new: str
) -> None:
    figures = figures_of([realistic.path])
    change(realistic.path / file, old, new)
    with pytest.raises(AssertionError):
        trace_run(figures, Files(realistic.path), "balance", "classes")


def test_a_number_that_a_figure_should_not_have_is_found(realistic: RunFolder) -> None:
    figures, files = figures_of([realistic.path]), Files(realistic.path)
    (entropy,) = (figure for figure in figures if figure.name == "entropy")
    more: list[tuple[Any, str, Any]] = [
        (entropy.layout, "annotations", [{"text": "2.3 nats"}]),
        (entropy.traces[0], "customdata", [1.0]),
        (entropy.traces[0], "hovertemplate", "%{y:.3f} of 2.3 nats"),
        (entropy.layout["yaxis"]["title"], "text", "nats of 2.3"),
    ]
    for where, key, value in more:
        before = dict(where)
        where[key] = value
        with pytest.raises(AssertionError):
            trace_figures(figures, "run-1", files, FIGURES)
        where.clear()
        where.update(before)
    without = {name: tracer for name, tracer in FIGURES.items() if name != "entropy"}
    with pytest.raises(AssertionError, match="nothing traces the figure entropy"):
        trace_figures(figures, "run-1", files, without)
