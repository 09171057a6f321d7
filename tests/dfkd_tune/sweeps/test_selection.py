"""The last choice of a search without data: by the students' answers on one another's images."""

import io
from pathlib import Path

import pytest
import torch
from complete_trials import INPUTS, add_complete_trial, network
from rich.console import Console
from run_folders import add_epochs, empty_run
from safetensors.torch import save

from dfkd_tune.benchmarks import (
    Benchmark,
    BenchmarkConfig,
    get_benchmark,
    open_benchmark,
)
from dfkd_tune.classifiers import file_sha256, save_weights
from dfkd_tune.records import (
    RunFolder,
    TeacherCard,
    TrialFolder,
    now,
    write_bytes_atomically,
    write_json,
    write_record,
)
from dfkd_tune.sweeps._selection import best_complete_trial, ensure_pool, select
from trainables import SEARCH_OBJECTIVES

TEACHER = 99
QUIET = Console(file=io.StringIO())


@pytest.fixture
def benchmark() -> Benchmark:
    """The digits' input alone."""
    given = {
        "size": 8,
        "channels": 1,
        "mean": list(INPUTS.mean),
        "std": list(INPUTS.std),
        "classes": 10,
    }
    return open_benchmark(BenchmarkConfig.model_validate({"name": "bare", "input": given}))


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run without data: its teacher, and no trial yet."""
    run = empty_run(tmp_path / "run")
    write_json(run.experiment_file, {"search": {"objective": "data_free"}})
    save_weights(run.teacher_weights, network(TEACHER))
    card = TeacherCard(
        benchmark="bare",
        architecture="convnet",
        width=0.25,
        parameters=1,
        source="file",
        origin="w",
        recipe_hash="r",
        weights_sha256=file_sha256(run.teacher_weights),
        data_hash="",
        scores={},
        seconds=0.0,
        created=now(),
    )
    write_record(run.teacher_card_file, card)
    return run


def near(amount: float, seed: int) -> torch.nn.Module:
    """A student whose weights lie that far from the teacher's."""
    student, source = network(TEACHER), torch.Generator().manual_seed(seed)
    for parameter in student.parameters():
        parameter.add_(amount * torch.randn(parameter.shape, generator=source))
    return student


def add(run: RunFolder, amount: float, value: float) -> TrialFolder:
    folder = add_complete_trial(run, near(amount, len(run.trial_folders())))
    add_epochs(folder, [value], 10)
    return folder


def test_the_mean_of_pool_and_audit_set_decides(run: RunFolder, benchmark: Benchmark) -> None:
    """The best by its answers on the others' images is not that on the audit set."""
    add(run, 0.5, value=0.7)
    add(run, 0.001, value=0.6)
    add(run, 0.3, value=0.65)
    before = best_complete_trial(run)
    assert before is not None
    assert (before.folder.name, before.synthetic_agreement) == ("t0000", None)
    ensure_pool(run, benchmark, QUIET)
    record = select(run, benchmark, SEARCH_OBJECTIVES["data_free"], "s")
    pool = run.pool()
    assert pool is not None
    assert record.trial == "t0001"
    pooled = pool.scores(pool.agreement)
    means = {name: (pooled[name] + a) / 2 for name, a in zip(pooled, (0.7, 0.6, 0.65), strict=True)}
    assert means["t0001"] == max(means.values())
    assert record.synthetic_agreement == pytest.approx(means["t0001"])
    assert record.pool_agreement is None, "of older runs alone"
    assert record.value == 0.6
    assert "own left out" in record.rule


def test_an_audit_set_that_says_much_more_decides_too(run: RunFolder, benchmark: Benchmark) -> None:
    add(run, 0.4, value=1.0)
    add(run, 0.001, value=0.0)
    add(run, 0.5, value=0.1)
    ensure_pool(run, benchmark, QUIET)
    chosen = best_complete_trial(run)
    assert chosen is not None
    assert chosen.folder.name == "t0000"


