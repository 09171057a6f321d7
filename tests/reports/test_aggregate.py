"""Methods over benchmarks, against independent computations."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from reports.compute.aggregate import (
    LEVELS,
    aggregate,
    interquartile_mean,
    iqm_interval,
    share_at_least,
)
from reports.compute.matrix import Cell, Matrix, MatrixRow
from reports.figures import profile_figure


def table(values: Mapping[str, Mapping[str, Sequence[float]]], **changes: Any) -> Matrix:
    methods = tuple(dict.fromkeys(method for row in values.values() for method in row))
    return Matrix(
        methods=methods,
        rows=tuple(
            MatrixRow(
                benchmark=benchmark.partition("/")[0],
                student=benchmark.partition("/")[2] or None,
                teacher="cnn",
                cells={m: Cell(values=tuple(row.get(m, ())), **changes) for m in methods},
            )
            for benchmark, row in values.items()
        ),
    )


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 11, 40])
def test_interquartile_mean_is_scipys_trimmed_mean(count: int) -> None:
    scores = np.random.default_rng(count).normal(80, 10, count)
    assert interquartile_mean(scores) == pytest.approx(stats.trim_mean(scores, 0.25))
    assert interquartile_mean(scores[::-1]) == pytest.approx(interquartile_mean(scores))
    many = np.stack([scores, scores + 1])
    np.testing.assert_allclose(interquartile_mean(many), stats.trim_mean(many, 0.25, axis=1))


def test_the_interval_over_seeds_is_a_stratified_bootstrap() -> None:
    tasks = [[90.0, 92.0, 97.0], [60.0, 61.0, 66.0], [75.0, 75.0, 79.0]]
    found, over = iqm_interval(tasks)
    assert over == "seeds"
    assert found.value == pytest.approx(stats.trim_mean(np.ravel(tasks), 0.25))
    # The same by loops, with other draws.
    generator = np.random.default_rng(1)
    drawn = [
        stats.trim_mean(np.concatenate([generator.choice(task, 3) for task in tasks]), 0.25)
        for _ in range(4000)
    ]
    assert found.low == pytest.approx(np.quantile(drawn, 0.025), abs=0.25)
    assert found.high == pytest.approx(np.quantile(drawn, 0.975), abs=0.25)
    assert iqm_interval(tasks) == (found, over)
    # Between tasks nothing is drawn: where the seeds of each agree, the interval is a point.
    (still, _) = iqm_interval([[90.0, 90.0], [60.0, 60.0]])
    assert still.low == still.value == still.high == 75


@pytest.mark.parametrize("tasks", [[[90.0], [60.0], [80.0]], [[89.0, 91.0], [60.0], [80.0]]])
def test_without_seeds_the_interval_is_over_benchmarks(tasks: list[list[float]]) -> None:
    found, over = iqm_interval(tasks)
    assert over == "benchmarks"
    assert found.value == pytest.approx(np.mean([90, 60, 80]))
    exact = sorted(
        np.mean([a, b, c]) for a in (90, 60, 80) for b in (90, 60, 80) for c in (90, 60, 80)
    )
    assert found.low == pytest.approx(exact[0])
    assert found.high == pytest.approx(exact[-1])


def test_the_profile_is_the_share_that_has_at_least_so_much() -> None:
    scores = (60.0, 90.0, 90.0, 97.0)
    survival = stats.ecdf(scores).sf
    for level in (50, 60, 60.1, 89.9, 95, 97, 98):
        # scipy's is of those above.
        above = survival.evaluate(np.nextafter(level, -np.inf))
        assert share_at_least(scores, level) == pytest.approx(above)
    (found, _) = aggregate(
        table({"a": {"x": (60.0, 90.0), "y": (1.0,)}, "b": {"x": (90.0, 97.0), "y": (2.0,)}})
    )
    assert found.scores == scores
    assert found.profile == tuple(share_at_least(scores, level) for level in LEVELS)


def test_what_a_method_lacks_is_left_out_of_its_numbers_and_counted() -> None:
    found = aggregate(
        table({"a": {"x": (90.0,), "y": (80.0,)}, "b": {"x": (70.0,)}, "c": {"x": (98.0,)}})
    )
    x, y = found
    assert (x.benchmarks, x.of, y.benchmarks, y.of) == (3, 3, 1, 3)
    assert x.iqm is not None
    assert x.iqm.value == pytest.approx(86.0)
    assert y.iqm is None
    assert y.scores == (80.0,)


def test_below_two_benchmarks_there_is_no_aggregate() -> None:
    assert aggregate(table({})) == ()
    assert aggregate(table({"a": {"x": (90.0,)}})) == ()
    # Two students on one benchmark are no two benchmarks.
    assert aggregate(table({"a/s": {"x": (90.0,)}, "a/t": {"x": (80.0,)}})) == ()
    assert aggregate(table({"a": {"x": (90.0,)}, "b": {"x": ()}})) == ()
    two = {"a": {"x": (90.0,)}, "b": {"x": (80.0,)}}
    assert len(aggregate(table(two))) == 1
    assert aggregate(table(two, chosen_by_test=True)) == ()


def test_the_figure_steps_down_after_each_score() -> None:
    found = aggregate(table({"a": {"x": (90.0,), "y": (50.0,)}, "b": {"x": (80.0,), "y": (60.0,)}}))
    figure = profile_figure(found)
    x, y = figure.figure.data
    assert x.line.shape == "vh"
    assert list(zip(x.x, x.y, strict=True)) == [(49, 1), (80, 1), (90, 0.5), (91, 0)]
    assert x.line.dash != y.line.dash
    assert "x 90.0" in figure.summary.replace("\N{NO-BREAK SPACE}", " ")


def test_the_page_tells_it_or_why_not(
    make_run: Any, spec: Any, make_selection: Any, tmp_path: Any
) -> None:
    from reports import write_report

    runs = [
        make_run([spec(values=(0.9,))], name=name, selection=make_selection("t0000"))
        for name in ("one", "two")
    ]

    def section() -> str:
        files = write_report([run.path for run in runs], tmp_path / "report")
        html = files.html.read_text(encoding="utf-8")
        found = re.search(r'<section aria-labelledby="aggregate">.*?</section>', html, re.DOTALL)
        assert found
        return found.group().replace("\N{NO-BREAK SPACE}", " ")

    assert "An aggregate needs results on the test split of at least 2 benchmarks." in section()
    experiment = json.loads(runs[1].experiment_file.read_text())
    runs[1].experiment_file.write_text(json.dumps({**experiment, "benchmark": "letters"}))
    text = section()
    assert "2 of 2" in text
    assert "93.9 %" in text
    assert 'id="suite-plot-profile"' in text
    assert text.count("<table") == 2
