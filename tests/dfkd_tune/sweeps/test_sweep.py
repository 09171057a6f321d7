"""Real sweeps under a local Ray: stopped, diverged, failed, interrupted, resumed."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import psutil
import pytest
import yaml
from processes import wait_for
from small_methods import GENERATOR_SIDE

from dfkd_tune.errors import RunFolderError
from dfkd_tune.records import EpochRecord, RunFolder, read_lines
from dfkd_tune.sweeps import (
    Allotment,
    assignment_from_run,
    audit_cache,
    confirmation,
    experiment_of_run,
    first_difference,
    random_baseline,
    ranked_complete_trials,
    run_distillation,
    teacher_cache,
)
from dfkd_tune.sweeps._experiment import resolve_experiment
from dfkd_tune.sweeps._search import RecordedSearch
from dfkd_tune.sweeps._study import rebuild_study
from reports import collect_run, summarise, summarise_baseline, write_report
from reports.compute.choice import choice_quality
from search_spaces import get_space

pytestmark = pytest.mark.sweep


def states(run: RunFolder) -> dict[str, str]:
    return {folder.name: folder.status().state for folder in run.trial_folders()}


def test_a_sweep_ends_with_a_selected_student(
    sweep: Any, tiny: dict[str, Any], storage: Path
) -> None:
    tiny["search"]["trials"] = 6
    tiny["storage"] = storage
    result = sweep(tiny)
    run = result.run
    assert result.exit_code == 0
    assert run.run().state == "complete"
    ended = states(run)
    assert sorted(ended) == [f"t{i:04d}" for i in range(6)]
    assert set(ended.values()) == {"complete", "stopped"}
    resolved = resolve_experiment(tiny, "tiny")
    for folder in run.trial_folders():
        epochs = folder.epochs()
        assert [e.epoch for e in epochs] == list(range(1, len(epochs) + 1))
        if ended[folder.name] == "complete":
            assert epochs[-1].student_steps == 36
            assert folder.student_weights.exists()
        else:
            assert epochs[-1].student_steps in (6, 12, 24), "stopped at a rung"
        assert not folder.checkpoints.exists(), "nothing can go on from them"
    # The study that the next start would see: no trial left running.
    study, live = rebuild_study(run, resolved.space)
    assert not live
    counted = Counter(trial.state.name for trial in study.trials)
    assert counted["COMPLETE"] == list(ended.values()).count("complete")
    assert counted["PRUNED"] == list(ended.values()).count("stopped")
    # Selection: by the validation split, among complete trials, one look at the test split.
    selection = run.selection()
    assert selection is not None
    best = max(
        folder.epochs()[-1].validation["accuracy"]
        for folder in run.trial_folders()
        if ended[folder.name] == "complete"
    )
    assert selection.validation["accuracy"] == best
    assert selection.test_evaluations == 1
    assert selection.test.images == 359
    # Class by class, from the same look; and what its images are like.
    assert sum(selection.classes.images) == 359
    assert sum(selection.classes.student) == (
        selection.test.both_correct + selection.test.student_only
    )
    seen = run.selected_images()
    assert seen is not None
    assert seen.student_sha256 == selection.student_sha256
    assert seen.duplicates.images == sum(seen.balance) > 1
    assert seen.real.images == seen.duplicates.images
    pictures = {path.name: path.stat().st_mtime_ns for path in run.selected_path.iterdir()}
    assert set(pictures) >= {seen.attention.file, seen.real_attention.file, seen.closest.file}

    # The same command once more: nothing is trained, nothing measured again.
    before = {p: p.stat().st_mtime_ns for p in run.trials_path.rglob("*") if p.is_file()}
    again = sweep(tiny)
    assert again.exit_code == 0
    assert {p: p.stat().st_mtime_ns for p in run.trials_path.rglob("*") if p.is_file()} == before
    newer = run.selection()
    assert newer is not None
    assert newer == selection
    assert {p.name: p.stat().st_mtime_ns for p in run.selected_path.iterdir()} == pictures

    # More trials, from the run folder alone: the history is kept, the new ones come on top.
    extended = experiment_of_run(run, trials=7)
    assert extended.identity_hash() == run.run().experiment_hash
    assert sweep(extended, resume="must").exit_code == 0
    assert sorted(states(run)) == [f"t{i:04d}" for i in range(7)]
    assert {k: v for k, v in states(run).items() if k != "t0006"} == ended

    # The winner again, outside Ray: the same metrics, digit for digit.
    assignment = assignment_from_run(run, None, "winner", None)
    repeated = run_distillation(assignment, command="x", on_epoch=lambda _record: None)
    assert assignment.original is not None
    assert first_difference(repeated, assignment.original) is None
    original = RunFolder(storage / "tiny").trial_folder(assignment.original.name)
    assert (
        repeated.trial_folder("t0000").student_weights.read_bytes()
        == original.student_weights.read_bytes()
    )
    # A changed digit would be seen.
    lines = original.metrics_file.read_text().splitlines()
    row = json.loads(lines[-1])
    row["validation"]["kl"] += 1e-12
    original.metrics_file.write_text("\n".join([*lines[:-1], json.dumps(row)]) + "\n")
    difference = first_difference(repeated, assignment.original)
    assert difference is not None
    assert "validation" in difference


def test_without_data_the_students_answers_on_one_anothers_images_choose(
    sweep: Any, tiny: dict[str, Any], storage: Path, tmp_path: Path
) -> None:
    """With labels beside, which judge; then a second search that begins with its best."""
    tiny |= {"name": "free", "storage": storage}
    # Of trials at once are other tests; here one process, started once, trains all.
    tiny["resources"]["max_concurrent"] = 1
    tiny["search"] |= {
        "objective": "data_free",
        "audit": {"images": 30, "steps": 5},
        "scheduler": {"name": "none"},
    }
    run = sweep(tiny).run
    pool, selection = run.pool(), run.selection()
    assert pool is not None
    assert selection is not None
    assert pool.trials == tuple(states(run))
    audit = {f.name: f.epochs()[-1].validation["audit_agreement"] for f in run.trial_folders()}
    scores = {name: (own + audit[name]) / 2 for name, own in pool.scores(pool.agreement).items()}
    assert selection.trial == max(scores, key=lambda name: scores[name])
    assert selection.synthetic_agreement == scores[selection.trial]
    choice = choice_quality(collect_run(run.path))
    assert choice is not None
    assert {score.name for score in choice.scores if score.decided} == {"synthetic_agreement"}
    assert {"pool_agreement", "pool_ensemble", "audit_agreement", "own_agreement"} <= {
        score.name for score in choice.scores
    }
    page = write_report([run.path]).html.read_text(encoding="utf-8")
    assert "How good was the choice without data?" in page

    # Its best two again, over fresh seeds, by the teacher of the run itself.
    shutil.rmtree(storage / "teachers", ignore_errors=True)
    (storage / "teachers").unlink(missing_ok=True)
    ranked_now = [choice.folder for choice in ranked_complete_trials(run)][:2]
    comparison = confirmation(run, ranked_now, 2)
    resolved = experiment_of_run(run, trials=4, beside="free-confirmed")
    confirmed = sweep(resolved, comparison=comparison).run
    trials = [folder.trial() for folder in confirmed.trial_folders()]
    first, second = (folder.name for folder in ranked_now)
    assert first == selection.trial
    assert [(t.variant, t.configuration["seed"]) for t in trials] == [
        (name, seed) for seed in (1000, 2000) for name in (first, second)
    ]
    for trial, folder in zip(trials[:2], ranked_now, strict=True):
        assert {**trial.configuration, "seed": 0} == folder.trial().configuration
    chosen = confirmed.selection()
    assert chosen is not None
    means = {
        name: fmean(
            folder.epochs()[-1].value or 0.0
            for folder in confirmed.trial_folders()
            if folder.trial().variant == name
        )
        for name in (first, second)
    }
    assert confirmed.trial_folder(chosen.trial).trial().variant == max(means, key=means.__getitem__)
    assert chosen.test == confirmed.trial_folder(chosen.trial).test()
    assert chosen.test_evaluations == 4
    card, before = confirmed.teacher_card(), run.teacher_card()
    assert card is not None
    assert before is not None
    assert card.weights_sha256 == before.weights_sha256
    assert "best configurations of free" in summarise(confirmed.path).verdict

    tiny |= {"name": "warm"}
    tiny["search"] |= {"warm_start": [str(run.path)], "warm_points": 1, "trials": 2}
    second = sweep(tiny).run
    records = [folder.trial() for folder in second.trial_folders()]
    assert [record.origin for record in records] == ["recipe", "warm_start"]
    ranked = sorted(run.trial_folders(), key=lambda f: -(f.epochs()[-1].value or 0))
    others = [f.trial().parameters for f in ranked if f.trial().parameters != records[0].parameters]
    # A tied number comes back but for its last bits.
    assert records[1].parameters == pytest.approx(others[0])

    # Its random baseline, with its own teacher and audit set where the caches have gone.
    for cache in (teacher_cache(storage), audit_cache(storage)):
        shutil.rmtree(cache)
    chance = sweep(random_baseline(second)).run
    assert not teacher_cache(storage).exists()
    assert not audit_cache(storage).exists()
    assert (chance.path.name, chance.experiment()["baseline_of"]) == ("warm-random", "warm")
    for file in ("teacher/weights.safetensors", "audit/card.json", "audit/images.safetensors"):
        assert (chance.path / file).read_bytes() == (second.path / file).read_bytes()
    rows = [
        [(f.trial().origin, f.trial().parameters, f.epochs()[-1].value) for f in r.trial_folders()]
        for r in (second, chance)
    ]
    assert rows[0][0] == rows[1][0]
    assert [origin for origin, _, _ in rows[1]] == ["recipe", "sampler"]
    found = summarise_baseline(second.path)
    assert found is not None
    assert found.equal_steps == 2 * 36
    for path, trials in zip((found.search, found.baseline), rows, strict=True):
        best = path.best_within(found.equal_steps)
        assert best is not None
        assert best.value == max(value or 0.0 for _, _, value in trials)
    assert "Against random search" in write_report([second.path]).html.read_text("utf-8")


def test_a_search_against_a_cost_goes_on_where_it_was_ended(
    sweep: Any, tiny: dict[str, Any], storage: Path
) -> None:
    """One trial at a time, so that every proposal has one history; ended by its time budget."""
    tiny |= {"name": "weighed", "storage": storage}
    tiny["search"] = {
        "against": "parameters",
        "sampler": "nsga2",
        "startup_trials": 2,
        "trials": 5,
        "time_budget": "2s",
    }
    tiny["resources"]["max_concurrent"] = 1
    first = sweep(tiny).run
    begun = states(first)
    assert len(begun) < 5, "the time budget was to end it"
    parameters = {f.name: f.trial().parameters for f in first.trial_folders()}
    del tiny["search"]["time_budget"]
    run = sweep(tiny).run
    assert states(run) == {f"t{i:04d}": "complete" for i in range(5)}
    found = {f.name: f.trial().parameters for f in run.trial_folders()}
    assert {name: found[name] for name in parameters} == parameters

    # Every child is what its parents alone would give, whatever was started in between.
    resolved = resolve_experiment(tiny, "tiny")
    again = RunFolder(storage / "again")
    shutil.copytree(run.path, again.path)
    allotment = Allotment(cpus=1, gpus=0, max_concurrent=1, total_cpus=1, total_gpus=0)
    for name in ("t0004", "t0003", "t0002"):
        shutil.rmtree(again.trials_path / name)
        assert RecordedSearch(again, resolved, "s", allotment).propose() == name
        assert again.trial_folder(name).trial().parameters == found[name]
        shutil.rmtree(again.trials_path / name)

    selection = run.selection()
    assert selection is not None
    assert selection.pareto_set is not None
    points = {
        f.name: (f.epochs()[-1].value or 0.0, f.trial().student_size.parameters)
        for f in run.trial_folders()
    }
    best = {
        name
        for name, (value, cost) in points.items()
        if not any(v >= value and c <= cost and (v, c) != (value, cost) for v, c in points.values())
    }
    assert {point.trial for point in selection.pareto_set.points} == best
    assert selection.trial in best
    study, _ = rebuild_study(run, resolved.space, "parameters")
    assert {f"t{trial.number:04d}" for trial in study.best_trials} == best
    shown = summarise(run.path).trade_off
    assert shown is not None
    assert [trial.trial for trial in shown.pareto_set] == [
        point.trial for point in selection.pareto_set.points
    ]


def test_diverged_and_failed_trials_end_alone(
    sweep: Any, tiny: dict[str, Any], storage: Path
) -> None:
    tiny["storage"] = storage
    tiny["search"] = {"trials": 4, "sampler": "random", "scheduler": {"name": "none"}}
    tiny["resources"] |= {"retries": 0, "max_concurrent": 1}
    # A learning rate of 1e30 ends in infinity within an epoch.
    tiny["space"]["ranges"]["student_optimiser.learning_rate"] = {"low": 0.1, "high": 1e30}
    # One student that cannot be built: its process fails, again and again.
    result = sweep(tiny)
    run = result.run
    ended = states(run)
    assert ended["t0000"] == "complete", "the recipe's own learning rate is fine"
    diverged = [name for name, state in ended.items() if state == "diverged"]
    assert diverged
    for name in diverged:
        folder = run.trial_folder(name)
        assert len(folder.epochs()) < 6, "it did not use up its budget"
        assert "became non-finite in epoch" in folder.status().reason
    assert result.exit_code == 0
    study, live = rebuild_study(run, resolve_experiment(tiny, "x").space)
    assert not live
    assert study.best_trial.number == 0
    # A trial whose process cannot work: broken on purpose, then tried again after mending.
    folder = run.trial_folder("t0001")
    folder.set_status("running", reason="by a test")
    good = folder.trial_file.read_text()
    record = json.loads(good)
    record["configuration"]["student"]["architecture"] = "none"
    folder.trial_file.write_text(json.dumps(record))
    result = sweep(tiny)
    assert result.exit_code == 3
    status = folder.status()
    assert status.state == "failed"
    assert status.error is not None
    assert "there is no network 'none'" in status.error.message
    assert "Traceback" in status.error.traceback
    write_report([run.path])
    folder.trial_file.write_text(good)
    assert sweep(tiny, retry_failed=True).exit_code == 0
    assert folder.status().state in {"diverged", "complete"}


def test_without_a_complete_trial_nothing_is_selected(
    sweep: Any, tiny: dict[str, Any], storage: Path
) -> None:
    tiny["storage"] = storage
    tiny["settings"]["student_optimiser"] = {"learning_rate": 1e30}
    tiny["space"]["ranges"]["student_optimiser.learning_rate"] = 1e30
    tiny["search"]["trials"] = 2
    tiny["resources"]["max_concurrent"] = 1
    run = sweep(tiny).run
    assert set(states(run).values()) == {"diverged"}
    assert run.selection() is None
    assert summarise(run.path).relative_accuracy is None
    write_report([run.path])


def test_a_time_budget_ends_a_sweep(sweep: Any, tiny: dict[str, Any], storage: Path) -> None:
    tiny["storage"] = storage
    tiny["settings"]["schedule"]["iterations_per_epoch"] = 50
    tiny["settings"]["schedule"]["epochs"] = 200
    tiny["search"]["scheduler"] = {"name": "none"}
    tiny["search"]["time_budget"] = "8s"
    began = time.monotonic()
    result = sweep(tiny)
    assert time.monotonic() - began < 60
    assert result.exit_code == 0
    assert set(states(result.run).values()) == {"interrupted"}
    assert "time budget" in result.run.run().message


def _kill_worker_when(condition: Callable[[], bool]) -> threading.Thread:
    """Kill the process of the running trial once a condition holds."""

    def work() -> None:
        deadline = time.monotonic() + 60
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.02)
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.name().startswith("ray::Implicit"):
                    process.kill()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.parametrize("retries", [1, 0])
def test_a_killed_worker_costs_its_trial_alone(
    sweep: Any, tiny: dict[str, Any], storage: Path, retries: int
) -> None:
    tiny["storage"] = storage
    tiny["settings"]["schedule"] |= {"epochs": 24, "iterations_per_epoch": 10}
    tiny["search"] = {"trials": 1, "scheduler": {"name": "none"}}
    tiny["resources"]["retries"] = retries
    tiny["saving"] = {"checkpoint_every": 2}
    folder = RunFolder(storage / "tiny").trial_folder("t0000")
    thread = _kill_worker_when(lambda: (folder.checkpoints / "epoch_000006").exists())
    result = sweep(tiny)
    thread.join()
    status = folder.status()
    if retries:
        assert result.exit_code == 0
        assert status.state == "complete"
        assert [restore.from_epoch >= 6 for restore in status.restores] == [True]
        assert status.restores[0].error is not None
        assert status.restores[0].error.type == "WorkerDied"
        assert [epoch.epoch for epoch in folder.epochs()] == list(range(1, 25))
    else:
        assert result.exit_code == 3
        assert status.state == "failed"
        assert status.error is not None
        assert "ended without a word" in status.error.message
        assert "MiB" in status.error.message
    page = write_report([result.run.path]).html.read_text(encoding="utf-8")
    assert "WorkerDied" in page


HANGS = """
import time
from pathlib import Path
from torch import nn

