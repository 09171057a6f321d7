"""The experiment file is checked whole, and says what to mend."""

from pathlib import Path
from typing import Any

import pytest

from dfkd_tune.distillation import METHODS
from dfkd_tune.errors import ExperimentError
from dfkd_tune.sweeps import (
    ablation,
    comparison_of_methods,
    override,
    read_experiment_file,
    resolve_experiment,
    resolve_suite,
)

REPOSITORY = Path(__file__).parents[3]


def message(raw: dict[str, Any]) -> str:
    with pytest.raises(ExperimentError) as caught:
        resolve_experiment(raw, "my.yaml")
    return str(caught.value)


def test_the_shipped_experiments_are_valid() -> None:
    files = {file.stem: file for file in (REPOSITORY / "experiments").glob("*.yaml")}
    assert set(files) == {
        "ablation_cub64",
        "digits",
        "methods_cifar10",
        "methods_digits",
        "pretrain_cifar64",
        "sample",
        "search_methods_digits",
        "six_benchmarks",
    }
    for name in ("digits", "search_methods_digits"):
        resolve_experiment(read_experiment_file(files[name]), f"{name}.yaml")


@pytest.fixture
def over_methods() -> dict[str, Any]:
    """The shipped search over methods."""
    return read_experiment_file(REPOSITORY / "experiments" / "search_methods_digits.yaml")


def test_a_search_over_methods_begins_with_every_recipe_under_its_changes(
    over_methods: dict[str, Any],
) -> None:
    resolved = resolve_experiment(over_methods, "my.yaml")
    names = over_methods["space"]["ranges"]["method"]["choices"]
    assert list(resolved.bases) == names
    assert [point["method"] for point in resolved.first_points] == names
    for point in resolved.first_points:
        base = resolved.base_of(point)
        assert base.method == point["method"]
        assert base.schedule.total_student_steps == 14 * 80
        assert resolved.space.configuration(base, point) == base
    assert resolved.bases["adi"].schedule.generator_steps == 50
    assert resolved.base == resolved.bases["dfq"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "zskd"}, "method: zskd is tried first, and is not among the choices"),
        ({"changes.adi.schedule.student_steps": 21}, "changes.adi.schedule: comes to 1,176"),
        ({"changes.nayr": {}}, "changes.nayr: no method 'nayr'; did you mean 'nayer'"),
        ({"changes.fast.schedule.batch_size": 0}, "settings.schedule.batch_size"),
    ],
)
def test_what_is_wrong_with_a_search_over_methods_is_said(
    over_methods: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    for key, value in changes.items():
        *parents, leaf = key.split(".")
        section = over_methods
        for part in parents:
            section = section[part]
        section[leaf] = value
    assert said in message(over_methods)


def test_the_shipped_comparison_gives_every_method_one_budget() -> None:
    raw = read_experiment_file(REPOSITORY / "experiments" / "methods_digits.yaml")
    _, comparison = comparison_of_methods(raw, "methods.yaml", [], 2)
    assert [variant.name for variant in comparison.variants] == list(METHODS)
    assert len(comparison.trials) == 2 * len(METHODS)
    steps = {t.configuration.schedule.total_student_steps for t in comparison.trials}
    assert steps == {14 * 80}
    assert {t.configuration.schedule.batch_size for t in comparison.trials} == {64}
    seeds = {t.configuration.seed for t in comparison.trials}
    assert len(seeds) == 2


def test_the_shipped_suite_lacks_nothing_but_its_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DFKD_TUNE_DATA", str(tmp_path))
    file = REPOSITORY / "experiments" / "six_benchmarks.yaml"
    with pytest.raises(ExperimentError) as caught:
        resolve_suite(read_experiment_file(file), "six.yaml")
    _, *problems = str(caught.value).splitlines()
    assert len(problems) == 6
    assert all("the images of " in line and "put them there" in line for line in problems)


def test_the_first_point_is_the_recipe_with_the_settings(tiny: dict[str, Any]) -> None:
    resolved = resolve_experiment(tiny, "my.yaml")
    assert resolved.base.student_objective.kd.temperature == 4.0
    assert resolved.base.generator_objective.preset_label.weight == 1.0
    assert resolved.base.schedule.epochs == 6
    again = resolved.space.configuration(resolved.base, resolved.first_points[0])
    assert again == resolved.base


def test_all_errors_come_in_one_message_with_paths(tiny: dict[str, Any]) -> None:
    tiny["benchmrk"] = 1
    tiny["method"] = "cgd"
    tiny["search"]["trails"] = 3
    tiny["search"]["seed"] = "many"
    tiny["resources"]["cpus_per_trial"] = 0
    text = message(tiny)
    assert text.startswith("my.yaml has 5 errors:")
    assert "benchmrk: unknown key; did you mean 'benchmark'?" in text
    assert "method: no method 'cgd'; did you mean 'cgdd'?" in text
    assert "search.trails: unknown key; did you mean 'trials'?" in text
    assert "search.seed: " in text
    assert "'many'" in text
    assert "resources.cpus_per_trial: " in text
    assert "got 0" in text


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("benchmark", "digit", "benchmark: there is no benchmark 'digit'; did you mean 'digits'?"),
        ("method", 3, "method: Input should be a valid string; got 3"),
        ("space.name", "cgd", "space.name: no search space 'cgd'; did you mean 'cgdd'?"),
        ("settings.student.architecture", "resnet9", "there is no network 'resnet9'"),
        ("teacher.architecture", "resnet9", "teacher.architecture: there is no network 'resnet9'"),
        ("teacher.widht", 1, "teacher.widht: unknown key; did you mean 'width'?"),
        ("settings.generater", {}, "settings.generater: unknown key; did you mean 'generator'?"),
        (
            "settings.generator_objective.preset_lable",
            {"weight": 1},
            "settings.generator_objective.preset_lable: unknown key; did you mean 'preset_label'?",
        ),
        (
            "settings.student_objective.kd.weight",
            -1,
            "settings.student_objective.kd.weight: Input should be greater than or equal to 0",
        ),
        ("settings.schedule.epochs", "ten", "settings.schedule.epochs: "),
        ("settings.schedule.mode", "two_stage", "needs schedule.generator_epochs of at least 1"),
        ("settings.generator.architecture", "dcgan", "sides divisible by 16"),
        ("settings.generator.conditioning", "concat", "settings.generator.conditioning: "),
        ("space.ranges", {"student.widht": 1.0}, "space.ranges.student.widht: not searched"),
        (
            "space.ranges",
            {"student_optimiser.learning_rate": {"low": 1.0, "high": 0.1}},
            "low 1 is not below high 0.1",
        ),
        (
            "space.ranges",
            {"student.architecture": {"choices": ["convnet", "vgg"]}},
            "space.ranges.student.architecture: 'vgg': there is no network 'vgg'",
        ),
        (
            "space.ranges",
            {"student_optimiser.learning_rate": {"low": 0.2, "high": 0.3}},
            "the recipe's value 0.1 is outside the range 0.2 .. 0.3 (log)",
        ),
        ("search.scheduler.grace_epochs", 7, "more than the 6 epochs of a trial"),
        ("search.time_budget", "soon", "search.time_budget: "),
        ("name", "../escape", "name: "),
    ],
)
def test_a_wrong_value_is_named_with_its_path(
    tiny: dict[str, Any], path: str, value: Any, expected: str
) -> None:
    if path == "space.ranges":
        tiny["space"]["ranges"] |= value
    else:
        tiny = override(tiny, {path: value})
    text = message(tiny)
    assert expected in text
    assert text.startswith("my.yaml: "), "one problem is one line"
    assert "\n" not in text


