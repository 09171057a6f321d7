"""CMA-ES from the trials alone: against the package driven by hand, and on a known valley."""

import cmaes
import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.distributions import FloatDistribution as Float
from optuna.distributions import IntDistribution as Int
from optuna.trial import create_trial

from dfkd_tune.sweeps._cma import RecordedCma

SPACE: dict[str, BaseDistribution] = {"a": Float(0.01, 1, log=True), "b": Int(0, 10)}


def study_of(count: int) -> optuna.Study:
    """Points on a line through the range, better in its middle."""
    study = optuna.create_study(direction="maximize")
    for index in range(count):
        place = index / max(1, count - 1)
        study.add_trial(
            create_trial(
                params={"a": 0.01 * 100**place, "b": round(10 * place)},
                distributions=SPACE,
                value=-((place - 0.5) ** 2),
            )
        )
    return study


def ask(study: optuna.Study, sampler: RecordedCma) -> dict[str, float]:
    study.sampler = sampler
    trial = study.ask(SPACE)
    return dict(trial.params)


def test_proposal_against_the_package_by_hand() -> None:
    """Thirteen trials are two populations of six in two dimensions, and one left over."""
    study = study_of(13)
    found = ask(study, RecordedCma(seed=3, startup=4))
    optimiser = cmaes.CMA(
        mean=np.array([0.5, 0.5]), sigma=1 / 6, bounds=np.array([[0.0, 1], [0, 1]]), seed=3
    )
    assert optimiser.population_size == 6
    done = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    told = [
        (np.array([np.log10(t.params["a"]) / 2 + 1, t.params["b"] / 10]), -(t.value or 0.0))
        for t in done
    ]
    optimiser.tell(told[:6])
    optimiser.tell(told[6:12])
    x = optimiser.ask()
    assert found["a"] == pytest.approx(10 ** (2 * (x[0] - 1)))
    assert found["b"] == round(10 * x[1])


def test_the_same_from_the_same_trials() -> None:
    first, second = (ask(study_of(13), RecordedCma(seed=5, startup=4)) for _ in range(2))
    assert first == second
    assert ask(study_of(13), RecordedCma(seed=6, startup=4)) != first


def test_it_goes_where_the_best_lie() -> None:
    study = optuna.create_study(direction="maximize")
    for number in range(90):
        study.sampler = RecordedCma(seed=number, startup=6)
        trial = study.ask(SPACE)
        place = np.log10(trial.params["a"]) / 2 + 1, trial.params["b"] / 10
        study.tell(trial, -((place[0] - 0.8) ** 2) - (place[1] - 0.3) ** 2)
    last = [t.params for t in study.trials[-20:]]
    assert np.mean([np.log10(p["a"]) / 2 + 1 for p in last]) == pytest.approx(0.8, abs=0.1)
    assert np.mean([p["b"] / 10 for p in last]) == pytest.approx(0.3, abs=0.1)


def test_choices_and_what_not_all_have_are_drawn_at_random() -> None:
    space = {**SPACE, "c": CategoricalDistribution(("x", "y"))}
    study = optuna.create_study(direction="maximize")
    for number in range(12):
        study.sampler = RecordedCma(seed=number, startup=2)
        trial = study.ask(space)
        if trial.params["c"] == "y":
            trial.suggest_float("d", 0, 1)
        study.tell(trial, trial.params["a"])
    assert {t.params["c"] for t in study.trials} == {"x", "y"}
    sampler = RecordedCma(seed=1, startup=2)
    assert set(sampler.infer_relative_search_space(study, study.trials[-1])) == {"a", "b"}


@pytest.mark.parametrize("count", [0, 3])
def test_before_there_are_trials_enough_it_draws_at_random(count: int) -> None:
    study = study_of(count)
    random = optuna.samplers.RandomSampler(seed=2)
    found = ask(study, RecordedCma(seed=2, startup=4))
    other = study_of(count)
    other.sampler = random
    assert found == dict(other.ask(SPACE).params)
