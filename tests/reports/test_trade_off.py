"""The search objective against a cost: numbers, figure, page and terminal."""

import io
import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from dfkd_tune.cli._summary import print_summary, summary_json
from dfkd_tune.records import PoolRecord, write_record
from reports import collect_run, summarise, write_report
from reports.compute.caveats import caveats
from reports.compute.trade_off import TradeOff, trade_off
from reports.figures import trade_off_figure

Maker = Any


def weighed(folder: Any) -> TradeOff:
    found = trade_off(collect_run(folder.path))
    assert found is not None
    return found


def names(trials: Any) -> list[str]:
    return [trial.trial for trial in trials]


PAIRS = ((0.70, 50), (0.93, 900), (0.88, 300), (0.60, 80), (0.70, 60))
"""Value and parameters: the fourth and the fifth are surpassed by the first."""


@pytest.fixture
def run(make_run: Maker, spec: Any, make_selection: Any) -> Any:
    """A weighed search with a selection, and what was trained less but looks better."""
    specs = [spec(values=(v - 0.1, v), size=size) for v, size in PAIRS]
    specs += [
        spec(values=(0.99,), size=10, state=state) for state in ("stopped", "running", "diverged")
    ]
    return make_run(specs, against="parameters", selection=make_selection("t0001"))


def test_numbers_by_hand(run: Any) -> None:
    found = weighed(run)
    assert (found.against, found.words, found.weighed) == ("parameters", "parameters", True)
    assert names(found.pareto_set) == ["t0000", "t0002", "t0001"]
    assert names(found.surpassed) == ["t0004", "t0003"]
    assert [trial.cost for trial in found.pareto_set] == [50, 300, 900]
    # The teacher has 98 % on validation.
    assert [t.relative for t in found.pareto_set] == pytest.approx(
        [100 * value / 0.98 for value in (0.70, 0.88, 0.93)]
    )
    assert [trial.selected for trial in found.pareto_set] == [False, False, True]
    assert found.relative


@pytest.mark.parametrize("seed", range(5))
def test_a_search_that_weighs_nothing_is_told_against_parameters(
    make_run: Maker, spec: Any, seed: int
) -> None:
    random = np.random.default_rng(seed)
    drawn = [(float(v) / 9, int(c)) for v, c in random.integers(1, 9, (12, 2))]
    found = weighed(make_run([spec(values=(v,), size=size) for v, size in drawn]))
    assert not found.weighed
    best = {
        f"t{i:04d}"
        for i, (v, c) in enumerate(drawn)
        if not any(w >= v and d <= c and (w, d) != (v, c) for w, d in drawn)
    }
    assert set(names(found.pareto_set)) == best
    assert len(found.pareto_set) + len(found.surpassed) == 12
    for first, second in pairwise(found.pareto_set):
        assert first.cost <= second.cost
        assert first.value <= second.value


@pytest.mark.parametrize(
    ("changes", "sizes"),
    [
        ({}, (7, 7)),
        ({"kind": "distill"}, (7, 8)),
        ({"kind": "comparison"}, (7, 8)),
        ({"against": "latency"}, (7, 8)),
        ({"against": "parameters"}, ()),
    ],
)
def test_there_is_none_to_tell(
    make_run: Maker, spec: Any, changes: dict[str, Any], sizes: tuple[int, ...]
) -> None:
    """One student for all, no search, a cost that was not measured, no complete trial."""
    specs = [spec(values=(0.5,), size=size) for size in sizes]
    run = make_run([*specs, spec(values=(0.5,), size=9, state="stopped")], **changes)
    assert trade_off(collect_run(run.path)) is None
    assert summarise(run.path).trade_off is None
    page = write_report([run.path]).html.read_text(encoding="utf-8")
    assert ">Trade-off<" not in page


def test_a_weighed_search_shows_one_student_too(make_run: Maker, spec: Any) -> None:
    run = make_run([spec(values=(v,)) for v in (0.5, 0.6)], against="training_seconds")
    found = weighed(run)
    assert names(found.pareto_set) == ["t0001"]
    assert found.pareto_set[0].cost == 3.5
    assert not any(trial.selected for trial in found.pareto_set)
    write_report([run.path])


@pytest.mark.parametrize(
    ("against", "said"),
    [
        ("parameters", False),
        ("macs", False),
        ("latency", "Latency was measured once for each student"),
        ("training_seconds", "Training seconds are wall seconds"),
    ],
)
def test_a_cost_in_time_has_its_caveat(
    make_run: Maker, spec: Any, against: str, said: str | bool
) -> None:
    run = collect_run(make_run([spec(values=(0.5,), latency_ms=1.5)], against=against).path)
    found = [point for point in caveats(run) if "another machine" in point]
    assert [str(said) in point for point in found] == ([True] if said else [])


def test_equal_values_are_ranked_by_cost(make_run: Maker, spec: Any) -> None:
    specs = [spec(values=(0.9,), size=size) for size in (900, 300, 600)]
    run = make_run(specs, against="parameters")
    rows = summarise(run.path).leaderboard
    assert [row.trial for row in rows] == ["t0001", "t0002", "t0000"]