class Hanging(nn.Module):
    def __init__(self, once):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10),
        )
        self.steps = 0
        self.once = once

    def forward(self, x):
        # Six steps are an epoch: in the third, once or always.
        self.steps += self.training
        marker = Path(__file__).with_name("hung")
        if self.steps > 14 and not (self.once and marker.exists()):
            if self.once:
                marker.touch()
            time.sleep(600)
        return self.body(x)

def once():
    return Hanging(once=True)

def always():
    return Hanging(once=False)
"""


@pytest.mark.long
def test_a_hanging_trial_is_ended_and_tried_again(
    sweep: Any, tiny: dict[str, Any], storage: Path, tmp_path: Path
) -> None:
    """Two side by side: one that hangs once, one that hangs whenever it is tried."""
    (tmp_path / "nets.py").write_text(HANGS)
    once, always = (f"{tmp_path / 'nets.py'}:{name}" for name in ("once", "always"))
    tiny |= {"name": "hanging", "storage": storage}
    tiny["settings"]["student"] = {"architecture": once}
    tiny["settings"]["student_objective"] = {"attention_transfer": {"weight": 0.0}}
    # A grid of nothing but the two students.
    fixed: dict[str, Any] = {
        d.key: 0.01 if d.kind == "float" else d.choices[0] if d.choices else 20
        for d in get_space("cgdd").dimensions
    }
    fixed |= {"student.width": 1, "student_objective.attention_transfer.weight": 0}
    fixed["student.architecture"] = {"choices": [once, always]}
    tiny["space"]["ranges"] |= fixed
    tiny["search"] = {"trials": 2, "sampler": "grid", "scheduler": {"name": "none"}}
    tiny["resources"] |= {"hang_after": "5s", "retries": 1}
    result = sweep(tiny)
    folders = {
        folder.trial().configuration["student"]["architecture"]: folder
        for folder in result.run.trial_folders()
    }
    for folder in folders.values():
        hung = [restore for restore in folder.status().restores if "hung" in restore.note]
        assert len(hung) == 1
        assert hung[0].error is not None
        assert "in forward" in hung[0].error.traceback
    assert folders[once].status().state == "complete"
    assert [epoch.epoch for epoch in folders[once].epochs()] == list(range(1, 7))
    status = folders[always].status()
    assert (status.state, result.exit_code) == ("failed", 3)
    assert status.error is not None
    assert status.error.type == "TrialHung"
    assert "in forward" in status.error.traceback
    page = write_report([result.run.path]).html.read_text(encoding="utf-8")
    assert "TrialHung" in page


# ------------------------------------------------------------------ killed from outside


@pytest.fixture
def command(
    tiny: dict[str, Any], storage: Path, tmp_path: Path
) -> Iterator[Callable[[], "subprocess.Popen[str]"]]:
    """Start `dfkd-tune sweep` as a process of its own."""
    tiny["settings"]["schedule"] |= {"epochs": 10, "iterations_per_epoch": 10, "batch_size": 32}
    tiny["search"]["trials"] = 5
    tiny["saving"] = {"checkpoint_every": 2}
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump({**tiny, "storage": str(storage)}))
    started: list[subprocess.Popen[str]] = []

    def start() -> "subprocess.Popen[str]":
        call = "from dfkd_tune.cli import main; main()"
        process = subprocess.Popen(
            [sys.executable, "-c", call, "sweep", str(file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "t" * 32},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


def kill(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """SIGKILL the driver alone, and give what it had started."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    return children


