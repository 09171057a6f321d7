"""Run folders whose pages are traced: with all that a sweep can have, and several runs together."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from dfkd_tune.records import PoolRecord, RunFolder, TestOutcome, YardsticksRecord, write_record

Maker = Any
RATE = "student_optimiser.learning_rate"


def dimension(key: str, words: str, **more: Any) -> dict[str, Any]:
    return {"key": key, "range": words, "switch": False, "limits": {"gt": 0.0}, **more}


DIMENSIONS = [
    dimension(RATE, "0.001 .. 0.3 (log)", kind="float", low=0.001, high=0.3, log=True),
    dimension("kd.temperature", "1 .. 20", kind="float", low=1.0, high=20.0, log=False),
    dimension("student.width", "0.25, 0.5, 1", kind="choice", choices=[0.25, 0.5, 1.0]),
]


def rising(end: float, epochs: int) -> tuple[float, ...]:
    """Accuracies of ten epochs, the first of them, that rise to `end`."""
    return tuple(round(end * (1 - math.exp(-0.4 * epoch)), 4) for epoch in range(1, epochs + 1))


def searched_run(make_run: Maker, spec: Any, make_selection: Any) -> RunFolder:
    """A sweep with all that a sweep can have: dimensions, a pool, a baseline, yardsticks."""
    random = np.random.default_rng(5)
    specs = []
    for index in range(28):
        width = (0.25, 0.5, 1.0)[index % 3]
        rate = 0.29 if index == 9 else float(10 ** random.uniform(-3, -0.6))
        own = {RATE: rate, "kd.temperature": float(random.uniform(1, 20)), "student.width": width}
        end = 0.5 + 0.15 * (math.log10(rate) + 3) + 0.05 * width + 0.002 * float(random.normal())
        stopped = index in {4, 11, 20, 27}
        specs.append(
            spec(
                values=(
                    *rising(end, 8),
                    *(() if stopped else (round(end - 0.01, 4), round(end, 4))),
                ),
                state="stopped" if stopped else "complete",
                reason="below the best half at this rung" if stopped else "",
                parameters=own,
                architecture="resnet18",
                width=width,
                size=int(11_000_000 * width**2),
                latency_ms=2.0 + 3 * width + index / 100,
                images=(1, 5, 10),
                weights=b"weights of %d" % index,
            )
        )
    ends = {i: s.values[-1] for i, s in enumerate(specs) if s.state == "complete"}
    best = max(ends, key=lambda number: ends[number])
    selection = make_selection(f"t{best:04d}", candidates=len(ends))
    run: RunFolder = make_run(
        specs, name="searched", planned=28, against="latency", selection=selection
    )
    experiment = json.loads(run.experiment_file.read_text())
    experiment |= {"benchmark": "cifar10", "method": "dfq", "dimensions": DIMENSIONS}
    run.experiment_file.write_text(json.dumps(experiment))
    card = json.loads(run.teacher_card_file.read_text())
    card |= {"benchmark": "cifar10", "architecture": "resnet34"}
    run.teacher_card_file.write_text(json.dumps(card))
    network = {**card, "architecture": "resnet18", "width": specs[best].width}
    yardsticks = {
        name: {
            **network,
            "scores": {"test": {"accuracy": right / 450, "correct": right, "images": 450}},
        }
        for name, right in (("real", 430), ("kd", 436))
    }
    write_record(
        run.yardsticks_file,
        YardsticksRecord(trial=selection.trial, time=card["created"], **yardsticks),
    )
    names = [f"t{number:04d}" for number in ends]
    among = (len(names), len(names))
    pool = PoolRecord(
        trials=names,
        students=["a" * 64] * len(names),
        images=[80] * len(names),
        class_entropy=random.uniform(1.5, 2.2, len(names)).tolist(),
        agreement=random.uniform(0.6, 0.95, among).tolist(),
        kl=random.uniform(0.1, 0.9, among).tolist(),
        ensemble=random.uniform(0.6, 0.95, among).tolist(),
        seconds=3.0,
        time=card["created"],
    )
    write_record(run.pool_file, pool)
    baseline = make_run(
        [spec(values=(*rising(end, 9), end)) for end in (0.6, 0.55, 0.72, 0.5)],
        name="searched-random",
    )
    named = {**json.loads(baseline.experiment_file.read_text()), "baseline_of": "searched"}
    baseline.experiment_file.write_text(json.dumps(named))
    return run


def outcome(student: int, teacher: int = 440) -> TestOutcome:
    both = min(student, teacher) - 5
    rest = {"student_only": student - both, "teacher_only": teacher - both}
    return TestOutcome(
        images=450, both_correct=both, **rest, neither=450 - both - sum(rest.values())
    )


def sweep_maker(make_run: Maker, spec: Any, make_selection: Any) -> Any:
    """Writes a sweep of three complete trials and one that was stopped."""

    def make(name: str, right: int, ends: tuple[float, ...], **keys: Any) -> RunFolder:
        own = {"architecture": "resnet18", "width": 1.0}
        specs = [spec(values=(*[0.1] * 9, end), **own) for end in ends]
        specs.append(spec(values=(0.2, 0.3), state="stopped", **own))
        test = outcome(right)
        selection = make_selection("t0000", test=test, candidates=len(ends))
        run = make_run(specs, name=name, planned=8, selection=selection)
        return change(run, **keys)

    return make


def confirmation_run(make_run: Maker, spec: Any) -> RunFolder:
    """Two configurations of a sweep, three seeds each."""
    trials = [
        compared(spec, variant, right, (*[0.5] * 5, end - 0.001 * right, end))
        for variant, end, counts in (
            ("t0000", 0.9, (410, 400, 396)),
            ("t0002", 0.8, (430, 424, 431)),
        )
        for right in counts
    ]
    variants = [variant(name, f"of {name}") for name in ("t0000", "t0002")]
    run = comparison_run(
        make_run, "confirmation", 3, variants, trials, source="/runs/one", name="one-confirmed"
    )
    return change(run, benchmark="cifar10", method="dfq")


def ablation_run(make_run: Maker, spec: Any) -> RunFolder:
    """Two seeds of variants, of most of which something was published; three trials were lost."""
    variants = [
        variant("full", "the recipe as it is", "DFKD-FGVC"),
        variant("baseline", "KD alone", "DFKD-FGVC (KD only)"),
        variant("order_2", "maps of order 2", "DFKD-FGVC (order 2)"),
        variant("kd_9", "a temperature of 9"),
    ]
    rising = (0.2, 0.3, 0.5, 0.45, 0.6, 0.55)
    early: dict[str, Any] = {"values": (0.2, 0.1), "test": None}
    signs = {1: ("features",), 2: ("features", "classes")}
    trials = [
        compared(spec, "full", 331, (*rising, 0.71)),
        compared(spec, "baseline", 306, (*rising, 0.62)),
        compared(spec, "order_2", 318, (*rising, 0.66)),
        compared(spec, "kd_9", 0, state="diverged", reason="loss not finite", **early),
        compared(spec, "full", 324, (*rising, 0.7)),
        compared(spec, "baseline", 0, state="collapsed", reason="2 signs", signs=signs, **early),
        compared(spec, "order_2", 322, (*rising, 0.68)),
        compared(spec, "kd_9", 0, state="collapsed", reason="2 signs", signs=signs, **early),
    ]
    run = comparison_run(make_run, "ablation", 2, variants, trials)
    return change(run, benchmark="cub200", method="dfkd_fgvc")


def methods_run(make_run: Maker, spec: Any, seeds: int) -> RunFolder:
    """Three methods, of which the last has not ended a distillation."""
    counts = {"dfq": (402, 391, 410), "cgdd": (395, 401, 388)}
    trials = [
        compared(spec, name, right, (*[0.4] * 6, right / 450))
        for name, of in counts.items()
        for right in of[:seeds]
    ]
    running = {"values": (0.3, 0.2), "test": None, "total_epochs": 7}
    trials.append(compared(spec, "cmi", 0, state="running", **running))
    variants = [variant(name, "") for name in (*counts, "cmi")]
    name = "methods" if seeds == 1 else "methods-over-seeds"
    run = comparison_run(make_run, "methods", seeds, variants, trials, state="running", name=name)
    return change(run, benchmark="cifar10", method="dfq")


def compared(spec: Any, name: str, right: int, values: tuple[float, ...] = (), **more: Any) -> Any:
    """A trial of a variant, with this many test images right of 450."""
    own = {"values": values, "test": outcome(right), "architecture": "resnet18", "width": 1.0}
    return spec(variant=name, **{**own, **more})


def variant(name: str, words: str, published: str | None = None) -> dict[str, str | None]:
    return {"name": name, "words": words, "published": published}


def comparison_run(
    make_run: Maker,
    what: str,
    seeds: int,
    variants: list[dict[str, str | None]],
    trials: list[Any],
    *,
    source: str = "",
    **run: Any,
) -> RunFolder:
    """A comparison; `run` is of the run as a whole."""
    comparison = {"what": what, "seeds": seeds, "variants": variants, "source": source}
    folder: RunFolder = make_run(
        trials, kind="comparison", comparison=comparison, **{"name": what, **run}
    )
    return folder


def change(run: RunFolder, benchmark: str, method: str, **keys: Any) -> RunFolder:
    experiment = json.loads(run.experiment_file.read_text())
    experiment |= {"benchmark": benchmark, "method": method, **keys}
    run.experiment_file.write_text(json.dumps(experiment))
    card = json.loads(run.teacher_card_file.read_text())
    card |= {"benchmark": benchmark, "architecture": "resnet34"}
    run.teacher_card_file.write_text(json.dumps(card))
    return run


def suite_runs(sweep: Any, confirmation: RunFolder) -> list[Path]:
    """A search and its confirmation, and two searches on another benchmark."""
    one = sweep("one", 413, (0.9, 0.8, 0.7), benchmark="cifar10", method="dfq")
    three = sweep("three", 390, (0.7, 0.6), benchmark="cifar100", method="cmi")
    four = sweep("four", 380, (0.7, 0.6), benchmark="cifar100", method="dfq")
    return [one.path, confirmation.path, three.path, four.path]
