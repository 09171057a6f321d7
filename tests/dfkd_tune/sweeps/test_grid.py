"""Sampler grid: every combination once, in an order that a restart does not change."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from run_folders import add_epochs, empty_run

from dfkd_tune.errors import ExperimentError
from dfkd_tune.records import RunFolder, write_json
from dfkd_tune.sweeps import Allotment, ResolvedExperiment, experiment_of_run, resolve_experiment
from dfkd_tune.sweeps._efficiency import random_search
from dfkd_tune.sweeps._search import RecordedSearch
from search_spaces import get_space

ALLOTMENT = Allotment(cpus=1, gpus=0, max_concurrent=2, total_cpus=2, total_gpus=0)
RATE, WIDTH, KD = "generator_optimiser.learning_rate", "generator.width", "student.width"


@pytest.fixture
def raw(tiny: dict[str, Any]) -> dict[str, Any]:
    """A grid of 2 x 2 x 3 combinations; the recipe is not the first of them."""
    ranges: dict[str, Any] = {
        d.key: 1 if d.kind == "float" else d.choices[0] if d.choices else 20
        for d in get_space("cgdd").dimensions
    }
    ranges |= {
        "generator_objective.adversarial.weight": 0,
        "student.architecture": "convnet",
        KD: {"choices": [0.5, 0.25]},
        WIDTH: {"choices": [16, 8]},
        RATE: {"choices": [1e-2, 1e-3, 1e-4]},
        "generator.conditioning": "embed_concat",
        "generator.latent_size": 64,
    }
    tiny["space"]["ranges"] = ranges
    tiny["search"] = {"sampler": "grid", "scheduler": {"name": "none"}}
    return tiny


def run_out(run: RunFolder, resolved: ResolvedExperiment, restart: bool = False) -> None:
    """Let all trials be proposed and end; with `restart`, by a new start each."""
    search = RecordedSearch(run, resolved, "s", ALLOTMENT)
    for number in range(len(run.trial_folders()), 99):
        if restart:
            search = RecordedSearch(run, resolved, "s", ALLOTMENT)
        proposed = search.suggest(str(number))
        if not isinstance(proposed, dict):
            return
        folder = run.trial_folder(proposed["trial"])
        add_epochs(folder, [0.5], 36)
        folder.set_status("complete")
        search.on_trial_complete(str(number))


def points(run: RunFolder) -> list[tuple[Any, ...]]:
    found = [folder.trial().parameters for folder in run.trial_folders()]
    assert all(set(each) == {KD, WIDTH, RATE} for each in found)
    return [(each[KD], each[WIDTH], each[RATE]) for each in found]


EVERY = list(product((0.5, 0.25), (16, 8), (1e-2, 1e-3, 1e-4)))
RECIPE = (0.25, 8, 1e-3)
ORDER = [RECIPE, *(each for each in EVERY if each != RECIPE)]


@pytest.mark.parametrize("restart", [False, True])
def test_every_combination_once_the_recipe_first(
    raw: dict[str, Any], tmp_path: Path, restart: bool
) -> None:
    resolved = resolve_experiment(raw, "tiny.yaml")
    assert resolved.experiment.search.trials == 12
    run = empty_run(tmp_path / "run")
    run_out(run, resolved, restart)
    assert points(run) == ORDER
    origins = [folder.trial().origin for folder in run.trial_folders()]
    assert origins == ["recipe", *["sampler"] * 11]
    for folder in run.trial_folders():
        record = folder.trial()
        assert record.configuration["generator"]["width"] == record.parameters[WIDTH]


def test_fewer_trials_are_the_first_and_an_extension_goes_on(
    raw: dict[str, Any], tmp_path: Path
) -> None:
    raw["search"]["trials"] = 5
    run = empty_run(tmp_path / "run")
    resolved = resolve_experiment(raw, "tiny.yaml")
    write_json(run.experiment_file, resolved.record())
    run_out(run, resolved)
    assert points(run) == ORDER[:5]
    longer = experiment_of_run(run, trials=99)
    assert longer.experiment.search.trials == 12
    assert longer.identity_hash() == resolved.identity_hash()
    run_out(run, longer)
    assert points(run) == ORDER


def test_points_of_finished_sweeps_come_first_and_once(raw: dict[str, Any], tmp_path: Path) -> None:
    source = empty_run(tmp_path / "source")
    best = dict(zip((KD, WIDTH, RATE), (0.5, 8, 1e-4), strict=True))
    resolved = resolve_experiment(raw, "tiny.yaml")
    search = RecordedSearch(source, resolved, "s", ALLOTMENT)
    name = search.record(resolved.base, origin="sampler", parameters=best)
    add_epochs(source.trial_folder(name), [0.9], 36)
    source.trial_folder(name).set_status("complete")
    raw["search"]["warm_start"] = [str(source.path)]
    warm = resolve_experiment(raw, "tiny.yaml")
    tried = [tuple(point[key] for key in (KD, WIDTH, RATE)) for point in warm.grid]
    assert tried[:2] == [RECIPE, (0.5, 8, 1e-4)]
    assert sorted(tried) == sorted(EVERY)


def test_what_is_no_grid_is_refused_with_its_key(raw: dict[str, Any]) -> None:
    raw["space"]["ranges"][RATE] = {"low": 1e-4, "high": 1e-2}
    with pytest.raises(ExperimentError, match=rf"space\.ranges\.{RATE}: is a range, 0\.0001 \.\. "):
        resolve_experiment(raw, "tiny.yaml")
    # With two widths of the generator and two of the student.
    raw["space"]["ranges"][RATE] = {"choices": [1e-6 * number for number in range(1, 2502)]}
    with pytest.raises(ExperimentError, match=r"more than 10,000 combinations"):
        resolve_experiment(raw, "tiny.yaml")


def test_a_recipe_beside_the_grid_is_refused(raw: dict[str, Any]) -> None:
    raw["space"]["ranges"][RATE] = {"choices": [0.5]}
    with pytest.raises(ExperimentError, match=r"the recipe's value 0\.001 is outside"):
        resolve_experiment(raw, "tiny.yaml")


def test_a_random_search_of_the_same_space_draws(raw: dict[str, Any], tmp_path: Path) -> None:
    run = empty_run(tmp_path / "run")
    run_out(run, random_search(resolve_experiment(raw, "tiny.yaml")))
    assert len(points(run)) == 12
    assert points(run) != ORDER
