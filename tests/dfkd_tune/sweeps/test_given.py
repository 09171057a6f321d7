"""Comparisons: which trials they give, and a real one from start to report."""

import json
from pathlib import Path
from typing import Any

import pytest

from dfkd_tune.distillation import METHODS
from dfkd_tune.errors import ExperimentError, RunFolderError
from dfkd_tune.sweeps import ablation, comparison_of_methods, resolve_experiment
from reports import summarise_comparison, write_report


def test_an_ablation_takes_one_piece_away_at_a_time(tiny: dict[str, Any]) -> None:
    resolved = resolve_experiment(tiny, "tiny.yaml")
    found = ablation(resolved, 2)
    names = [variant.name for variant in found.variants]
    assert names == [
        "full",
        "no_attention_transfer",
        "no_preset_label_supervision",
        "no_conditioning",
    ]
    assert [trial.variant for trial in found.trials] == names * 2
    full, no_attention, no_label, no_condition = (t.configuration for t in found.trials[:4])
    assert full == resolved.base
    assert no_attention.student_objective.attention_transfer.weight == 0
    assert no_attention.student_objective.kd == full.student_objective.kd
    assert no_label.student_objective.preset_label.weight == 0
    assert no_condition.generator.conditioning == "none"
    assert no_condition.generator_objective.pseudo_label.weight == 1
    assert {t.configuration.seed for t in found.trials[:4]} == {0}
    assert {t.configuration.seed for t in found.trials[4:]} == {1000}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_an_ablation_of_valid_variants(tiny: dict[str, Any], name: str) -> None:
    raw = {key: tiny[key] for key in ("name", "benchmark", "teacher")} | {"method": name}
    resolved = resolve_experiment(raw, "tiny.yaml", searched=False)
    found = ablation(resolved, 1)
    assert found.variants[0].name == "full"
    assert len({variant.name for variant in found.variants}) == len(found.variants)
    dumps = [trial.configuration.model_dump_json() for trial in found.trials]
    assert len(set(dumps)) == len(dumps) > 1 or name in {"zskd", "dfad"}


def test_the_ablation_of_fine_grained_distillation_names_its_published_rows(
    tiny: dict[str, Any],
) -> None:
    from dfkd_tune.published import published_results

    raw = {key: tiny[key] for key in ("name", "benchmark", "teacher")} | {"method": "dfkd_fgvc"}
    found = ablation(resolve_experiment(raw, "tiny.yaml", searched=False), 1)
    known = {result.method for result in published_results("aircraft")}
    published = [variant.published for variant in found.variants if variant.published]
    assert len(published) == len(found.variants)
    assert set(published) <= known


def test_methods_get_the_settings_and_their_own_changes(tiny: dict[str, Any]) -> None:
    raw = {**tiny, "changes": {"adi": {"image_bank": {"size": 64}}}}
    del raw["method"]
    resolved, found = comparison_of_methods(raw, "all.yaml", ["adi", "dfad"], 1)
    assert resolved.method.name == "adi"
    adi, dfad = (trial.configuration for trial in found.trials)
    assert (adi.method, dfad.method) == ("adi", "dfad")
    assert adi.schedule.epochs == dfad.schedule.epochs == 6
    assert adi.image_bank.size == 64
    assert dfad.image_bank.size == 0


def test_an_unknown_method_is_named(tiny: dict[str, Any]) -> None:
    with pytest.raises(ExperimentError, match="did you mean 'dfad'"):
        comparison_of_methods(tiny, "all.yaml", ["dfadd"], 1)
    with pytest.raises(ExperimentError, match="no method 'xx'"):
        comparison_of_methods({**tiny, "changes": {"xx": {}}}, "all.yaml", ["dfad"], 1)


@pytest.mark.sweep
def test_a_comparison_measures_all_on_test_and_chooses_none(
    sweep: Any, tiny: dict[str, Any], storage: Path
) -> None:
    tiny["storage"] = str(storage)
    tiny["settings"]["schedule"]["epochs"] = 2
    tiny["resources"]["max_concurrent"] = 1
    found = ablation(resolve_experiment(tiny, "tiny.yaml"), 2)
    result = sweep(tiny, comparison=found)
    assert result.exit_code == 0
    assert result.run.run().kind == "comparison"
    assert result.run.selection() is None
    folders = result.run.trial_folders()
    assert [folder.trial().variant for folder in folders] == [t.variant for t in found.trials]
    tests = [folder.test() for folder in folders]
    assert all(test is not None and test.images == 359 for test in tests)

    rows = summarise_comparison(result.run.path)
    assert [row.variant for row in rows] == [variant.name for variant in found.variants]
    assert all(row.complete == row.seeds == row.test.count == 2 for row in rows)
    first = [test.student_accuracy for test in (tests[0], tests[4]) if test is not None]
    assert rows[0].test.mean == pytest.approx(100 * sum(first) / 2)
    assert json.dumps([row.as_json() for row in rows])
    page = write_report([result.run.path]).html.read_text()
    assert all(variant.name in page for variant in found.variants)

    before = {folder.name: folder.metrics_file.read_bytes() for folder in folders}
    again = sweep(tiny, comparison=found)
    assert again.exit_code == 0
    assert {f.name: f.metrics_file.read_bytes() for f in again.run.trial_folders()} == before
    with pytest.raises(RunFolderError, match="another experiment"):
        sweep(tiny, comparison=ablation(resolve_experiment(tiny, "tiny.yaml"), 1))
