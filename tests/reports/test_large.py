"""Runs of many trials: what the page leaves out, that it says so, and what a report costs."""

import gc
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from large_runs import write_large_run

from dfkd_tune.records import RunFolder, epoch_table
from reports import ReportFiles, collect_run, curves_table, summarise, write_report
from reports.compute.history import search_history
from reports.compute.leaderboard import leaderboard, rank_trials
from reports.compute.limits import (
    DRAWN_BEST,
    DRAWN_OTHERS,
    DRAWN_POINTS,
    SHOWN_ROWS,
    board_rows,
    drawn_trials,
    marked_points,
    some,
)
from reports.compute.training import learning_curves, time_shares
from reports.figures import curves_figure

TRIALS, EPOCHS = 300, 80


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return write_large_run(tmp_path_factory.mktemp("large") / "large", TRIALS, EPOCHS)


@pytest.fixture(scope="module")
def report(run: RunFolder) -> ReportFiles:
    return write_report([run.path])


def test_some_keeps_what_must_stay_and_is_the_same_each_time() -> None:
    items = [[number] for number in range(100)]
    kept = items[::9]
    chosen = some(items, kept, 20)
    assert len(chosen) == 20
    assert all(item in chosen for item in kept)
    assert list(chosen) == sorted(chosen)
    assert chosen == some(items, kept, 20)
    assert some(items, kept, 100) == tuple(items)
    assert some(items, kept, 3) == tuple(kept)


def test_the_best_and_some_others_have_a_curve(run: RunFolder) -> None:
    data = collect_run(run.path)
    drawn = [trial.name for trial in drawn_trials(data)]
    best = [trial.name for trial in rank_trials(data)]
    assert len(best) == TRIALS // 10 < DRAWN_BEST
    assert set(best) <= set(drawn)
    assert len(drawn) == len(best) + DRAWN_OTHERS
    assert drawn == sorted(drawn)
    curves = learning_curves(data)
    assert [curve.trial for curve in curves] == drawn
    assert all(len(curve.values) == EPOCHS for curve in curves)
    few = replace(data, trials=data.trials[: DRAWN_BEST + DRAWN_OTHERS])
    assert drawn_trials(few) == few.trials


def test_a_drawn_curve_has_few_points_with_its_ends(run: RunFolder) -> None:
    curves = learning_curves(collect_run(run.path))
    figure = curves_figure(curves, curves[0].trial, 0.9, "accuracy", TRIALS).figure
    bold = next(trace for trace in figure.data if trace.meta["role"] == "bold")
    assert len(bold.x) == DRAWN_POINTS + 1  # and the gap after it
    assert (bold.x[0], bold.x[-2]) == (curves[0].student_steps[0], curves[0].student_steps[-1])
    assert bold.y[-2] == pytest.approx(curves[0].values[-1], rel=1e-5)
    whole = curves_figure(curves, curves[0].trial, 0.9, "accuracy", len(curves)).figure
    assert len(next(t for t in whole.data if t.meta["role"] == "bold").x) == EPOCHS + 1


