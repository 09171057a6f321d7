"""Pages of runs without labels, of unfinished runs and of populations: every number traced."""

import json
from typing import Any

import numpy as np
import pytest
from page_figures import read_figures, trace_figures
from page_text import read_page
from traced import trace_mattered, trace_run
from traced_figures import FIGURES
from traced_page import Files, Page
from traced_search import trace_choice, trace_trade_off

from dfkd_tune.records import (
    ClassResults,
    Confusion,
    ErrorRecord,
    Parent,
    PoolRecord,
    RestoreRecord,
    RunFolder,
    write_record,
)
from reports import write_report

Maker = Any


def trace_all(run: RunFolder, **more: Any) -> None:
    """Trace all numbers of a run's page, in its text and in its figures."""
    html = write_report([run.path]).html.read_text(encoding="utf-8")
    page, files = Page(read_page(html)), Files(run.path)
    trace_run(page, files, {"mattered": trace_mattered, **more})
    assert page.left() == []
    figures = read_figures(html)
    assert len(trace_figures(figures, "run-1", files, FIGURES)) == len(figures)


def agreement(where: Any) -> ClassResults:
    """What the student answers by the class that the teacher chooses."""
    return ClassResults(
        where=where,
        names=tuple("0123456789"),
        images=(25, 24, 26, 25, 23, 27, 25, 24, 26, 25),
        student=(25, 22, 26, 19, 22, 25, 24, 21, 26, 24),
        confusions=(
            Confusion(true=3, predicted=9, student=5),
            Confusion(true=7, predicted=1, student=3),
        ),
    )


@pytest.mark.parametrize("objective", ["unlabelled_real", "data_free"])
def test_every_number_of_a_run_on_unlabelled_images_is_traced(
    make_kind: Maker, look: Any, objective: str
) -> None:
    run = make_kind(objective, "unlabelled", classes=agreement("held_out"))
    look(run, "t0003")
    images = json.loads(run.selected_images_file.read_text())
    for image in images["real_attention"]["images"]:
        image["label"] = None
    run.selected_images_file.write_text(json.dumps(images))
    trace_all(run)


def test_every_number_of_a_run_without_any_image_is_traced(make_kind: Maker, look: Any) -> None:
    run = make_kind("data_free", "none", classes=agreement("audit"))
    look(run, "t0003", real=None, real_attention=None)
    trace_all(run)


@pytest.mark.parametrize("objective", ["unlabelled_real", "data_free"])
def test_every_number_of_a_run_that_leaves_labels_alone_is_traced(
    make_kind: Maker, objective: str
) -> None:
    trace_all(make_kind(objective, "labelled"), choice=trace_choice)


@pytest.mark.parametrize("by", ["synthetic_agreement", "pool_agreement"])
@pytest.mark.parametrize("data", ["labelled", "none"])
def test_every_number_of_a_choice_by_one_another_s_images_is_traced(
    make_run: Maker, spec: Any, make_selection: Any, data: str, by: str
) -> None:
    """The choice is not by the search objective; two trials are equal in it, two in cost."""
    random = np.random.default_rng(8)
    ends = (0.9, 0.8, 0.8, 0.7, 0.6)
    sizes = (40_000, 20_000, 20_000, 90_000, 10_000)
    specs = [
        spec(values=(0.2, 0.3, end), beside=(0.1, 0.3, 0.9 * end), size=size, total_epochs=3)
        for end, size in zip(ends, sizes, strict=True)
    ]
    names = [f"t{place:04d}" for place in range(len(ends))]
    among = (len(ends), len(ends))
    pool = PoolRecord(
        trials=names,
        students=["a" * 64] * len(ends),
        images=[80] * len(ends),
        class_entropy=random.uniform(1.5, 2.2, len(ends)).tolist(),
        agreement=random.uniform(0.4, 0.95, among).tolist(),
        kl=random.uniform(0.1, 0.9, among).tolist(),
        ensemble=random.uniform(0.6, 0.95, among).tolist(),
        seconds=3.0,
        time="2025-03-04T10:00:00+00:00",
    )
    scores = pool.scores(pool.agreement)
    if by == "synthetic_agreement":
        scores = {name: (scores[name] + end) / 2 for name, end in zip(names, ends, strict=True)}
    best = max(names, key=lambda name: scores[name])
    selection = make_selection(
        best, objective="data_free", candidates=len(ends), **{by: scores[best]}
    )
    if data == "none":
        selection = selection.model_copy(
            update={"test": None, "teacher_validation_accuracy": None, "test_evaluations": 0}
        )
    run = make_run(specs, planned=len(ends), objective="data_free", data=data, selection=selection)
    write_record(run.pool_file, pool)
    more = {"trade_off": trace_trade_off}
    trace_all(run, **more, **({"choice": trace_choice} if data == "labelled" else {}))


@pytest.mark.parametrize(
    ("objective", "data"),
    [("val_real", "labelled"), ("unlabelled_real", "unlabelled"), ("data_free", "none")],
)
def test_every_number_of_a_run_before_its_selection_is_traced(
    make_kind: Maker, objective: str, data: str
) -> None:
    trace_all(make_kind(objective, data, selected=False))


