"""How good a choice without labels was, against hand-computed numbers and other computations."""

import json
from itertools import combinations
from math import sqrt
from typing import Any

import numpy as np
import pytest
from scipy import stats

from dfkd_tune.records import PoolRecord, write_record
from reports import collect_run, write_report
from reports.compute.choice import (
    ChoiceQuality,
    ScoreQuality,
    choice_quality,
    rank_correlations,
    spearman_interval,
)
from reports.figures import choice_figure

Maker = Any


def quality(folder: Any) -> ChoiceQuality:
    found = choice_quality(collect_run(folder.path))
    assert found is not None
    return found


def score(found: ChoiceQuality, name: str) -> ScoreQuality:
    return next(each for each in found.scores if each.name == name)


def test_numbers_by_hand(make_run: Maker, spec: Any) -> None:
    """Ranks 4 3 2 1 and 3 4 2 1: rho = 1 - 6 * 2 / 60 = 0.8, tau = (5 - 1) / 6."""
    pairs = ((0.9, 0.85), (0.8, 0.88), (0.7, 0.80), (0.6, 0.70))
    trials = [spec(values=(value,), beside=(accuracy,)) for value, accuracy in pairs]
    trials.append(spec(values=(0.99,), beside=(0.99,), state="stopped"))
    found = quality(make_run(trials, objective="data_free"))
    assert [trial.trial for trial in found.trials] == ["t0000", "t0001", "t0002", "t0003"]
    audit = score(found, "audit_agreement")
    assert audit.spearman == pytest.approx(0.8)
    assert audit.kendall == pytest.approx(2 / 3)
    assert (audit.picked, audit.decided) == ("t0000", True)
    assert audit.regret == pytest.approx(0.03)
    assert found.chance_regret == pytest.approx(0.88 - (0.85 + 0.88 + 0.80 + 0.70) / 4)
    assert (found.picked.trial, found.best.trial) == ("t0000", "t0001")
    assert found.regret == pytest.approx(0.03)


def test_selected_trial_is_the_choice(make_kind: Maker) -> None:
    found = quality(make_kind("data_free", "labelled"))
    assert found.picked.trial == "t0003"
    assert found.regret == pytest.approx(0.02)


def test_no_regret_where_the_choice_is_among_the_best(make_run: Maker, spec: Any) -> None:
    trials = [spec(values=(v,), beside=(a,)) for v, a in ((0.5, 0.9), (0.6, 0.9), (0.4, 0.1))]
    found = quality(make_run(trials, objective="data_free"))
    assert found.picked == found.best
    assert found.picked.trial == "t0001"
    assert found.regret == 0


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_trials_give_no_correlation(make_run: Maker, spec: Any, count: int) -> None:
    trials = [spec(values=(0.1 * i,), beside=(0.1 * i,)) for i in range(1, count + 1)]
    found = quality(make_run(trials, objective="data_free"))
    audit = score(found, "audit_agreement")
    assert (audit.spearman, audit.interval, audit.kendall) == (None, None, None)
    assert not found.enough


def test_equal_values_give_no_correlation(make_run: Maker, spec: Any) -> None:
    trials = [spec(values=(0.5,), beside=(0.1 * i,)) for i in range(3)]
    found = quality(make_run(trials, objective="data_free"))
    audit = score(found, "audit_agreement")
    assert (audit.spearman, audit.interval, audit.kendall) == (None, None, None)
    assert found.enough


@pytest.mark.parametrize(
    ("objective", "data"),
    [("val_real", "labelled"), ("unlabelled_real", "unlabelled"), ("data_free", "none")],
)
def test_nothing_to_judge_by(make_kind: Maker, objective: str, data: str) -> None:
    assert choice_quality(collect_run(make_kind(objective, data).path)) is None


def test_no_complete_trial(make_run: Maker, spec: Any) -> None:
    run = make_run([spec(values=(0.5,), state="stopped")], objective="data_free")
    assert choice_quality(collect_run(run.path)) is None


@pytest.mark.parametrize("seed", range(5))
def test_correlations_agree_with_other_computations(seed: int) -> None:
    """With ties: rho is Pearson's r of mean ranks; tau-b counts pairs."""
    generator = np.random.default_rng(seed)
    first = generator.integers(0, 6, 12) / 6
    second = np.round(first + generator.normal(0, 0.3, 12), 1)
    spearman, kendall = rank_correlations(list(first), list(second))
    ranks = stats.rankdata(first), stats.rankdata(second)
    assert spearman == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert spearman == pytest.approx(stats.spearmanr(first, second).statistic)
    signs = [
        (np.sign(first[i] - first[j]), np.sign(second[i] - second[j]))
        for i, j in combinations(range(12), 2)
    ]
    both = sum(a * b for a, b in signs)
    untied = [sum(1 for pair in signs if pair[k] != 0) for k in (0, 1)]
    assert kendall == pytest.approx(both / sqrt(untied[0] * untied[1]))
    assert kendall == pytest.approx(stats.kendalltau(first, second).statistic)


def test_interval_agrees_with_another_bootstrap() -> None:
    generator = np.random.default_rng(1)
    first = generator.normal(size=20)
    second = first + generator.normal(0, 0.7, 20)
    found = spearman_interval(list(first), list(second))
    assert found is not None
    other = stats.bootstrap(
        (first, second),
        lambda a, b: stats.spearmanr(a, b).statistic,
        paired=True,
        vectorized=False,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(5),
    ).confidence_interval
    assert found == pytest.approx((other.low, other.high), abs=0.05)
    assert found[0] < stats.spearmanr(first, second).statistic < found[1]
    assert found == spearman_interval(list(first), list(second))


