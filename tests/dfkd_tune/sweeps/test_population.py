"""Population based training: who gives its place to whom, and nothing of it lost by a kill."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfkd_tune.checkpoints import CheckpointStore
from dfkd_tune.distillation import DistillationConfig
from dfkd_tune.errors import ExperimentError, RunFolderError
from dfkd_tune.records import RunFolder, TrialFolder
from dfkd_tune.sweeps import (
    ResolvedExperiment,
    assignment_from_run,
    first_difference,
    random_baseline,
    resolve_experiment,
    run_distillation,
)
from dfkd_tune.sweeps._machine import Allotment
from dfkd_tune.sweeps._population import PopulationSearch, weak_and_strong
from dfkd_tune.sweeps._scheduler import comparison_steps
from dfkd_tune.sweeps._simulation import SESSION, Simulation, simulate_search
from search_spaces import get_key, is_perturbed
from trainables import CurveModel, RecordedCurve

RATE = "generator_optimiser.learning_rate*schedule.generator_steps"
STEPS = 6  # student steps of an epoch of the tiny experiment
FRACTIONS = (1 / 3, 2 / 3, 1.0)


MODELS: dict[str, CurveModel] = {}


def model_of(resolved: ResolvedExperiment) -> CurveModel:
    """Made-up curves: the lower the generator's rate, the better, at every fraction."""
    space = repr(resolved.space)
    if space not in MODELS:
        MODELS[space] = make_model(resolved)
    return MODELS[space]


def make_model(resolved: ResolvedExperiment) -> CurveModel:
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


def experiment() -> dict[str, Any]:
    """Eight trials of nine epochs, compared after the third and the sixth."""
    schedule = {"epochs": 9, "iterations_per_epoch": 3, "student_steps": 2, "batch_size": 16}
    return {
        "name": "tiny",
        "benchmark": "digits",
        "method": "cgdd",
        "settings": {
            "student": {"architecture": "convnet", "width": 0.25},
            "generator": {"width": 8, "latent_size": 64},
            "student_objective": {"attention_transfer": {"weight": 10.0}},
            "schedule": schedule,
        },
        "space": {
            "ranges": {
                "student.architecture": "convnet",
                "student.width": {"choices": [0.25, 0.5]},
                "generator.width": {"choices": [8, 16]},
            }
        },
        "search": {
            "trials": 8,
            "sampler": "random",
            "scheduler": {"name": "pbt", "grace_epochs": 3},
        },
    }


@pytest.fixture
def raw() -> dict[str, Any]:
    return experiment()


def simulate(
    raw: dict[str, Any], path: Path, workers: int = 2, most_steps: float = math.inf
) -> tuple[Simulation, RunFolder]:
    resolved = resolve_experiment(raw, "tiny.yaml")
    run = RunFolder(path)
    model = model_of(resolved)
    return simulate_search(resolved, run, model, workers=workers, most_steps=most_steps), run


def facts(run: RunFolder) -> dict[str, Any]:
    """What a run holds, without times and what waiting says of itself."""
    return {
        folder.name: (
            folder.trial().model_dump(exclude={"created", "student_size"}),
            folder.status().state,
            folder.status().reason,
            [(e.epoch, e.student_steps, e.value) for e in folder.epochs()],
        )
        for folder in run.trial_folders()
    }


def decisions(run: RunFolder) -> list[Any]:
    return [each.model_dump(exclude={"time", "session"}) for each in run.comparisons()]


def test_who_is_weak_and_who_is_strong_by_hand() -> None:
    values = {
        "t0": 0.5,
        "t1": 0.9,
        "t2": 0.1,
        "t3": 0.7,
        "t4": 0.7,
        "t5": 0.2,
        "t6": 0.3,
        "t7": 0.4,
    }
    assert weak_and_strong(values, 0.25) == (("t2", "t5"), ("t1", "t3"))
    # Of eight, a tenth is none, and one it is; half of them are four.
    assert weak_and_strong(values, 0.1) == (("t2",), ("t1",))
    assert weak_and_strong(values, 0.5) == (("t2", "t5", "t6", "t7"), ("t1", "t3", "t4", "t0"))


def test_those_that_ended_without_a_result_are_the_weakest() -> None:
    values = {"t0": 0.5, "t1": None, "t2": 0.1, "t3": 0.7, "t4": 0.6, "t5": 0.2, "t6": 0.3, "t7": 1}
    assert weak_and_strong(values, 0.25) == (("t1", "t2"), ("t7", "t3"))
    # All of them give their place, be they more than the share.
    lost = {"t0": None, "t1": None, "t2": None, "t3": 0.7}
    assert weak_and_strong(lost, 0.25) == (("t0", "t1", "t2"), ("t3",))
    assert weak_and_strong({"t0": None, "t1": None}, 0.25) == (("t0", "t1"), ())
    assert weak_and_strong({"t0": 0.5}, 0.25) == ((), ("t0",))


