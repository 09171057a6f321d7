"""Many trials at once: what is timed is what is said."""

import json
import multiprocessing
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from rich.console import Console
from typer.testing import CliRunner

from dfkd_tune.distillation import shared_part
from performance import many
from performance.cases import PAIRS, Case


def small_case(recipe: str = "cgdd", *, threads: int = 1) -> Case:
    """A case of two short epochs on the CPU."""
    return Case(
        pair=PAIRS["tiny"],
        recipe=recipe,
        epochs=2,
        iterations=1,
        device=torch.device("cpu"),
        threads=threads,
    )


def test_trials_of_a_cohort_differ_and_share_their_images() -> None:
    configs = many.members(small_case(), "default", 4)
    assert len({config.student_optimiser.learning_rate for config in configs}) == 4
    (part,) = {shared_part(config) for config in configs}
    assert part is not None


def test_a_cohort_computes_less_than_its_trials_one_by_one() -> None:
    one, two = (many.operations(small_case(), "default", count) for count in (1, 2))
    # Teacher and generator work once for both.
    assert one < two < 2 * one
    longer = replace(small_case(), iterations=3)
    assert many.operations(longer, "default", 1) == 3 * one


@pytest.mark.long
def test_trials_are_timed_side_by_side_and_as_cohorts(tmp_path: Path) -> None:
    output = tmp_path / "many.json"
    run = subprocess.run(
        [
            *(sys.executable, "-m", "performance.many", "--pair", "tiny", "--recipe", "cgdd"),
            *("--counts", "4", "--epochs", "2", "--iterations", "2", "--threads", "1"),
            *("--device", "cpu", "--output", str(output)),
        ],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=240,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(output.read_text())
    trials = {(each["count"], each["processes"]): each for each in found["trials"]}
    # Each against one at a time, which is measured in any case.
    assert list(trials) == [(1, 1), (4, 1), (4, 2), (4, 4)]
    assert trials[1, 1]["speed"] == 1
    for each in trials.values():
        (seconds,) = each["seconds"]
        # 2 iterations of 5 student steps, of the 400,000 of the recipe.
        assert each["steps_per_second"] == pytest.approx(each["count"] * 10 / seconds)
        hours = 400_000 * seconds / 10 / 3600
        assert each["trials_per_hour"] == pytest.approx(each["count"] / hours)
        assert 0 < each["arithmetic_share"] < 1
        assert each["peak_memory_mib"] > 100 * each["processes"]
    assert found["device"] == "cpu"


def test_images_that_depend_on_the_student_make_no_cohorts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[int, int]] = []

    def run_many(case: Case, way: str, count: int, processes: int) -> tuple[float, float]:
        asked.append((count, processes))
        return 1.0, 1.0

    monkeypatch.setattr(many, "run_many", run_many)
    console = Console(width=200)
    kept: list[list[many.Many]] = []
    many.measure_many(
        small_case("dfq"), "default", [1, 2], turns=1, rate=1e12, console=console, keep=kept.append
    )
    assert asked == [(1, 1), (2, 2)]
    # After each run, all so far.
    assert [len(measured) for measured in kept] == [1, 2]
    assert "so there are no cohorts" in capsys.readouterr().out


def test_counts_without_memory_are_kept_as_such(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run_many(case: Case, way: str, count: int, processes: int) -> tuple[float, float] | None:
        return (2.0, 10.0) if count == 1 else None

    monkeypatch.setattr(many, "run_many", run_many)
    kept: list[list[many.Many]] = []
    many.measure_many(
        small_case("dfq"),
        "default",
        [1, 2],
        turns=2,
        rate=1e12,
        console=Console(),
        keep=kept.append,
    )
    one, two = kept[-1]
    assert one.seconds == [2.0, 2.0]
    assert one.speed == 1
    assert two.seconds == []
    assert two.steps_per_second == two.trials_per_hour == two.speed == two.arithmetic_share == 0
    # As JSON has it: no number that it lacks.
    json.dumps([asdict(each) for each in kept[-1]], allow_nan=False)


def ends_at_once(*_given: object) -> None:
    os._exit(3)


def waits_for_ever(_line: object, barrier: Any, *_given: object) -> None:
    barrier.wait(60)


def test_a_process_that_dies_is_not_waited_for() -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    lines, processes = [], []
    for work in (waits_for_ever, ends_at_once):
        here, there = context.Pipe()
        process = context.Process(target=work, args=(there, barrier))
        process.start()
        there.close()
        lines.append(here)
        processes.append(process)
    with pytest.raises(RuntimeError, match="a trial's process died"):
        many._hear(lines)
    assert processes[0].is_alive()
    for process in processes:
        process.terminate()
        process.join()


def no_memory(_case: Case, _way: str, _count: int) -> None:
    raise torch.OutOfMemoryError("none left")


def test_too_little_memory_ends_a_count_and_not_the_bench(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[object] = []

    class Line:
        def send(self, value: object) -> None:
            sent.append(value)

    class OneParty:
        aborted = False

        def abort(self) -> None:
            self.aborted = True

    monkeypatch.setattr(many, "members", no_memory)
    barrier = OneParty()
    many._train(Line(), barrier, small_case(), "default", 1)  # type: ignore[arg-type]
    assert sent == [None]
    # Else the others would wait for it.
    assert barrier.aborted


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--counts", "one"], "'one' is not numbers with commas"),
        (["--counts", "0"], "there must be at least 1 trial at once"),
        (["--way", "plain"], "no 'plain'; there are default"),
        (["--device", "tpu"], "no 'tpu'; there are auto, cpu, cuda"),
    ],
)
def test_wrong_options_are_refused_in_one_line(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    app = typer.Typer()
    app.command()(many.main)
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 2
    assert words in " ".join(result.output.replace("│", "").split())
