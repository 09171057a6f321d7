"""A search on recorded curves: the real searcher and scheduler, judged by their records."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfkd_tune.records import RunFolder
from dfkd_tune.sweeps import ResolvedExperiment, measure_efficiency, resolve_experiment
from dfkd_tune.sweeps._efficiency import _interval, _median, random_search
from dfkd_tune.sweeps._simulation import Simulation, simulate_search
from trainables import CurveModel, RecordedCurve

RATE = "generator_optimiser.learning_rate*schedule.generator_steps"
STEPS = 6  # student steps of an epoch of the tiny experiment
FRACTIONS = (1 / 3, 2 / 3, 1.0)


def model_of(resolved: ResolvedExperiment) -> CurveModel:
    """Made-up curves: the lower the generator's rate, the better, at every fraction."""
    points = [dict(resolved.first_points[0])]
    for index in range(30):
        points.append({**points[0], RATE: 1e-4 * 1.26**index})
    curves = []
    for point in points:
        quality = 1 - (math.log10(float(point[RATE])) + 4) / 4
        values = tuple(quality * (0.4 + 0.6 * f) for f in FRACTIONS)
        curves.append(
            RecordedCurve(parameters=point, fractions=FRACTIONS, values=values, seconds=9.0)
        )
    return CurveModel(resolved.space, tuple(curves))


@pytest.fixture
def raw(tiny: dict[str, Any]) -> dict[str, Any]:
    tiny["settings"]["schedule"] |= {"epochs": 9}
    tiny["search"] = {"trials": 12, "startup_trials": 3, "scheduler": {"grace_epochs": 1}}
    return tiny


def simulate(raw: dict[str, Any], path: Path, workers: int = 2) -> tuple[Simulation, RunFolder]:
    resolved = resolve_experiment(raw, "tiny.yaml")
    run = RunFolder(path)
    return simulate_search(resolved, run, model_of(resolved), workers=workers), run


def test_what_it_tells_is_what_the_records_hold(raw: dict[str, Any], tmp_path: Path) -> None:
    found, run = simulate(raw, tmp_path / "run")
    folders = run.trial_folders()
    states = [folder.status().state for folder in folders]
    assert found.trials == len(folders) == 12
    assert set(states) == {"complete", "stopped"}
    assert found.student_steps == sum(folder.epochs()[-1].student_steps for folder in folders)
    complete = [f.epochs()[-1].value for f in folders if f.status().state == "complete"]
    assert found.best == max(v for v in complete if v is not None)
    values = [milestone.value for milestone in found.milestones]
    assert values == sorted(values)
    assert found.steps_to(found.best) == found.milestones[-1].student_steps
    assert found.steps_to(found.best + 1e-9) == math.inf
    assert found.steps_to(-1) == found.milestones[0].student_steps


def test_without_a_scheduler_all_train_their_whole_budget(
    raw: dict[str, Any], tmp_path: Path
) -> None:
    raw["search"]["scheduler"] = {"name": "none"}
    found, run = simulate(raw, tmp_path / "run")
    whole = run.trial_folders()[0].trial().total_student_steps
    assert found.student_steps == 12 * whole
    # Twelve trials of 9 seconds by two at once.
    assert found.seconds == pytest.approx(54)


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median"])
def test_every_scheduler_stops_the_weak(
    raw: dict[str, Any], tmp_path: Path, scheduler: str
) -> None:
    raw["search"] |= {"sampler": "random", "scheduler": {"name": scheduler, "grace_epochs": 2}}
    found, run = simulate(raw, tmp_path / "run")
    last: dict[str, list[float]] = {"complete": [], "stopped": []}
    for folder in run.trial_folders():
        epochs, status = folder.epochs(), folder.status()
        # At the first rung, where all trials were.
        (value,) = (epoch.value for epoch in epochs if epoch.student_steps == 2 * STEPS)
        last[status.state].append(value or 0.0)
        if status.state == "stopped":
            assert epochs[-1].student_steps >= 2 * STEPS
            assert "at " in status.reason
            assert {"asha": "ASHA", "hyperband": "HyperBand", "median": "median"}[
                scheduler
            ] in status.reason
    assert found.student_steps < 12 * 9 * STEPS
    assert np.mean(last["complete"]) > np.mean(last["stopped"])


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes", "random"])
def test_every_sampler_goes_on_after_a_restart(
    raw: dict[str, Any], tmp_path: Path, sampler: str
) -> None:
    """Ten trials, then a new start that knows them from the records alone."""
    raw["search"] |= {"sampler": sampler, "trials": 10, "scheduler": {"name": "none"}}
    _, run = simulate(raw, tmp_path / "run")
    before = [folder.trial().parameters for folder in run.trial_folders()]
    raw["search"]["trials"] = 13
    found, _ = simulate(raw, tmp_path / "run")
    after = [folder.trial().parameters for folder in run.trial_folders()]
    assert found.trials == 3
    assert after[:10] == before
    assert len({str(parameters) for parameters in after}) == 13
    assert {folder.status().state for folder in run.trial_folders()} == {"complete"}


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_with_a_cost_a_killed_search_goes_on_as_if_it_never_was(
    raw: dict[str, Any], tmp_path: Path, sampler: str
) -> None:
    """By one worker, so that the history is the same: ten trials, a new start, ten more."""
    raw["search"] |= {"sampler": sampler, "against": "parameters", "trials": 20}
    raw["search"]["scheduler"] = {"name": "none"}
    _, whole = simulate(raw, tmp_path / "whole", workers=1)
    raw["search"]["trials"] = 10
    simulate(raw, tmp_path / "parts", workers=1)
    raw["search"]["trials"] = 20
    _, parts = simulate(raw, tmp_path / "parts", workers=1)
    found = [[f.trial().parameters for f in run.trial_folders()] for run in (whole, parts)]
    assert found[0] == found[1]
    assert len(found[0]) == 20
    assert {folder.status().state for folder in parts.trial_folders()} == {"complete"}