def test_trials_are_compared_after_the_grace_and_then_at_intervals(raw: dict[str, Any]) -> None:
    def steps(**scheduler: Any) -> tuple[int, ...]:
        raw["search"]["scheduler"] = {"name": "pbt", **scheduler}
        return comparison_steps(resolve_experiment(raw, "tiny.yaml"))

    assert steps(grace_epochs=3) == (18, 36)
    assert steps(grace_epochs=2, interval_epochs=3) == (12, 30, 48)
    # By default after a ninth; never at the end.
    assert steps() == tuple(6 * n for n in range(1, 9))


def test_children_take_the_places_of_the_weak(raw: dict[str, Any], tmp_path: Path) -> None:
    """Against a recount of what every comparison must have done."""
    found, run = simulate(raw, tmp_path / "run")
    trials = {folder.name: folder for folder in run.trial_folders()}
    comparisons = run.comparisons()
    assert [each.student_steps for each in comparisons] == [18, 36]
    assert found.trials == len(trials) == 8 + sum(len(each.taken) for each in comparisons)
    ended = set()
    for comparison in comparisons:
        at = comparison.student_steps
        for name, value in comparison.values.items():
            (row,) = (e for e in trials[name].epochs() if e.student_steps == at)
            assert row.value == value
        assert len(comparison.values) == 8
        order = sorted(comparison.values, key=lambda n: (-(comparison.values[n] or 0.0), n))
        assert {each.place_of for each in comparison.taken} == set(order[-2:])
        for each in comparison.taken:
            assert each.parent in order[:2]
            child, weak = trials[each.child], trials[each.place_of]
            record = child.trial()
            assert record.origin == "child"
            assert record.parent is not None
            assert record.parent.trial == each.parent
            assert record.parent.student_steps == at == weak.epochs()[-1].student_steps
            assert weak.status().reason == (
                f"PBT: its place taken by {each.child}, from {each.parent} at {at} of 54 student "
                f"steps"
            )
            ended.add(weak.name)
    assert {n for n, f in trials.items() if f.status().state == "stopped"} == ended
    for folder in trials.values():
        record, epochs = folder.trial(), folder.epochs()
        begins = 0 if record.parent is None else record.parent.epoch
        # No epoch is lost, and none is trained twice.
        assert [e.epoch for e in epochs] == list(range(begins + 1, begins + 1 + len(epochs)))
        assert epochs[0].student_steps == record.inherited_steps + STEPS
        assert not folder.status().restores, "a pause is no interruption"


def test_the_population_trains_its_whole_budget_and_no_more(
    raw: dict[str, Any], tmp_path: Path
) -> None:
    found, run = simulate(raw, tmp_path / "run")
    assert found.student_steps == 8 * 54
    states = [folder.status().state for folder in run.trial_folders()]
    assert states.count("complete") == 8
    rows = sum(len(folder.epochs()) for folder in run.trial_folders())
    assert rows * STEPS == 8 * 54


def test_a_child_is_its_parent_but_for_weights_and_rates(
    raw: dict[str, Any], finished: RunFolder
) -> None:
    run = finished
    space = resolve_experiment(raw, "tiny.yaml").space
    children = [f for f in run.trial_folders() if f.trial().parent is not None]
    assert len(children) == 4
    for folder in children:
        record = folder.trial()
        assert record.parent is not None
        parent = run.trial_folder(record.parent.trial).trial()
        assert set(record.parameters) == set(parent.parameters)
        changed = {k for k, v in record.parameters.items() if v != parent.parameters[k]}
        allowed = {d.name for d in space.dimensions if is_perturbed(d)}
        assert changed
        assert changed <= allowed
        # The configuration says what the parameters say, also of the rate tied to the steps.
        config = DistillationConfig.model_validate(record.configuration)
        assert get_key(config, RATE) == pytest.approx(record.parameters[RATE])
        assert record.configuration["student"] == parent.configuration["student"]
        assert record.configuration["generator"] == parent.configuration["generator"]


@pytest.mark.parametrize("workers", [1, 8])
def test_the_decisions_do_not_depend_on_how_many_run_at_once(
    raw: dict[str, Any], finished: RunFolder, tmp_path: Path, workers: int
) -> None:
    _, run = simulate(raw, tmp_path / "run", workers=workers)
    assert decisions(run) == decisions(finished)
    assert facts(run) == facts(finished)


