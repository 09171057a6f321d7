"""NSGA-II from the trials alone: what it computes, and that nothing beside them counts."""

import math
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from dfkd_tune.sweeps._nsga2 import RecordedNsga2

SPACE = {
    "width": FloatDistribution(1.0, 100.0, log=True),
    "rate": FloatDistribution(0.0, 1.0),
    "kind": CategoricalDistribution(("a", "b", "c")),
}
SIZE = 4


def told(study: optuna.Study, state: TrialState, values: list[float] | None = None) -> None:
    params = {"width": 10.0, "rate": 0.5, "kind": "a"}
    trial = create_trial(params=params, distributions=SPACE, values=values, state=state)
    study.add_trial(trial)


def new_study(sampler: optuna.samplers.BaseSampler | None = None) -> optuna.Study:
    return optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)


def numbers(trials: list[optuna.trial.FrozenTrial]) -> list[int]:
    return [trial.number for trial in trials]


def test_the_complete_trials_are_cut_into_generations_in_their_order() -> None:
    study = new_study()
    sampler = RecordedNsga2(0, SIZE)
    for number in range(11):
        if number in (2, 5):
            told(study, TrialState.PRUNED if number == 2 else TrialState.FAIL)
        else:
            told(study, TrialState.COMPLETE, [0.1 * number, 1.0])
    assert numbers(sampler.get_population(study, 0)) == [0, 1, 3, 4]
    assert numbers(sampler.get_population(study, 1)) == [6, 7, 8, 9]
    assert numbers(sampler.get_population(study, 2)) == [10]
    assert sampler.get_trial_generation(study, study.trials[-1]) == 2


def crowding(front: list[tuple[int, float, float]]) -> dict[int, float]:
    """Of the numbered points of a front: how far their neighbours lie, in ranges."""
    distance = dict.fromkeys([number for number, _, _ in front], 0.0)
    for axis in (1, 2):
        ordered = sorted(front, key=lambda point: point[axis])
        width = ordered[-1][axis] - ordered[0][axis]
        distance[ordered[0][0]] = distance[ordered[-1][0]] = math.inf
        for low, here, high in zip(ordered, ordered[1:], ordered[2:], strict=False):
            distance[here[0]] += (high[axis] - low[axis]) / width
    return distance


def fronts(points: list[tuple[int, float, float]]) -> list[list[tuple[int, float, float]]]:
    """One after the other, each of what surpasses all that is left."""
    left, found = list(points), []
    while left:
        front = [p for p in left if not any(q != p and q[1] >= p[1] and q[2] <= p[2] for q in left)]
        found.append(front)
        left = [p for p in left if p not in front]
    return found


@pytest.mark.parametrize("seed", range(5))
def test_the_parents_are_the_best_so_far_by_front_and_crowding(seed: int) -> None:
    random = np.random.default_rng(seed)
    study = new_study()
    points = [(n, float(v), float(c)) for n, (v, c) in enumerate(random.random((12, 2)))]
    for _, value, cost in points:
        told(study, TrialState.COMPLETE, [value, cost])
    sampler = RecordedNsga2(0, SIZE)
    assert sampler.get_parent_population(study, 0) == []
    kept: list[int] = []
    for generation in (1, 2, 3):
        known = {*kept, *range(SIZE * (generation - 1), SIZE * generation)}
        kept = numbers(sampler.get_parent_population(study, generation))
        assert len(kept) == SIZE
        room = SIZE
        for front in fronts([points[n] for n in sorted(known)]):
            chosen = [p[0] for p in front if p[0] in kept]
            assert len(chosen) == min(room, len(front)), "the better fronts come first"
            if 0 < len(chosen) < len(front):
                apart = crowding(front)
                others = [apart[p[0]] for p in front if p[0] not in kept]
                assert min(apart[n] for n in chosen) >= max(others)
            room -= len(chosen)
    # Asked for at once, they are the same.
    assert numbers(RecordedNsga2(0, SIZE).get_parent_population(study, 3)) == kept


def objective(params: dict[str, Any]) -> list[float]:
    """The wider, the better and the dearer; the rate has its best at 0.3, the kind at b."""
    cost = math.log10(params["width"])
    loss = (params["rate"] - 0.3) ** 2 + (params["kind"] != "b") * 0.2
    return [0.5 * cost - loss, cost]


def search(count: int, *, rebuilt: bool) -> list[dict[str, Any]]:
    study = new_study()
    for number in range(count):
        if rebuilt:
            known, study = study.trials, new_study()
            for each in known:
                fresh = create_trial(
                    params=each.params, distributions=each.distributions, values=each.values
                )
                study.add_trial(fresh)
        study.sampler = RecordedNsga2(number, 6)
        trial = study.ask(SPACE)
        study.tell(trial, objective(trial.params))
    return [trial.params for trial in study.trials]


def test_a_study_of_the_bare_trials_proposes_the_same() -> None:
    """What Optuna notes beside the trials is gone after each."""
    whole = search(40, rebuilt=False)
    assert search(40, rebuilt=True) == whole
    # With three values to search, one child in four would be a trial already.
    assert len({str(params) for params in whole}) > 36


def test_later_generations_lose_less() -> None:
    losses = []
    for params in search(90, rebuilt=False):
        value, cost = objective(params)
        losses.append(0.5 * cost - value)
    assert np.mean(losses[-30:]) < 0.5 * np.mean(losses[:6])


def test_very_many_generations_are_found_at_once() -> None:
    """Not one by calling for the one before it, again and again."""
    study = new_study()
    for number in range(2400):
        told(study, TrialState.COMPLETE, [number % 7, number % 5])
    assert len(RecordedNsga2(0, 2).get_parent_population(study, 1200)) == 2