def test_two_trials_are_chosen_by_the_audit_set(run: RunFolder, benchmark: Benchmark) -> None:
    add(run, 0.5, value=0.9)
    add(run, 0.001, value=0.6)
    ensure_pool(run, benchmark, QUIET)
    assert run.pool() is None
    record = select(run, benchmark, SEARCH_OBJECTIVES["data_free"], "s")
    assert (record.trial, record.synthetic_agreement) == ("t0000", None)
    assert "audit set" in record.rule


def test_scored_once_and_anew_with_another_trial(run: RunFolder, benchmark: Benchmark) -> None:
    for amount in (0.5, 0.001, 0.3):
        add(run, amount, value=0.5)
    ensure_pool(run, benchmark, QUIET)
    first = run.pool_file.read_bytes()
    ensure_pool(run, benchmark, QUIET)
    assert run.pool_file.read_bytes() == first
    add(run, 0.2, value=0.95)
    stale = best_complete_trial(run)
    assert stale is not None
    assert (stale.folder.name, stale.synthetic_agreement) == ("t0003", None), "not by three of four"
    ensure_pool(run, benchmark, QUIET)
    pool = run.pool()
    assert pool is not None
    assert len(pool.trials) == 4


def test_labels_decide_where_they_may(run: RunFolder, benchmark: Benchmark) -> None:
    write_json(run.experiment_file, {"search": {"objective": "val_real"}})
    add(run, 0.5, value=0.9)
    add(run, 0.001, value=0.6)
    add(run, 0.3, value=0.7)
    ensure_pool(run, benchmark, QUIET)
    chosen = best_complete_trial(run)
    assert run.pool() is not None
    assert chosen is not None
    assert (chosen.folder.name, chosen.synthetic_agreement) == ("t0000", None)


def test_a_search_that_peeks_counts_every_trial_that_met_the_test_split(run: RunFolder) -> None:
    write_json(run.experiment_file, {"search": {"objective": "test_peeking"}})
    add(run, 0.3, value=0.7)
    stopped = add(run, 0.5, value=0.9)
    stopped.set_status("stopped")
    record = select(run, get_benchmark("digits"), SEARCH_OBJECTIVES["test_peeking"], "s")
    assert record.trial == "t0000"
    assert record.test_evaluations == 2
    assert "test split" in record.rule


def test_classes_are_counted_on_the_one_look(run: RunFolder) -> None:
    write_json(run.experiment_file, {"search": {"objective": "val_real"}})
    digits = get_benchmark("digits")
    add(run, 0.3, value=0.7)
    record = select(run, digits, SEARCH_OBJECTIVES["val_real"], "s")
    found, test = record.classes, record.test
    assert found is not None
    assert test is not None
    labels = digits.load("test").labels
    assert (found.where, found.names) == ("test", tuple("0123456789"))
    assert found.images == tuple(int((labels == label).sum()) for label in range(10))
    assert sum(found.student) == test.both_correct + test.student_only
    assert found.teacher is not None
    assert sum(found.teacher) == test.both_correct + test.teacher_only
    assert run.selection() == record

    # Another trial, the same choice: nothing is measured again, and what was counted stays.
    add(run, 0.5, value=0.6)
    second = select(run, digits, SEARCH_OBJECTIVES["val_real"], "s")
    assert (second.candidates, second.classes, second.test_evaluations) == (2, found, 1)
    # A look from before classes were counted is not made again for them.
    write_record(run.selection_file, second.model_copy(update={"classes": None}))
    add(run, 0.5, value=0.5)
    third = select(run, digits, SEARCH_OBJECTIVES["val_real"], "s")
    assert (third.candidates, third.classes, third.test_evaluations) == (3, None, 1)