def with_pool(run: Any, agreement: list[list[float]]) -> Any:
    """Give a run of complete trials the record of their answers on one another's images."""
    names = [folder.name for folder in run.trial_folders()]
    rows = tuple(tuple(row) for row in agreement)
    record = PoolRecord(
        trials=tuple(names),
        students=("s",) * len(names),
        images=(10,) * len(names),
        class_entropy=(1.0,) * len(names),
        agreement=rows,
        kl=rows,
        ensemble=rows,
        seconds=1.0,
        time="2026-01-01T00:00:00.000+00:00",
    )
    write_record(run.pool_file, record)
    return run


AGREEMENT = [[1.0, 0.2, 0.3], [0.6, 1.0, 0.5], [0.7, 0.8, 1.0]]
"""Rows are worse than later ones in every column but their own."""


def chosen_run(make_run: Maker, spec: Any, make_selection: Any, **decided: float) -> Any:
    """Three trials that the audit set and the pool order otherwise, the third of them chosen."""
    trials = [spec(values=(v,), beside=(a,)) for v, a in ((0.9, 0.1), (0.5, 0.2), (0.7, 0.3))]
    selection = make_selection("t0002", objective="data_free", **decided)
    return with_pool(make_run(trials, objective="data_free", selection=selection), AGREEMENT)


def test_the_pool_judged_beside_the_audit_set(
    make_run: Maker, spec: Any, make_selection: Any
) -> None:
    run = chosen_run(make_run, spec, make_selection, synthetic_agreement=0.7)
    found = quality(run)
    pool, audit = score(found, "pool_agreement"), score(found, "audit_agreement")
    assert (pool.spearman, pool.picked, pool.regret, pool.decided) == (1.0, "t0002", 0.0, False)
    mean = score(found, "synthetic_agreement")
    assert (mean.picked, mean.decided) == ("t0002", True)
    scores = collect_run(run.path).pool.scores(AGREEMENT)
    values = {"t0000": 0.9, "t0001": 0.5, "t0002": 0.7}
    for trial in found.trials:
        expected = (scores[trial.trial] + values[trial.trial]) / 2
        assert trial.scores["synthetic_agreement"] == pytest.approx(expected)
    assert (audit.picked, audit.decided) == ("t0000", False)
    assert audit.regret == pytest.approx(0.2)
    assert audit.spearman == pytest.approx(-0.5)
    # KL is better where it is lower.
    assert score(found, "pool_kl").spearman == -1.0
    assert found.by_pool


def test_the_figure_shows_what_decided_beside_the_trials_own_account(
    make_run: Maker, spec: Any, make_selection: Any
) -> None:
    run = chosen_run(make_run, spec, make_selection, synthetic_agreement=0.7)
    found = quality(run)
    drawn = choice_figure(found)
    assert drawn is not None
    traces = {trace.meta["role"]: trace for trace in drawn.figure.data}
    main = score(found, "synthetic_agreement")
    assert traces["complete"].name == main.words
    assert list(traces["complete"].x) == pytest.approx(
        [100 * trial.scores[main.name] for trial in found.trials]
    )
    assert list(traces["complete"].y) == pytest.approx([10, 30, 20])
    assert (list(traces["bold"].y), traces["bold"].name) == ([30.0], "the choice")
    assert f"{main.words} {main.spearman:.2f}" in drawn.summary
    page = write_report([run.path]).html.read_text(encoding="utf-8")
    assert 'id="run-1-choice"' in page
    assert "chosen by the mean of it and of their agreement on one another" in page


def test_summary_json_holds_what_the_page_shows(
    make_run: Maker, spec: Any, make_selection: Any
) -> None:
    run = chosen_run(make_run, spec, make_selection, synthetic_agreement=0.7)
    (content,) = json.loads(write_report([run.path]).summary_json.read_text("utf-8"))["runs"]
    choice, found = content["choice"], quality(run)
    assert (choice["picked"], choice["best"]) == ("t0002", "t0002")
    assert choice["regret"] == 0
    assert choice["chance_regret"] == pytest.approx(0.1)
    names = [each["name"] for each in choice["scores"]]
    assert names == [each.name for each in found.scores]
    (mean,) = [each for each in choice["scores"] if each["decided"]]
    assert (mean["name"], mean["spearman"]) == ("synthetic_agreement", found.scores[0].spearman)
    plain = make_run([spec(values=(0.5,))], name="plain")
    (content,) = json.loads(write_report([plain.path]).summary_json.read_text("utf-8"))["runs"]
    assert content["choice"] is None


def test_a_run_from_before_the_mean_was_decided_by_the_pool(
    make_run: Maker, spec: Any, make_selection: Any
) -> None:
    found = quality(chosen_run(make_run, spec, make_selection, pool_agreement=0.7))
    assert [each.name for each in found.scores if each.decided] == ["pool_agreement"]
    assert found.by_pool


def test_a_search_with_labels_tells_what_others_would_have_chosen(
    make_run: Maker, spec: Any
) -> None:
    trials = [spec(values=(value,)) for value in (0.1, 0.2, 0.3)]
    run = make_run(trials)
    assert choice_quality(collect_run(run.path)) is None, "no score of the pool"
    found = quality(with_pool(run, AGREEMENT))
    assert found.with_labels
    assert not any(each.decided for each in found.scores)
    assert score(found, "pool_agreement").spearman == 1.0