@pytest.mark.parametrize(("sampler", "trials"), [("tpe", 30), ("gp", 16), ("cmaes", 60)])
def test_samplers_learn(raw: dict[str, Any], tmp_path: Path, sampler: str, trials: int) -> None:
    """Their later trials are better than those of a random search, on an easy slope."""
    raw["space"]["ranges"] |= {RATE: {"low": 1e-4, "high": 0.1}}
    means = {}
    for name in (sampler, "random"):
        raw["search"] |= {"sampler": name, "trials": trials, "scheduler": {"name": "none"}}
        _, run = simulate(raw, tmp_path / name)
        values = [folder.epochs()[-1].value or 0.0 for folder in run.trial_folders()]
        means[name] = np.mean(values[-8:]) if name == sampler else np.mean(values[1:])
    assert means[sampler] > means["random"]


def test_the_same_again(raw: dict[str, Any], tmp_path: Path) -> None:
    first, second = (simulate(raw, tmp_path / name)[0] for name in "ab")
    assert first == second


def test_another_seed_searches_elsewhere(raw: dict[str, Any], tmp_path: Path) -> None:
    first, _ = simulate(raw, tmp_path / "a")
    raw["search"]["seed"] = 5
    assert simulate(raw, tmp_path / "b")[0] != first


def test_no_trial_goes_on_beyond_the_budget(raw: dict[str, Any], tmp_path: Path) -> None:
    resolved = resolve_experiment(raw, "tiny.yaml")
    whole = resolved.base.schedule.total_student_steps
    found = simulate_search(
        random_search(resolved),
        RunFolder(tmp_path / "run"),
        model_of(resolved),
        most_steps=3 * whole,
    )
    assert found.student_steps == 3 * whole


def test_efficiency_is_of_searches_with_the_same_budget(
    raw: dict[str, Any], tmp_path: Path
) -> None:
    """Against the two searches of one seed, made one by one; the second draws elsewhere."""
    resolved = resolve_experiment(raw, "tiny.yaml")
    model = model_of(resolved)
    found = measure_efficiency(resolved, model, [0, 7])
    assert [each.seed for each in found.seeds] == [0, 7]
    raw["search"] |= {"seed": 7, "sampler": "random"}
    raw["search"]["scheduler"] = {"name": "none", "grace_epochs": 1}
    random, _ = simulate(raw, tmp_path / "random")
    budget = 12 * resolved.base.schedule.total_student_steps
    assert random.student_steps == budget
    raw["search"] |= {
        "sampler": "tpe",
        "trials": 48,
        "scheduler": {"grace_epochs": 1},
        "seed": 1_000_007,
    }
    sought = simulate_search(
        resolve_experiment(raw, "tiny.yaml"),
        RunFolder(tmp_path / "search"),
        model,
        most_steps=budget,
    )
    last = found.seeds[1]
    assert last.random_best == random.best
    assert last.search_best == sought.best
    assert last.share == sought.steps_to(random.best) / budget


def test_median_and_interval_where_some_never_arrive() -> None:
    assert _median(np.asarray([0.3, 0.1, math.inf])) == 0.3
    assert _median(np.asarray([0.1, 0.3, math.inf, math.inf])) == math.inf
    assert _median(np.asarray([0.1, 0.3])) == pytest.approx(0.2)
    shares = np.asarray([0.1] * 30 + [math.inf])
    assert _interval(shares) == (0.1, 0.1)
    low, high = _interval(np.asarray([0.1, 0.2, math.inf]))
    assert (low, high) == (0.1, math.inf)