def test_what_is_wrong_between_keys_ends_with_what_to_do(tiny: dict[str, Any]) -> None:
    tiny = override(tiny, {"settings.schedule.mode": "two_stage"})
    said = "settings: schedule.mode two_stage needs schedule.generator_epochs of at least 1"
    assert message(tiny) == f"my.yaml: {said}"


def test_grace_must_outlast_the_warm_up(tiny: dict[str, Any]) -> None:
    tiny["settings"]["student_optimiser"] = {"warmup_epochs": 2}
    assert "does not outlast the student's warm-up of 2 epochs; give at least 3" in message(tiny)


def test_grace_by_default_covers_the_warm_up(tiny: dict[str, Any]) -> None:
    tiny["settings"]["student_optimiser"] = {"warmup_epochs": 3}
    del tiny["search"]["scheduler"]["grace_epochs"]
    resolved = resolve_experiment(tiny, "my.yaml")
    assert resolved.grace_epochs == 4
    assert resolved.grace_student_steps == 4 * 3 * 2


def test_the_identity_ignores_what_does_not_decide_the_trials(tiny: dict[str, Any]) -> None:
    identity = resolve_experiment(tiny, "x").identity_hash()
    same = {
        "search.trials": 9,
        "name": "other",
        "storage": "elsewhere",
        "resources.max_concurrent": 1,
        "search.time_budget": "1h",
    }
    for key, value in same.items():
        assert resolve_experiment(override(tiny, {key: value}), "x").identity_hash() == identity
    other = {
        "settings.schedule.epochs": 9,
        "search.seed": 5,
        "settings.cuda_graphs": True,
        "teacher.width": 1.0,
        "space.ranges": {"generator.width": {"choices": [8]}},
    }
    for key, value in other.items():
        assert resolve_experiment(override(tiny, {key: value}), "x").identity_hash() != identity