def test_the_leaderboard_shows_the_best_and_some_without_a_rank(run: RunFolder) -> None:
    rows = leaderboard(collect_run(run.path))
    shown = board_rows(rows)
    assert len(shown) == SHOWN_ROWS
    assert [row.rank for row in shown if row.rank] == list(range(1, TRIALS // 10 + 1))
    ranked = [replace(row, rank=place) for place, row in enumerate(rows, start=1)]
    ranked[-1] = replace(ranked[-1], selected=True)
    assert [row.rank for row in board_rows(ranked)] == [*range(1, SHOWN_ROWS + 1), TRIALS]
    assert board_rows(rows[:SHOWN_ROWS]) == rows[:SHOWN_ROWS]


def test_whoever_was_the_best_so_far_has_a_mark(run: RunFolder) -> None:
    points = search_history(collect_run(run.path))
    assert marked_points(points) == points
    many = [replace(point, trial=f"{copy}/{point.trial}") for copy in range(9) for point in points]
    marked = marked_points(many)
    leading = [p for p in many if p.value in {p.best_so_far, p.best_when_ended}]
    assert set(leading) <= set(marked)
    assert len(marked) < len(many)


def test_the_page_says_what_it_leaves_out(report: ReportFiles) -> None:
    html = re.sub(r"\s+", " ", report.html.read_text(encoding="utf-8"))
    assert "This page shows 200 of 300 trials: 30 of the ranked ones" in html
    assert "Drawn are the 130 curves" in html
    assert "of 130 of 300 trials while they train" in html
    assert html.count('<tr class="trial') == SHOWN_ROWS
    assert len(pd.read_csv(report.trials_csv)) == TRIALS


def test_the_tables_hold_every_epoch_of_every_trial(run: RunFolder, report: ReportFiles) -> None:
    frame = pd.read_csv(report.curves_csv)
    assert len(frame) == TRIALS * EPOCHS
    for name in ("t0000", "t0217"):
        records = run.trial_folder(name).epochs()
        rows = frame[frame["trial"] == name]
        assert rows["value"].tolist() == [record.value for record in records]
        assert rows["loss.student/kd"].isna().tolist() == [True, *[False] * (EPOCHS - 1)]
        assert rows["seconds.total"].tolist() == [record.seconds.total for record in records]
    data = collect_run(run.path)
    table = curves_table([data])
    assert (table.pop("collapse_signs") == "").all()
    assert frame.pop("collapse_signs").isna().all()
    pd.testing.assert_frame_equal(table, frame, check_dtype=False)


def test_sums_over_all_epochs_are_those_of_the_records(run: RunFolder) -> None:
    data = collect_run(run.path)
    records = [record for folder in run.trial_folders() for record in folder.epochs()]
    everything = time_shares(data)[-1]
    assert everything.synthesis == pytest.approx(sum(r.seconds.synthesis for r in records))
    assert everything.student == pytest.approx(sum(r.seconds.student for r in records))
    seconds = summarise(run.path).budgets.trial_seconds
    assert seconds == pytest.approx(sum(r.seconds.total for r in records))
    best = rank_trials(data)[0]
    assert best.values[-1] == max(
        f.epochs()[-1].value or 0 for f in run.trial_folders() if f.status().state == "complete"
    )


def test_again_is_byte_identical(run: RunFolder, report: ReportFiles, tmp_path: Path) -> None:
    again = write_report([run.path], tmp_path)
    for name in ("html", "trials_csv", "curves_csv", "summary_json", "best_config_json"):
        assert getattr(again, name).read_bytes() == getattr(report, name).read_bytes()


def test_sixty_trials_are_below_eight_megabytes(tmp_path: Path) -> None:
    folder = write_large_run(tmp_path / "sixty", 60, 200)
    assert write_report([folder.path]).html.stat().st_size < 8_000_000


def test_without_epochs_there_is_a_header_only(run: RunFolder, tmp_path: Path) -> None:
    data = collect_run(run.path)
    bare = replace(data, trials=tuple(replace(t, epochs=epoch_table([])) for t in data.trials))
    assert curves_table([bare]).empty


@pytest.fixture
def largest(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "largest"
    write_large_run(folder, 10_000, 200)
    gc.collect()
    yield folder
    shutil.rmtree(folder)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_two_million_epochs(largest: Path, tmp_path: Path) -> None:
    pages = []
    for name in ("a", "b"):
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [sys.executable, "-m", "dfkd_tune", "report", str(largest)]
        subprocess.run([*command, "--output", str(tmp_path / name)], check=True)
        wall = time.perf_counter() - begun
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(
            f"{wall:.1f} s, {cpu:.1f} s of processors, load {os.getloadavg()[0]:.1f}, "
            f"{after.ru_maxrss / 1024:.0f} MiB"
        )
        pages.append((tmp_path / name / "report.html").read_bytes())
        # Aimed at are 20 seconds of two processors; a busy host makes each second do less.
        assert cpu < 80
    assert pages[0] == pages[1]
    assert len(pages[0]) < 15_000_000
    with (tmp_path / "a" / "curves.csv").open("rb") as file:
        assert sum(1 for _ in file) == 2_000_001
    for name in ("a", "b"):
        shutil.rmtree(tmp_path / name)