@pytest.mark.parametrize("steps", [60, 144, 150, 288, 300])
def test_a_killed_search_goes_on_as_if_it_never_was(
    raw: dict[str, Any], finished: RunFolder, tmp_path: Path, steps: int
) -> None:
    """The comparisons are after 144 and 288 student steps of all trials together."""
    simulate(raw, tmp_path / "parts", most_steps=steps)
    _, parts = simulate(raw, tmp_path / "parts")
    assert decisions(parts) == decisions(finished)
    assert facts(parts) == facts(finished)


def search_of(raw: dict[str, Any], run: RunFolder) -> PopulationSearch:
    allotment = Allotment(cpus=1, gpus=0.0, max_concurrent=2, total_cpus=2, total_gpus=0)
    return PopulationSearch(run, resolve_experiment(raw, "tiny.yaml"), SESSION, allotment)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A whole search, to be looked at."""
    return simulate(experiment(), tmp_path_factory.mktemp("finished") / "run")[1]


@pytest.fixture(scope="module")
def waiting_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that was killed when all of its trials were to be compared."""
    path = tmp_path_factory.mktemp("waiting") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PopulationSearch, "_compare", lambda _search: False)
        simulate(experiment(), path)
    return path


@pytest.fixture
def waiting(waiting_run: Path, tmp_path: Path) -> RunFolder:
    """A copy of it."""
    shutil.copytree(waiting_run, tmp_path / "waiting")
    run = RunFolder(tmp_path / "waiting")
    assert {f.epochs()[-1].student_steps for f in run.trial_folders()} == {18}
    assert not run.comparisons()
    return run


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("writes", range(7))
def test_a_kill_within_a_comparison_leaves_no_ghost(
    raw: dict[str, Any],
    finished: RunFolder,
    waiting: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
    writes: int,
) -> None:
    """Dead after so many of its writes: the decision, checkpoints, statuses, configurations."""
    left = writes

    def dying(target: Any, name: str) -> None:
        original = getattr(target, name)

        def write(*args: Any, **options: Any) -> Any:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            return original(*args, **options)

        monkeypatch.setattr(target, name, write)

    search = search_of(raw, waiting)
    dying(CheckpointStore, "take_over")
    dying(TrialFolder, "set_status")
    for module in ("_population.append_record", "_recorded_trials.write_record"):
        where, name = module.split(".")
        dying(__import__(f"dfkd_tune.sweeps.{where}", fromlist=[name]), name)
    with pytest.raises(Killed):
        search.suggest("x")
    monkeypatch.undo()
    simulate(raw, waiting.path)
    assert decisions(waiting) == decisions(finished)
    assert facts(waiting) == facts(finished)