def test_without_images_classes_are_counted_on_the_audit_set(
    run: RunFolder, benchmark: Benchmark
) -> None:
    add(run, 0.3, value=0.7)
    assert select(run, benchmark, SEARCH_OBJECTIVES["data_free"], "s").classes is None
    images = torch.randn(40, *INPUTS.shape, generator=torch.Generator().manual_seed(3))
    write_bytes_atomically(run.audit_images, save({"images": images}))
    run.selection_file.unlink()
    record = select(run, benchmark, SEARCH_OBJECTIVES["data_free"], "s")
    found = record.classes
    assert found is not None
    assert (found.where, found.teacher, record.test_evaluations) == ("audit", None, 0)
    wanted = network(TEACHER)(images).argmax(1)
    same = near(0.3, 0)(images).argmax(1) == wanted
    assert found.images == tuple(int((wanted == label).sum()) for label in range(10))
    assert found.student == tuple(int(same[wanted == label].sum()) for label in range(10))


def weigh(run: RunFolder, objective: str, against: str) -> None:
    write_json(run.experiment_file, {"search": {"objective": objective, "against": against}})


def sized(folder: TrialFolder, parameters: int) -> TrialFolder:
    record = folder.trial()
    size = record.student_size.model_copy(update={"parameters": parameters})
    write_record(folder.trial_file, record.model_copy(update={"student_size": size}))
    return folder


def test_a_weighed_search_records_what_no_trial_surpasses(
    run: RunFolder, benchmark: Benchmark
) -> None:
    weigh(run, "val_real", "parameters")
    pairs = ((0.7, 50), (0.9, 900), (0.9, 300), (0.6, 80), (0.7, 50), (0.99, 10), (0.1, 20))
    for value, parameters in pairs:
        sized(add(run, 0.3, value), parameters)
    run.trial_folder("t0005").set_status("stopped")
    record = select(run, benchmark, SEARCH_OBJECTIVES["val_real"], "s")
    # Of equal values the cheaper one is chosen, so that the choice is of the set.
    assert record.trial == "t0002"
    assert "ties by lower cost (parameters), then agreement" in record.rule
    assert record.candidates == 6
    assert record.pareto_set is not None
    assert record.pareto_set.against == "parameters"
    found = [(p.trial, p.value, p.cost) for p in record.pareto_set.points]
    assert found == [
        ("t0006", 0.1, 20),
        ("t0000", 0.7, 50),
        ("t0004", 0.7, 50),
        ("t0002", 0.9, 300),
    ]
    assert run.selection() == record


def test_without_data_what_chooses_is_weighed(run: RunFolder, benchmark: Benchmark) -> None:
    """The audit set, which only guided the search, would give another set."""
    weigh(run, "data_free", "training_seconds")
    for amount, value, more in ((0.5, 0.9, 0), (0.001, 0.6, 2), (0.3, 0.7, 1)):
        add_epochs(add(run, amount, value), [value] * more, 10)
    ensure_pool(run, benchmark, QUIET)
    record = select(run, benchmark, SEARCH_OBJECTIVES["data_free"], "s")
    pool = run.pool()
    assert pool is not None
    audit = {"t0000": 0.9, "t0001": 0.6, "t0002": 0.7}
    scores = {t: (own + audit[t]) / 2 for t, own in pool.scores(pool.agreement).items()}
    assert record.pareto_set is not None
    found = [(p.trial, p.value, p.cost) for p in record.pareto_set.points]
    # The worst took one second, the middle one two, the best three.
    assert found == [
        ("t0000", scores["t0000"], 1.0),
        ("t0002", scores["t0002"], 2.0),
        ("t0001", scores["t0001"], 3.0),
    ]
    assert record.trial == "t0001"
    assert "ties by lower cost (training seconds), then the search objective, then" in record.rule


def test_a_search_of_one_number_has_no_set(run: RunFolder, benchmark: Benchmark) -> None:
    write_json(run.experiment_file, {"search": {"objective": "val_real"}})
    add(run, 0.3, 0.5)
    assert select(run, benchmark, SEARCH_OBJECTIVES["val_real"], "s").pareto_set is None
