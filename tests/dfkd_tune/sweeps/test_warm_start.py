"""A search that begins with the best of finished ones, by the records of real searches."""

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest

from dfkd_tune.errors import ExperimentError
from dfkd_tune.records import RunFolder, write_json, write_record
from dfkd_tune.sweeps import ResolvedExperiment, resolve_experiment
from dfkd_tune.sweeps._simulation import simulate_search
from search_spaces import get_key
from trainables import CurveModel, RecordedCurve

RATE = "generator_optimiser.learning_rate*schedule.generator_steps"


def model_of(resolved: ResolvedExperiment) -> CurveModel:
    """Made-up curves: the lower the generator's rate, the better."""
    base = dict(resolved.first_points[0])
    points = [{**base, RATE: 1e-4 * 1.6**index} for index in range(12)]
    return CurveModel(
        resolved.space,
        tuple(
            RecordedCurve(
                parameters=point, fractions=(1.0,), values=(1 - 0.05 * index,), seconds=1.0
            )
            for index, point in enumerate(points)
        ),
    )


def searched(raw: dict[str, Any], path: Path) -> RunFolder:
    resolved = resolve_experiment(raw, "tiny.yaml")
    run = RunFolder(path)
    simulate_search(resolved, run, model_of(resolved))
    return run


def best_first(run: RunFolder) -> list[dict[str, Any]]:
    folders = sorted(run.trial_folders(), key=lambda f: (-(f.epochs()[-1].value or 0), f.name))
    return [folder.trial().parameters for folder in folders]


@pytest.fixture
def raw(tiny: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    tiny["search"] = {"trials": 6, "sampler": "random", "scheduler": {"name": "none"}}
    tiny["storage"] = str(tmp_path / "storage")
    return tiny


@pytest.fixture
def source(raw: dict[str, Any], tmp_path: Path) -> RunFolder:
    other = copy.deepcopy(raw)
    other["search"]["seed"] = 9
    return searched(other, tmp_path / "source")


def test_the_best_come_after_the_recipe(
    raw: dict[str, Any], source: RunFolder, tmp_path: Path
) -> None:
    raw["search"] |= {"warm_start": [str(source.path)], "warm_points": 2}
    run = searched(raw, tmp_path / "run")
    records = [folder.trial() for folder in run.trial_folders()]
    assert [record.origin for record in records] == [
        "recipe",
        "warm_start",
        "warm_start",
        *["sampler"] * 3,
    ]
    recipe = records[0].parameters
    better = [parameters for parameters in best_first(source) if parameters != recipe]
    # A tied number comes back but for its last bits.
    for record, parameters in zip(records[1:3], better, strict=False):
        assert record.parameters == pytest.approx(parameters)


def test_sources_take_turns(raw: dict[str, Any], source: RunFolder, tmp_path: Path) -> None:
    raw["search"]["seed"] = 4
    second = searched(raw, tmp_path / "second")
    raw["search"] |= {"warm_start": [str(source.path), str(second.path)], "warm_points": 4}
    resolved = resolve_experiment(raw, "tiny.yaml")
    recipe = resolved.first_points[0]
    wanted = [
        point
        for pair in zip(best_first(source), best_first(second), strict=True)
        for point in pair
        if point != recipe
    ]
    assert len(resolved.warm_points) == 4
    for point, parameters in zip(resolved.warm_points, wanted, strict=False):
        assert point == pytest.approx(parameters)


def test_what_lies_outside_a_range_is_the_recipes(raw: dict[str, Any], source: RunFolder) -> None:
    raw["search"]["warm_start"] = [str(source.path)]
    raw["space"]["ranges"][RATE] = {"low": 9e-4, "high": 1.1e-3}
    resolved = resolve_experiment(raw, "tiny.yaml")
    assert resolved.warm_points
    outside = [p for p in best_first(source)[:1] if not 9e-4 <= p[RATE] <= 1.1e-3]
    assert outside, "the best of the source lies outside"
    assert resolved.warm_points[0][RATE] == get_key(resolved.base, RATE)
    others = {k: v for k, v in outside[0].items() if k != RATE}
    assert {k: v for k, v in resolved.warm_points[0].items() if k != RATE} == others


def test_it_goes_on_where_its_source_is_gone(
    raw: dict[str, Any], source: RunFolder, tmp_path: Path
) -> None:
    raw["search"]["warm_start"] = [str(source.path)]
    first = resolve_experiment(raw, "tiny.yaml")
    run = RunFolder(tmp_path / "storage" / raw["name"])
    run.path.mkdir(parents=True)
    write_json(run.experiment_file, first.record())
    shutil.rmtree(source.path)
    again = resolve_experiment(raw, "tiny.yaml")
    assert again.warm_points == first.warm_points
    assert again.identity_hash() == first.identity_hash()


@pytest.mark.parametrize("case", ["missing", "empty", "foreign"])
def test_a_useless_source_is_refused_in_a_line(
    raw: dict[str, Any], source: RunFolder, tmp_path: Path, case: str
) -> None:
    raw["search"]["warm_start"] = [str(source.path)]
    if case == "missing":
        raw["search"]["warm_start"] = [str(tmp_path / "nowhere")]
    elif case == "empty":
        for folder in source.trial_folders():
            folder.set_status("failed", reason="by a test")
    else:
        for folder in source.trial_folders():
            record = folder.trial().model_copy(update={"parameters": {"elsewhere": 1}})
            write_record(folder.trial_file, record)
    with pytest.raises(ExperimentError) as caught:
        resolve_experiment(raw, "tiny.yaml")
    said = str(caught.value)
    assert "\n" not in said
    wanted = {
        "missing": "is not a folder",
        "empty": "no complete trial",
        "foreign": "lies within this search's space",
    }
    assert wanted[case] in said