def unfinished(spec: Any, complete: int) -> list[Any]:
    """Trials of several budgets in every state that a trial can be in."""
    error = ErrorRecord(type="ValueError", message="no 3 of 4", traceback="line 7")
    restore = RestoreRecord(session="s2", time="2025-03-04T10:00", from_epoch=2, note="resumed")
    ended = [
        spec(values=(0.2, 0.31, 0.4 + 0.1 * place), total_epochs=3) for place in range(complete)
    ]
    return [
        *ended,
        spec(values=(0.25, 0.3, 0.35), state="running", total_epochs=12, steps_per_epoch=40),
        spec(state="running"),
        spec(values=(0.21,), state="interrupted", images=(1,), restores=(restore,)),
        spec(state="interrupted"),
        spec(values=(0.2, 0.1), state="stopped", reason="below the best half at 2 epochs"),
        spec(values=(0.1,), state="diverged", reason="loss not finite in epoch 2"),
        spec(
            values=(0.3, 0.2),
            state="collapsed",
            reason="2 signs",
            signs={1: ("features",), 2: ("features", "classes")},
        ),
        spec(state="failed", reason="an error", error=error),
        spec(values=(0.3,), state="failed", reason="an error", error=error, total_epochs=4),
    ]


@pytest.mark.parametrize("complete", [0, 2])
@pytest.mark.parametrize("state", ["running", "interrupted", "failed"])
def test_every_number_of_an_unfinished_sweep_is_traced(
    make_run: Maker, spec: Any, complete: int, state: str
) -> None:
    message = "" if state == "running" else "the budget is spent"
    trace_all(make_run(unfinished(spec, complete), state=state, message=message, planned=30))


def test_every_number_of_a_resumed_sweep_on_two_nodes_is_traced(
    make_run: Maker, spec: Any, make_selection: Any
) -> None:
    """The second start trains a stopped trial whose first epoch was its generator's alone."""
    weight = {"kd.weight": 0.5}
    run = make_run(
        [
            *(spec(values=(0.2, 0.3, 0.5 + 0.1 * n), total_epochs=3) for n in range(3)),
            spec(values=(0.1, 0.2, 0.25), total_epochs=9, state="stopped", parameters=weight),
        ],
        planned=4,
        selection=make_selection("t0002", candidates=3),
    )
    with run.sessions_file.open("a") as file:
        first = json.loads(run.sessions_file.read_text())
        again = {"session": "s2", "started": "2025-03-04T09:59:00.000+00:00", "resumed": True}
        file.write(json.dumps({**first, **again}) + "\n")
    for trial in run.trial_folders():
        epochs = [json.loads(line) for line in trial.metrics_file.read_text().splitlines()]
        for epoch in epochs:
            # Two trials at once on the first node, without a pause between their epochs.
            slot, second = int(trial.name[1:]) % 2, 3.5 * (epoch["epoch"] + 4 * slow(trial.name))
            minute = 50 if trial.name == "t0003" and epoch["epoch"] > 1 else 30
            epoch |= {
                "node": "node-b" if minute == 50 else "node-a",
                "session": "s2" if minute == 50 else "s1",
                "time": f"2025-03-04T09:{minute}:{second + slot:06.3f}+00:00",
            }
            if trial.name == "t0003" and epoch["epoch"] == 1:
                epoch |= {"stage": "generator", "student_steps": 0, "value": None}
                epoch |= {"validation": {}, "kept_agreement": None}
                del epoch["losses"]["student/kd"]
        if trial.name == "t0001":
            # Trained again after the process was killed: the newer record counts.
            epochs.insert(2, {**epochs[2], "value": 0.99, "student_steps": 999})
        trial.metrics_file.write_text("".join(json.dumps(epoch) + "\n" for epoch in epochs))
    trace_all(run)


def slow(trial: str) -> int:
    """Which trials begin when the first two have ended."""
    return int(trial > "t0001")


def test_every_number_of_a_population_is_traced(
    make_run: Maker, spec: Any, make_selection: Any
) -> None:
    """Two places: one is taken by a child, and again by a child of that child's parent."""
    rates = [{"kd.weight": 0.5 + place} for place in range(5)]
    run = make_run(
        [
            spec(values=(0.3, 0.5, 0.6, 0.7), total_epochs=4, parameters=rates[0]),
            spec(values=(0.1, 0.2), total_epochs=4, state="stopped", parameters=rates[1]),
            spec(
                values=(0.0, 0.0, 0.45), total_epochs=4, state="stopped", parameters=rates[2],
                origin="child",
            ),
            spec(
                values=(0.0, 0.0, 0.0, 0.9), total_epochs=4, weights=b"9", parameters=rates[3],
                origin="child",
            ),
            spec(
                values=(0.0, 0.0, 0.55), total_epochs=4, state="stopped", parameters=rates[4],
                origin="child",
            ),
        ],
        planned=2,
        selection=make_selection("t0003", candidates=2),
    )  # fmt: skip
    for name, epoch, place in (("t0002", 2, "t0001"), ("t0003", 3, "t0002"), ("t0004", 2, "")):
        child = run.trial_folder(name)
        parent = Parent(trial="t0000", epoch=epoch, student_steps=50 * epoch, place_of=place)
        write_record(child.trial_file, child.trial().model_copy(update={"parent": parent}))
        lines = child.metrics_file.read_text().splitlines(keepends=True)
        child.metrics_file.write_text("".join(lines[epoch:]))
    trace_all(run)
