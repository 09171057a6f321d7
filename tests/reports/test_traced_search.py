"""Every number on the page of a sweep with all that a sweep can have, traced to its records."""

import json
import math
from typing import Any

import numpy as np
import pytest
from page_text import read_page
from traced import Files, Page, trace_run
from traced_search import SEARCHED

from dfkd_tune.records import PoolRecord, RunFolder, YardsticksRecord, write_record
from reports import write_report

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


@pytest.fixture
def searched(make_run: Maker, spec: Any, make_selection: Any) -> RunFolder:
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


def test_every_number_of_a_search_is_traced_to_its_records(searched: RunFolder) -> None:
    html = write_report([searched.path]).html.read_text(encoding="utf-8")
    page, files = Page(read_page(html)), Files(searched.path)
    trace_run(page, files, SEARCHED)
    assert page.left() == []