def test_without_data_the_value_is_what_chose(
    make_run: Maker, spec: Any, make_selection: Any
) -> None:
    specs = [spec(values=(v,), beside=(0.5,), size=s) for v, s in ((0.9, 30), (0.5, 10), (0.7, 20))]
    selection = make_selection("t0002", objective="data_free", pool_agreement=0.7)
    run = make_run(specs, objective="data_free", against="parameters", selection=selection)
    rows = ((1.0, 0.2, 0.3), (0.6, 1.0, 0.5), (0.7, 0.8, 1.0))
    pool = PoolRecord(
        trials=("t0000", "t0001", "t0002"),
        students=("s",) * 3,
        images=(10,) * 3,
        class_entropy=(1.0,) * 3,
        agreement=rows,
        kl=rows,
        ensemble=rows,
        seconds=1.0,
        time="2026-01-01T00:00:00.000+00:00",
    )
    # By the audit set, which no longer counts, the dearest would be of the set.
    assert names(weighed(run).pareto_set) == ["t0001", "t0002", "t0000"]
    write_record(run.pool_file, pool)
    found = weighed(run)
    scores = pool.scores(rows)
    assert [(t.trial, t.value) for t in found.pareto_set] == [
        ("t0001", scores["t0001"]),
        ("t0002", scores["t0002"]),
    ]
    assert not found.relative
    assert "other trials" in found.measures
    assert "other trials" in write_report([run.path]).html.read_text(encoding="utf-8")


def test_the_line_is_the_best_at_a_cost_or_less(run: Any) -> None:
    figure = trade_off_figure(weighed(run))
    data = {trace.name: trace for trace in figure.figure.data}
    line = data["Pareto set"]
    assert line.line.shape == "hv"
    assert list(line.x) == [50, 300, 900]
    assert list(line.y) == pytest.approx([100 * v / 0.98 for v in (0.7, 0.88, 0.93)], 1e-5)
    assert line.marker.size == 10
    assert list(data["surpassed"].x) == [60, 80]
    assert list(data["selected"].x) == [900]
    assert figure.figure.layout.xaxis.type == "log"
    told = figure.summary.replace("\N{NO-BREAK SPACE}", " ")
    assert told == (
        "Relative validation accuracy against parameters: no other trial surpasses 3 trials of 5 "
        "complete ones, from 71.4 % at 50 parameters to 94.9 % at 900 parameters."
    )


def test_the_line_goes_on_to_the_dearest_trial(make_run: Maker, spec: Any) -> None:
    pairs = ((0.6, 50), (0.7, 60), (0.5, 70))
    run = make_run([spec(values=(v,), size=s) for v, s in pairs], against="parameters")
    figure = trade_off_figure(weighed(run)).figure
    (line,) = (trace for trace in figure.data if trace.name == "Pareto set")
    assert list(line.x) == [50, 60, 70]
    assert line.y[-1] == line.y[-2]
    assert list(line.marker.size) == [10, 10, 0]
    assert figure.layout.xaxis.type is None
    assert "selected" not in {trace.name for trace in figure.data}


def test_page_and_summary_hold_the_set(run: Any) -> None:
    files = write_report([run.path])
    page = files.html.read_text(encoding="utf-8")
    section = page.split('<section aria-labelledby="run-1-trade_off">')[1].split("</section>")[0]
    table = section.split('<table class="weighed">')[1].split("</table>")[0]
    rows = table.split("<tbody>")[1].split("<tr")[1:]
    assert [row.split('<th scope="row">')[1].split("<")[0].strip() for row in rows] == [
        "t0000",
        "t0002",
        "t0001",
    ]
    assert "selected" in rows[2]
    assert "0.33" in rows[1]
    assert "-5.0" in rows[1]
    assert 'href="#run-1-trade_off"' in page
    content = json.loads(files.summary_json.read_text())["runs"][0]["trade_off"]
    assert content["against"] == "parameters"
    assert [(t["trial"], t["cost"], t["value"]) for t in content["pareto_set"]] == [
        ("t0000", 50, 0.70),
        ("t0002", 300, 0.88),
        ("t0001", 900, 0.93),
    ]


def test_the_terminal_shows_the_set_of_a_weighed_search(
    run: Any, make_run: Maker, spec: Any
) -> None:
    def printed(folder: Any) -> str:
        file = io.StringIO()
        print_summary(Console(file=file, width=160), summarise(folder.path))
        return file.getvalue().replace("\N{NO-BREAK SPACE}", " ")

    text = printed(run)
    table = text.split("Pareto set, against parameters")[1]
    lines = [line.split() for line in table.splitlines() if line.startswith("t0")]
    assert [line[0] for line in lines] == ["t0000", "t0002", "t0001"]
    assert ["50" in lines[0], "300" in lines[1], "900" in lines[2]] == [True] * 3
    assert "71.4 %" in table
    plain = make_run([spec(values=(v,), size=s) for v, s in PAIRS], name="plain")
    assert "Pareto" not in printed(plain)
    found = summary_json(summarise(run.path))
    assert found["against"] == "parameters"
    assert [point["trial"] for point in found["pareto_set"]] == ["t0000", "t0002", "t0001"]
    other = summary_json(summarise(plain.path))
    assert (other["against"], other["pareto_set"]) == (None, None)


@pytest.mark.parametrize(("selected", "highest"), [("t0001", True), ("t0002", False)])
def test_the_selected_trial_is_called_the_highest_only_where_it_is(
    make_run: Maker, spec: Any, make_selection: Any, selected: str, highest: bool
) -> None:
    specs = [spec(values=(v - 0.1, v), size=size) for v, size in PAIRS]
    folder = make_run(specs, against="parameters", selection=make_selection(selected))
    html = write_report([folder.path]).html.read_text(encoding="utf-8")
    assert ("The selected trial is the one with the highest value." in html) is highest