def test_files_that_are_no_experiment(tmp_path: Path) -> None:
    missing = tmp_path / "missing.yaml"
    with pytest.raises(ExperimentError, match="does not exist"):
        read_experiment_file(missing)
    for content, expected in (
        ("a: [1", "line"),
        ("- a\n- b\n", "holds no mapping"),
        ("a: 1\na: 2\n", "the key 'a' is given twice"),
        ("a: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
    ):
        file = tmp_path / "x.yaml"
        file.write_text(content)
        with pytest.raises(ExperimentError, match="(?s)" + expected.replace("(", r"\(")):
            read_experiment_file(file)


def test_numbers_in_exponent_form_are_numbers(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("a: 1e-3\nb: 1.5E2\nc: -2e4\nd: e3\n")
    assert read_experiment_file(file) == {"a": 1e-3, "b": 150.0, "c": -2e4, "d": "e3"}


def test_what_is_not_searched_may_lie_outside_the_ranges_and_is_fixed_as_they_say(
    tiny: dict[str, Any],
) -> None:
    tiny["settings"]["generator"] = {"width": 7}
    tiny["space"] = {"ranges": {"student.width": 0.3}}
    assert "generator.width: the recipe's value 7 is outside" in message(tiny)
    resolved = resolve_experiment(tiny, "my.yaml", searched=False)
    assert resolved.base.generator.width == 7
    assert resolved.base.student.width == 0.3
    assert resolved.first_points == ()
    assert ablation(resolved, 1).trials[0].configuration.generator.width == 7


def test_with_a_cost_no_trial_is_stopped_early_unless_said(tiny: dict[str, Any]) -> None:
    tiny["search"] = {"against": "macs", "scheduler": {"grace_epochs": 2}}
    search = resolve_experiment(tiny, "my.yaml").experiment.search
    assert (search.against, search.scheduler.name, search.sampler) == ("macs", "none", "tpe")
    del tiny["search"]["against"]
    assert resolve_experiment(tiny, "my.yaml").experiment.search.scheduler.name == "asha"


def test_a_cost_decides_which_run_it_is(tiny: dict[str, Any]) -> None:
    tiny["search"] = {"scheduler": {"name": "none"}}
    plain = resolve_experiment(tiny, "my.yaml").identity_hash()
    hashes = {plain}
    for against in ("parameters", "macs"):
        tiny["search"]["against"] = against
        hashes.add(resolve_experiment(tiny, "my.yaml").identity_hash())
    assert len(hashes) == 3


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ({"sampler": "nsga2"}, "search.sampler: nsga2 weighs the search objective against a cost"),
        (
            {"against": "macs", "sampler": "cmaes"},
            "search.sampler: cmaes follows one number, and search.against makes two of it; give "
            "tpe, gp, nsga2, random",
        ),
        *(
            (
                {"against": "macs", "scheduler": {"name": name}},
                f"search.scheduler.name: {name} stops trials by the search objective alone",
            )
            for name in ("asha", "hyperband", "median")
        ),
        (
            {"against": "macs", "sampler": "nsga2", "startup_trials": 1},
            "search.startup_trials: 1 trials are no generation of nsga2; give at least 2",
        ),
        ({"against": "size"}, "search.against: Input should be 'parameters', 'macs', 'latency'"),
        ({"agianst": "macs"}, "search.agianst: unknown key; did you mean 'against'?"),
    ],
)
def test_what_does_not_go_with_a_cost_is_said_in_one_line(
    tiny: dict[str, Any], search: dict[str, Any], said: str
) -> None:
    tiny["search"] = search
    text = message(tiny)
    assert said in text
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize("against", ["parameters", "macs", "latency"])
def test_a_cost_that_is_the_same_for_all_is_refused(tiny: dict[str, Any], against: str) -> None:
    tiny["search"] = {"against": against}
    tiny["space"]["ranges"]["student.width"] = {"choices": [0.25]}
    assert "search.against: all trials have one student" in message(tiny)
    tiny["search"] = {"against": "training_seconds"}
    resolve_experiment(tiny, "my.yaml")