def test_a_decision_cut_short_on_disk_is_made_again(
    raw: dict[str, Any], finished: RunFolder, waiting: RunFolder
) -> None:
    line = finished.population_file.read_bytes().splitlines()[0]
    waiting.population_file.write_bytes(line[: len(line) // 2])
    simulate(raw, waiting.path)
    assert decisions(waiting) == decisions(finished)
    assert facts(waiting) == facts(finished)


def damage(run: RunFolder, name: str) -> None:
    for path in run.trial_folder(name).checkpoints.glob("epoch_*/state.pt"):
        path.write_bytes(b"broken")


def test_where_a_checkpoint_is_unreadable_the_next_strong_one_is_copied(
    raw: dict[str, Any], waiting: RunFolder
) -> None:
    run = waiting
    values = {f.name: f.epochs()[-1].value or 0.0 for f in run.trial_folders()}
    first, second = sorted(values, key=lambda n: -values[n])[:2]
    damage(run, first)
    simulate(raw, run.path)
    comparison = run.comparisons()[0]
    assert {each.parent for each in comparison.taken} == {second}
    assert not comparison.notes


def test_where_none_is_readable_the_weak_go_on_and_it_is_said(
    raw: dict[str, Any], waiting: RunFolder
) -> None:
    run = waiting
    for folder in run.trial_folders():
        damage(run, folder.name)
    simulate(raw, run.path)
    comparison = run.comparisons()[0]
    assert not comparison.taken
    assert len(comparison.notes) == 2
    assert "no checkpoint of" in comparison.notes[0]
    # By the next comparison there are readable ones.
    assert len(run.comparisons()[1].taken) == 2
    assert len(run.trial_folders()) == 10


def test_a_checkpoint_that_breaks_between_decision_and_copy_is_told_once(
    raw: dict[str, Any], finished: RunFolder, waiting: RunFolder
) -> None:
    run, decided = waiting, finished.comparisons()[0]
    with run.population_file.open("w") as file:
        file.write(decided.model_dump_json() + "\n")
    for each in decided.taken:
        damage(run, each.parent)
    simulate(raw, run.path, most_steps=12)
    simulate(raw, run.path)
    notes = [note for each in run.comparisons() for note in each.notes]
    assert len(notes) == len(set(notes)) == 2
    assert all("unreadable" in note for note in notes)
    states = [f.status().state for f in run.trial_folders()]
    assert states.count("complete") == 8
    # A number that was given to a child that never came is not given again.
    names = [f.name for f in run.trial_folders()]
    assert names == [*(f"t{n:04d}" for n in range(8)), "t0010", "t0011"]


def test_the_place_of_a_diverged_trial_is_taken(raw: dict[str, Any], tmp_path: Path) -> None:
    simulate(raw, tmp_path / "run", most_steps=30)
    run = RunFolder(tmp_path / "run")
    lost = run.trial_folders()[0]
    lost.set_status("diverged", reason="by a test")
    simulate(raw, tmp_path / "run")
    comparison = run.comparisons()[0]
    assert comparison.values[lost.name] is None
    assert lost.name in {each.place_of for each in comparison.taken}
    assert lost.status().state == "diverged", "how it ended is not forgotten"
    assert lost.name not in run.comparisons()[1].values
    states = [folder.status().state for folder in run.trial_folders()]
    assert states.count("complete") == 8


def test_equals_keep_their_places(raw: dict[str, Any], tmp_path: Path) -> None:
    resolved = resolve_experiment(raw, "tiny.yaml")
    curves = tuple(
        RecordedCurve(
            parameters=dict(resolved.first_points[0]),
            fractions=FRACTIONS,
            values=(0.5, 0.5, 0.5),
            seconds=9.0,
        )
        for _ in range(4)
    )
    run = RunFolder(tmp_path / "run")
    simulate_search(resolved, run, CurveModel(resolved.space, curves))
    assert [each.taken for each in run.comparisons()] == [(), ()]
    assert len(run.trial_folders()) == 8


def test_more_trials_later_are_a_population_of_their_own(
    raw: dict[str, Any], tmp_path: Path
) -> None:
    _, run = simulate(raw, tmp_path / "run")
    before = facts(run)
    raw["search"]["trials"] = 12
    found, _ = simulate(raw, tmp_path / "run")
    assert {name: facts(run)[name] for name in before} == before
    assert found.student_steps == 4 * 54
    late = run.comparisons()[2]
    assert late.student_steps == 18
    assert len(late.values) == 4
    assert len(late.taken) == 1
    states = [folder.status().state for folder in run.trial_folders()]
    assert states.count("complete") == 12


def test_a_population_ends_better_than_its_founders_would_have(
    raw: dict[str, Any], tmp_path: Path
) -> None:
    """On an easy slope, against the curves that its founders would have had to their end."""
    raw["space"]["ranges"] |= {RATE: {"low": 1e-4, "high": 0.5}}
    raw["search"]["scheduler"]["grace_epochs"] = 1
    model = model_of(resolve_experiment(raw, "tiny.yaml"))
    for seed in range(2):
        raw["search"]["seed"] = seed
        found, run = simulate(raw, tmp_path / str(seed))
        records = [folder.trial() for folder in run.trial_folders()]
        alone = [model.predict(r.parameters).values[-1] for r in records if r.parent is None]
        ends = [f.epochs()[-1] for f in run.trial_folders() if f.status().state == "complete"]
        assert np.mean([end.value or 0.0 for end in ends]) > np.mean(alone) + 0.05
        assert found.best >= max(alone)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sampler": "grid"}, "search.sampler: a grid"),
        ({"trials": 3}, "search.trials: 3 trials are too small a population"),
        ({"against": "training_seconds"}, "search.scheduler.name: pbt stops trials by the search"),
        ({"scheduler": {"name": "pbt", "grace_epochs": 9}}, "9 of 9 epochs leave no time"),
        ({"scheduler": {"name": "pbt", "replaced": 0.6}}, "search.scheduler.replaced"),
        ({"scheduler": {"name": "pbt", "interval_epochs": 0}}, "search.scheduler.interval_epochs"),
    ],
)
def test_what_goes_not_with_it_is_said_in_one_line(
    raw: dict[str, Any], changes: dict[str, Any], words: str
) -> None:
    raw["search"] |= changes
    with pytest.raises(ExperimentError, match=r"tiny\.yaml") as error:
        resolve_experiment(raw, "tiny.yaml")
    assert words in str(error.value)


