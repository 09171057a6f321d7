"""The bench: its plain loop trains as the project's does, and what it measures is what it says."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_methods import INPUTS, small_config, small_teacher

from dfkd_tune.distillation import DistillationConfig, distil
from performance import batches, cases, layout, worker
from performance.reference import PlainLoop


def small_case(
    pair: cases.Pair = cases.PAIRS["tiny"],
    recipe: str = "dfq",
    *,
    epochs: int = 2,
    iterations: int = 1,
    threads: int = 1,
) -> cases.Case:
    """A case on the CPU."""
    return cases.Case(
        pair=pair,
        recipe=recipe,
        epochs=epochs,
        iterations=iterations,
        device=torch.device("cpu"),
        threads=threads,
    )


def alternating(name: str) -> DistillationConfig:
    """A method's small recipe: two generator steps and one student step."""
    config = small_config(name)
    changes = {
        "mode": "alternating",
        "generator_epochs": 0,
        "epochs": 2,
        "iterations_per_epoch": 1,
        "generator_steps": 2,
        "student_steps": 1,
    }
    schedule = config.schedule.model_copy(update=changes)
    return config.model_copy(update={"schedule": schedule})


# The contrast of dfkd_fgvc normalises ten vectors: rounding shows.
@pytest.mark.parametrize(
    ("name", "tolerance"), [("dfq", 1e-5), ("cgdd", 1e-5), ("dfkd_fgvc", 2e-4), ("fast", 1e-5)]
)
def test_the_plain_loop_gives_the_same_losses(name: str, tolerance: float, tmp_path: Path) -> None:
    config = alternating(name)
    ours: list[dict[str, float]] = []
    distil(config, small_teacher(), INPUTS, report=lambda p: ours.append(dict(p.losses)))
    plain = PlainLoop(config, small_teacher(), INPUTS, tmp_path).epoch()
    assert plain.keys() == ours[0].keys()
    for term, loss in plain.items():
        assert ours[0][term] == pytest.approx(loss, rel=tolerance, abs=tolerance), term
    # What is computed anew: other first weights give other losses.
    other = PlainLoop(config.model_copy(update={"seed": 1}), small_teacher(), INPUTS, tmp_path)
    assert other.epoch() != plain


def test_every_recipe_of_the_bench_is_measured_beside_every_way() -> None:
    for pair in cases.PAIRS.values():
        for recipe in cases.RECIPES:
            case = small_case(pair, recipe, epochs=3, iterations=2)
            plain = case.configuration(cases.PLAIN)
            for way, changes in cases.WAYS.items():
                config = case.configuration(way)
                assert (config == plain) == (not changes)
                assert config.schedule.total_student_steps == plain.schedule.total_student_steps


@pytest.mark.long
def test_a_case_is_measured_in_processes_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.json"
    monkeypatch.chdir(Path(__file__).parents[2])
    run = subprocess.run(
        [
            *(sys.executable, "-m", "performance", "--pairs", "tiny", "--recipes", "dfq"),
            *("--ways", "default,bfloat16", "--rounds", "1", "--threads", "1"),
            *("--iterations", "2"),
            *("--output", str(output)),
        ],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(output.read_text())
    (case,) = found["cases"]
    ways = {way["name"]: way for way in case["ways"]}
    assert list(ways) == ["plain", "default", "bfloat16"]
    assert ways["plain"]["speed"] == ways["plain"]["cpu_speed"] == 1
    assert ways["plain"]["loss_difference"] == 0
    assert ways["default"]["loss_difference"] < 1e-4
    assert ways["bfloat16"]["loss_difference"] is None
    for way in ways.values():
        assert way["steps_per_second"] > 0
        assert way["cpu_speed"] > 0
        assert 0 < way["synthesis_share"] < 1
        assert 0 < way["arithmetic_share"] < 1
        assert way["peak_memory_mib"] > 100
        assert all(seconds > 0 for seconds in way["phases"].values())
        (block,) = way["epoch_seconds"]
        assert len(block) == 2
    assert found["threads"] == 1
    assert found["iterations_of_an_epoch"] == 2


def test_an_unknown_name_is_refused_in_one_line() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "performance", "--pairs", "wrn"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=120,
    )
    assert run.returncode == 2
    assert "no 'wrn'; there are tiny, wrn-32" in " ".join(run.stderr.replace("│", "").split())


@pytest.mark.long
def test_the_profile_tells_where_an_epoch_goes(tmp_path: Path) -> None:
    output = tmp_path / "profile.json"
    run = subprocess.run(
        [
            *(sys.executable, "-m", "performance.profile", "--pair", "tiny", "--threads", "1"),
            *("--ways", "plain,default", "--iterations", "1", "--output", str(output)),
        ],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=240,
    )
    assert run.returncode == 0, run.stderr
    seconds = json.loads(output.read_text())["seconds"]
    assert list(seconds) == ["plain", "default"]
    for way in seconds.values():
        assert way["convolutions, forward"] > 0
        assert way["convolutions, backward"] > 0
    # The plain loop measures statistics in every pass, and fetches numbers in every step.
    kind = "statistics of batches"
    share = {name: way[kind] / sum(way.values()) for name, way in seconds.items()}
    assert share["plain"] > share["default"] > 0


def test_layouts_are_measured_beside_the_taken_one(tmp_path: Path) -> None:
    output = tmp_path / "layout.json"
    layout.main("resnet8:8:2", turns=1, threads=1, output=output)
    cases = json.loads(output.read_text())["cases"]
    assert [case["precision"] for case in cases] == ["float32", "bfloat16"]
    for case in cases:
        assert list(case["milliseconds"]) == ["first", "last", "taken"]
        for times in case["milliseconds"].values():
            assert min(times["classify"], times["train"]) > 0


def test_batches_are_measured_up_to_all_images(tmp_path: Path) -> None:
    output = tmp_path / "batches.json"
    batches.main("resnet8:8:20", turns=1, threads=1, output=output)
    (case,) = json.loads(output.read_text())["cases"]
    assert list(case["milliseconds"]) == ["4", "8", "16"]
    assert min(case["milliseconds"].values()) > 0


def test_a_block_leaves_nothing_on_the_networks_of_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Hooks that pile up would slow the plain loop from round to round."""
    seen: list[int] = []

    class Counting(PlainLoop):
        def epoch(self) -> dict[str, float]:
            hooks = [m for m in self.teacher.network.modules() if m._forward_pre_hooks]
            seen.append(sum(len(m._forward_pre_hooks) for m in hooks))
            return super().epoch()

    monkeypatch.setattr(worker, "PlainLoop", Counting)
    measured = worker.Measured(small_case(epochs=1), cases.PLAIN)
    measured.block()
    first, second = measured.losses(), measured.losses()
    assert len(seen) == 3
    assert seen[0] == seen[1] == seen[2] > 0
    assert first == second


def test_ways_of_a_gpu_are_offered_on_one() -> None:
    on_cpu, on_gpu = (cases.ways_on(torch.device(name)) for name in ("cpu", "cuda"))
    assert on_gpu[: len(on_cpu)] == on_cpu == list(cases.WAYS)
    case = replace(small_case(), device=torch.device("cuda"))
    for way in on_gpu:
        assert case.configuration(way).cuda_graphs == ("graphs" in way)
