"""How good a choice without labels was, against hand-computed numbers and other computations."""

from itertools import combinations
from math import sqrt
from typing import Any

import numpy as np
import pytest
from scipy import stats

from reports import collect_run
from reports.compute.choice import ChoiceQuality, choice_quality, rank_correlations

Maker = Any


def quality(folder: Any) -> ChoiceQuality:
    found = choice_quality(collect_run(folder.path))
    assert found is not None
    return found


def test_numbers_by_hand(make_run: Maker, spec: Any) -> None:
    """Ranks 4 3 2 1 and 3 4 2 1: rho = 1 - 6 * 2 / 60 = 0.8, tau = (5 - 1) / 6."""
    pairs = ((0.9, 0.85), (0.8, 0.88), (0.7, 0.80), (0.6, 0.70))
    trials = [spec(values=(value,), beside=(accuracy,)) for value, accuracy in pairs]
    trials.append(spec(values=(0.99,), beside=(0.99,), state="stopped"))
    found = quality(make_run(trials, objective="data_free"))
    assert [trial.trial for trial in found.trials] == ["t0000", "t0001", "t0002", "t0003"]
    assert found.spearman == pytest.approx(0.8)
    assert found.kendall == pytest.approx(2 / 3)
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
    assert (found.spearman, found.kendall, found.enough) == (None, None, False)


def test_equal_values_give_no_correlation(make_run: Maker, spec: Any) -> None:
    trials = [spec(values=(0.5,), beside=(0.1 * i,)) for i in range(3)]
    found = quality(make_run(trials, objective="data_free"))
    assert (found.spearman, found.kendall, found.enough) == (None, None, True)


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