def test_every_comparison_needs_an_evaluation(raw: dict[str, Any]) -> None:
    raw["saving"] = {"evaluate_every": 2}
    with pytest.raises(ExperimentError, match=r"saving\.evaluate_every: 2 leaves epoch 3 out"):
        resolve_experiment(raw, "tiny.yaml")
    raw["search"]["scheduler"] |= {"grace_epochs": 2, "interval_epochs": 4}
    resolve_experiment(raw, "tiny.yaml")


def test_a_space_without_weights_and_rates_has_nothing_to_change(raw: dict[str, Any]) -> None:
    resolved = resolve_experiment(raw, "tiny.yaml")
    for dimension in resolved.space.dimensions:
        if is_perturbed(dimension):
            base = get_key(resolved.base, dimension.searched)
            raw["space"]["ranges"][dimension.name] = base
    with pytest.raises(ExperimentError, match="none is searched within a range"):
        resolve_experiment(raw, "tiny.yaml")


def test_runs_begun_before_there_was_pbt_go_on(tiny: dict[str, Any]) -> None:
    """Its keys do not change the identity of a search without it."""
    plain = resolve_experiment(tiny, "tiny.yaml")
    assert "interval_epochs" not in json.dumps(plain._search_identity())
    tiny["search"]["scheduler"]["replaced"] = 0.5
    assert resolve_experiment(tiny, "tiny.yaml").identity_hash() == plain.identity_hash()
    tiny["search"] |= {"trials": 4, "scheduler": {"name": "pbt", "grace_epochs": 1}}
    first = resolve_experiment(tiny, "tiny.yaml").identity_hash()
    tiny["search"]["scheduler"]["replaced"] = 0.5
    assert resolve_experiment(tiny, "tiny.yaml").identity_hash() != first


def test_a_stored_checkpoint_is_another_trials_under_its_own_name(tmp_path: Path) -> None:
    parent, child = (CheckpointStore(tmp_path / n, n) for n in ("parent", "child"))
    parent.save(3, {"weights": [1.5, 2.5], "epoch": 3})
    child.take_over(parent, 3)
    shutil.rmtree(tmp_path / "parent")
    restored = child.load_newest()
    assert restored.state == {"weights": [1.5, 2.5], "epoch": 3}
    assert restored.epoch == 3
    assert not child.readable(2)


@pytest.mark.long
@pytest.mark.sweep
def test_a_real_sweep_lets_copies_take_places(
    sweep: Any, tiny: dict[str, Any], storage: Path
) -> None:
    """Under Ray: pauses, children and their weights; and a founder is what it is without both."""
    tiny["settings"]["schedule"] |= {"epochs": 4}
    tiny["search"] = {
        "trials": 4,
        "sampler": "random",
        "scheduler": {"name": "pbt", "grace_epochs": 2},
    }
    tiny["storage"] = storage
    result = sweep(tiny)
    run = result.run
    assert result.exit_code == 0
    assert run.run().state == "complete"
    assert [each.student_steps for each in run.comparisons()] == [12]
    trials = {folder.name: folder for folder in run.trial_folders()}
    states = [folder.status().state for folder in trials.values()]
    assert states.count("complete") == 4
    assert states.count("stopped") == sum(len(each.taken) for each in run.comparisons()) == 1
    for folder in trials.values():
        record, epochs = folder.trial(), folder.epochs()
        begins = 0 if record.parent is None else record.parent.epoch
        assert [e.epoch for e in epochs] == list(range(begins + 1, begins + 1 + len(epochs)))
        assert not folder.status().restores
        assert not folder.checkpoints.exists(), "the run has ended"
    rows = sum(len(folder.epochs()) for folder in trials.values())
    assert rows * STEPS == 4 * 24
    assert run.selection() is not None
    ended = [f for f in trials.values() if f.status().state == "complete"]
    founder = next(f for f in ended if f.trial().parent is None)
    assignment = assignment_from_run(run, founder.name, "again", None)
    again = run_distillation(assignment, command="x", on_epoch=lambda _record: None)
    assert first_difference(again, founder.path) is None
    weights = again.trial_folder("t0000").student_weights.read_bytes()
    assert weights == founder.student_weights.read_bytes()
    child = next(f for f in trials.values() if f.trial().parent is not None)
    with pytest.raises(RunFolderError, match="took over the weights of"):
        assignment_from_run(run, child.name, None, None)
    # What chance finds: as many trials as were asked for, each trained alone.
    baseline = random_baseline(run).experiment.search
    assert (baseline.trials, baseline.scheduler.name) == (4, "none")