def _refuses_a_second_command(sweep: Any, storage: Path) -> None:
    raw = yaml.safe_load((storage / "tiny.yaml").read_text())
    with pytest.raises(RunFolderError, match="another command is working in"):
        sweep(raw)


def _is_agent(process: psutil.Process) -> bool:
    try:
        return process.name().endswith("Agent")
    except psutil.NoSuchProcess:
        return False


MOMENTS: dict[str, Callable[[RunFolder], bool]] = {
    "a trial": lambda run: run.trial_folder("t0000").trial_file.exists(),
    "a checkpoint": lambda run: any(run.trials_path.glob("*/checkpoints/epoch_000004")),
    "two ended": lambda run: sum(s in {"complete", "stopped"} for s in states(run).values()) >= 2,
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("moments", "cohort"),
    [
        (["a checkpoint"], None),
        pytest.param([*MOMENTS], None, marks=pytest.mark.long),
        pytest.param(["a checkpoint"], 3, marks=pytest.mark.long),
    ],
)
def test_killed_nothing_is_lost_or_doubled(
    command: Any,
    sweep: Any,
    tiny: dict[str, Any],
    storage: Path,
    moments: list[str],
    cohort: int | None,
) -> None:
    """Killed at these moments, then ended by Ctrl-C, then left to its end."""
    run = RunFolder(storage / "tiny")
    if cohort is not None:
        tiny["space"]["ranges"] |= GENERATOR_SIDE
        tiny["resources"]["cohort"] = cohort
        (storage / "tiny.yaml").write_text(yaml.safe_dump({**tiny, "storage": str(storage)}))

    def start_and_wait(moment: Callable[[RunFolder], bool]) -> "subprocess.Popen[str]":
        before = len(run.sessions())
        process: subprocess.Popen[str] = command()
        wait_for(lambda: len(run.sessions()) > before and moment(run), process)
        return process

    parameters: dict[str, Any] = {}
    for name in moments:
        process = start_and_wait(MOMENTS[name])
        if name == moments[0]:
            _refuses_a_second_command(sweep, storage)
        children = kill(process)
        # What it had started must go too, and write no more. Ray's two agents, which train
        # nothing, take up to a minute to notice; the test does not wait for them.
        working = [child for child in children if not _is_agent(child)]
        _, alive = psutil.wait_procs(working, timeout=30)
        assert not alive, "processes outlive the driver"
        seen = {f.name: f.trial().parameters for f in run.trial_folders()}
        assert {k: seen[k] for k in parameters} == parameters, "a trial changed or vanished"
        parameters = seen
        assert run.run().state == "running"
        assert summarise(run.path).state == "killed"
        write_report([run.path])
        if name == "a checkpoint":
            # A disk that damages the newest checkpoint: the older one must serve.
            damaged = next(run.trials_path.glob("*/checkpoints/epoch_000004"))
            (damaged / "state.pt").write_bytes(b"not a checkpoint")

    # Once more, with Ctrl-C: it stops cleanly and says how to go on.
    process = start_and_wait(lambda run: "running" in states(run).values())
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 130, output
    assert "to go on: dfkd-tune sweep" in output
    assert "Traceback" not in output
    assert run.run().state == "interrupted"
    assert "running" not in states(run).values()
    assert run.selection() is None, "the test split is not touched before the search is over"

    process = command()
    output = process.communicate(timeout=200)[0]
    assert process.returncode == 0, output
    assert "Traceback" not in output
    final = states(run)
    assert sorted(final) == [f"t{i:04d}" for i in range(5)]
    assert set(final.values()) <= {"complete", "stopped"}
    assert [s.resumed for s in run.sessions()] == [False, *[True] * (len(moments) + 1)]
    for folder in run.trial_folders():
        rows = list(read_lines(folder.metrics_file, EpochRecord))
        restores = folder.status().restores
        assert [e.epoch for e in folder.epochs()] == list(range(1, len(folder.epochs()) + 1))
        # An epoch is trained again only if it came after the checkpoint that was restored.
        seen_epochs: dict[int, EpochRecord] = {}
        for row in rows:
            if row.epoch in seen_epochs:
                restore = next(r for r in restores if r.session == row.session)
                assert row.epoch > restore.from_epoch
                older = seen_epochs[row.epoch]
                assert row.validation == older.validation, "trained again to the same digits"
                assert row.losses == older.losses
            seen_epochs[row.epoch] = row
    restores = run.trial_folder(damaged.parent.parent.name).status().restores
    assert any(r.from_epoch == 2 and "epoch_000004 is unreadable" in r.note for r in restores)
    if cohort is not None:
        together = [{row.cohort for row in folder.epochs()} for folder in run.trial_folders()]
        assert set.union(*together) - {""}, "some trained together"
    assert run.selection() is not None
    assert (run.report_path / "report.html").exists()
