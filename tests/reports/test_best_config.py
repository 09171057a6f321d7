"""The best trial's configuration, read back by what reads experiment files."""

from pathlib import Path
from typing import Any

import pytest

from dfkd_tune.benchmarks import get_benchmark
from dfkd_tune.classifiers import NetworkConfig
from dfkd_tune.distillation import METHODS, DistillationConfig
from dfkd_tune.errors import ExperimentError
from dfkd_tune.records import Parent, RunFolder, write_json, write_record
from dfkd_tune.sweeps import read_experiment_file, resolve_experiment
from reports import collect_run, write_report
from reports.best_config import best_experiment

Maker = Any


@pytest.fixture
def run(make_run: Maker, spec: Any, make_selection: Any) -> RunFolder:
    """A sweep whose selected trial has a whole configuration of another method and threads."""
    folder: RunFolder = make_run(
        [spec(values=(0.5,)), spec(values=(0.4,))], selection=make_selection("t0001")
    )
    student = NetworkConfig(architecture="convnet", width=0.25)
    recipe = METHODS["fast"].recipe_for(get_benchmark("digits").inputs, student)
    recipe = recipe.model_copy(update={"seed": 7})
    trial = folder.trial_folder("t0001")
    record = trial.trial().model_copy(
        update={"configuration": recipe.model_dump(mode="json"), "threads": 3}
    )
    write_record(trial.trial_file, record)
    teacher = {"architecture": "convnet", "width": 0.5, "weights": None, "recipe": {"epochs": 6}}
    experiment = {
        **folder.experiment(),
        "benchmark_config": get_benchmark("digits").config.model_dump(mode="json"),
        "teacher": teacher,
        "search": {"objective": "data_free", "audit": {"images": 50}},
        "saving": {"evaluate_every": 2},
    }
    write_json(folder.experiment_file, experiment)
    return folder


def test_it_is_an_experiment_file_whose_recipe_is_the_trial(run: RunFolder) -> None:
    file = write_report([run.path]).best_config_yaml
    assert file is not None
    resolved = resolve_experiment(read_experiment_file(file), str(file), searched=False)
    configuration = run.trial_folder("t0001").trial().configuration
    assert resolved.base == DistillationConfig.model_validate(configuration)
    assert resolved.base.seed == 7
    experiment = resolved.experiment
    assert (experiment.name, experiment.method) == ("digits-t0001", "fast")
    assert experiment.teacher.architecture == "convnet"
    assert experiment.resources.cpus_per_trial == 3
    assert experiment.saving.evaluate_every == 2
    assert (resolved.objective.name, experiment.search.audit.images) == ("data_free", 50)


def test_a_sweep_of_it_goes_on_over_the_ranges_of_the_run(run: RunFolder) -> None:
    """Its values may lie outside the ranges that its method has by default."""
    rate = "student_optimiser.learning_rate"
    trial = run.trial_folder("t0001")
    configuration = trial.trial().configuration
    configuration["student_optimiser"]["learning_rate"] = 0.6
    configuration["generator_optimiser"]["learning_rate"] = 0.01
    record = trial.trial().model_copy(
        update={"configuration": configuration, "parameters": {rate: 0.6}}
    )
    write_record(trial.trial_file, record)
    ranges = {rate: {"low": 0.01, "high": 1.0}, "synthesis.latent_learning_rate": 0.01}
    space = {"name": None, "ranges": ranges}
    write_json(run.experiment_file, {**run.experiment(), "method": "fast", "space": space})
    file = write_report([run.path]).best_config_yaml
    assert file is not None
    raw = read_experiment_file(file)
    assert raw["space"] == {"ranges": ranges}
    resolved = resolve_experiment(raw, str(file), searched=True)
    assert [point[rate] for point in resolved.first_points] == [0.6]
    assert resolve_experiment(raw, str(file), searched=False).base == resolved.base
    with pytest.raises(ExperimentError, match=r"0\.6 is outside the range"):
        resolve_experiment({**raw, "space": {}}, str(file), searched=True)


def test_its_first_lines_say_what_it_is(run: RunFolder) -> None:
    text = best_experiment(collect_run(run.path)) or ""
    assert text.startswith("# The configuration of trial t0001 of the run digits, whole.\n")
    assert "# With the teacher of the run: dfkd-tune distill digits --trial t0001\n" in text


def test_a_child_is_said_to_give_another_student(run: RunFolder) -> None:
    trial = run.trial_folder("t0001")
    parent = Parent(trial="t0000", epoch=1, student_steps=50, place_of="t0000")
    write_record(trial.trial_file, trial.trial().model_copy(update={"parent": parent}))
    text = best_experiment(collect_run(run.path)) or ""
    assert "took over the weights of t0000 at 50 student steps; this file trains its values" in text


def test_names_cannot_leave_their_comment(make_run: Maker, spec: Any) -> None:
    run = make_run([spec(values=(0.5,))])
    record = run.run().model_copy(update={"name": "a\nsettings: {}"})
    write_record(run.run_file, record)
    first, second, *_ = (best_experiment(collect_run(run.path)) or "").splitlines()
    assert first.startswith("#")
    assert second.startswith("# To distil it")


def test_there_is_none_without_a_choice(make_run: Maker, spec: Any, tmp_path: Path) -> None:
    empty = make_run(name="empty")
    assert write_report([empty.path]).best_config_yaml is None
    whole = make_run([spec(values=(0.5,))], name="whole")
    assert write_report([whole.path, empty.path], tmp_path / "two").best_config_yaml is None
    variants = [{"name": "full", "words": ""}]
    compared = make_run(
        [spec(values=(0.5,), variant="full")],
        name="compared",
        kind="comparison",
        comparison={"what": "ablation", "seeds": 1, "variants": variants},
    )
    assert write_report([compared.path]).best_config_yaml is None
