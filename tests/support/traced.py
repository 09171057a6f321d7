"""Traces every number of a run's page to the records that it came from.

The numbers of each section are computed here a second time, from the JSON and JSON Lines files of
the run folder and with nothing of `reports`. What no section claims is left over.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Any

import pytest
from page_text import Element
from scipy.stats import binomtest
from traced_page import (
    DASH,
    STATES,
    Expected,
    Files,
    Page,
    Trace,
    Trial,
    bootstrap,
    clock,
    label,
    minute,
    parts,
    percent,
    quantity,
    ratio,
)
from traced_within import (
    trace_attention,
    trace_caveats,
    trace_classes,
    trace_failures,
    trace_images,
    trace_losses,
    trace_reproduce,
    trace_time,
    trace_variety,
)


def trace_verdict(page: Page, files: Files, section: Element) -> None:
    status, sentence, meta = parts(section, "p")
    message = files.run["message"] if files.run["state"] in ("interrupted", "failed") else ""
    page.text(status, f"{files.finished} {files.planned}", message)
    page.text(sentence, *_sentence(files))
    page.text(
        meta,
        files.experiment["benchmark"],
        minute(files.run["created"]),
        minute(files.run["updated"]),
    )
    *quality, trials, compute = parts(section, "dd")
    for shown, expected in zip(quality, _quality(files), strict=True):
        page.text(shown, *expected)
    page.text(trials, f"{files.finished} {files.planned}")
    seconds = clock(sum(trial.seconds for trial in files.trials))
    page.text(compute, seconds, f"{sum(trial.own_steps for trial in files.trials):,}")


def _sentence(files: Files) -> list[Expected]:
    if not files.has_best:
        counts = Counter(trial.state for trial in files.trials)
        told = " ".join(str(counts[state]) for state in STATES if counts[state])
        return [f"{len(files.trials)} {told}"]
    best, selection = files.best, files.selection
    named = f"{best.name} {best.student} {best.record['student_size']['parameters']:,}"
    value = percent(best.values[-1])
    if not selection:
        score = files.teacher["scores"]["validation"] if files.labels else None
        relative = [percent(best.values[-1] / _accuracy(score))] if score else []
        return [named, value, *relative, str(len(files.of("complete")))]
    if selection["test"]:
        test = selection["test"]
        ends, both = bootstrap(test), _both(test)
        among = f"{test['images']:,} {selection['candidates']}"
        return [named, f"{ratio(test):.1f}", *ends, *both, among]
    if selection["held_out"]:
        held_out = selection["held_out"]
        agreement = percent(held_out["same"] / held_out["images"])
        among = str(selection["candidates"])
        return [named, agreement, str(held_out["images"]), *wilson(held_out), among]
    chosen_by = (selection.get(key) for key in ("synthetic_agreement", "pool_agreement"))
    decisive = next((by for by in chosen_by if by is not None), best.values[-1])
    return [named, percent(decisive), str(selection["candidates"])]


def _quality(files: Files) -> list[list[Expected]]:
    """The facts that tell how good the best student is."""
    test, held_out = (files.selection.get(key) for key in ("test", "held_out"))
    if files.experiment["data"] == "labelled":
        if not test:
            return [[], [], []]
        right = test["both_correct"] + test["student_only"]
        beside = [files.yardsticks[n]["scores"]["test"] for n in ("real", "kd") if files.yardsticks]
        return [
            [f"{ratio(test):.1f}", *bootstrap(test)],
            *([each] for each in _both(test)),
            *([percent(right / on["correct"]), percent(_accuracy(on))] for on in beside),
        ]
    value = [percent(files.best.values[-1])] if files.has_best else []
    if files.experiment["data"] == "none":
        return [value, []]
    same = [percent(held_out["same"] / held_out["images"]), *wilson(held_out)] if held_out else []
    return [same, value, []]


def _both(test: dict[str, int]) -> list[str]:
    """The accuracies of student and teacher."""
    return [
        percent((test["both_correct"] + test[name]) / test["images"])
        for name in ("student_only", "teacher_only")
    ]


def _accuracy(score: dict[str, Any]) -> float:
    return float(score["correct"] / score["images"])


def wilson(held_out: dict[str, int]) -> tuple[str, str]:
    found = binomtest(held_out["same"], held_out["images"]).proportion_ci(0.95, "wilson")
    return f"{100 * found.low:.1f}", f"{100 * found.high:.1f}"


def trace_headline(page: Page, files: Files, section: Element) -> None:
    heads, row = parts(section, "tr")
    found = {
        head.own: cell for head, cell in zip(heads.within_cells, row.within_cells, strict=True)
    }
    page.text(found.pop("Benchmark"), files.experiment["benchmark"])
    card = f"{files.teacher['architecture']} {files.teacher['width']:g}"
    score = files.teacher["scores"].get("validation")
    page.text(found.pop("Teacher"), card, *([percent(_accuracy(score))] if score else []))
    student, relative = found.pop("Best found student"), found.pop("Relative accuracy, test")
    value = found.pop("Value of the search objective")
    if files.has_best:
        best = files.best
        page.text(
            student, best.student, best.name, quantity(best.record["student_size"]["parameters"])
        )
        page.text(value, percent(best.values[-1]))
    else:
        assert (student.own, value.own.split()[:2]) == ("not run", ["not", "run"])
    test, held_out = (files.selection.get(key) for key in ("test", "held_out"))
    page.text(relative, *([f"{ratio(test):.1f}", *bootstrap(test)] if test else []))
    if files.experiment["data"] == "unlabelled":
        agreement = found.pop("Agreement, unseen images")
        same = [percent(held_out["same"] / held_out["images"])] if held_out else []
        page.text(agreement, *same, *(wilson(held_out) if held_out else []))
    if "Latency" in found:
        latency = files.best.record["student_size"]["latency_ms"]
        page.text(found.pop("Latency"), f"{latency:.3g}")
    page.text(found.pop("Trials"), f"{files.finished} {files.planned}")
    seconds = sum(trial.seconds for trial in files.trials)
    page.text(found.pop("Compute seconds"), f"{seconds:,.1f}")
    assert not found


def trace_history(page: Page, files: Files, section: Element) -> None:
    evaluated = sum(bool(trial.values) for trial in files.trials)
    top = percent(files.ranked[0].values[-1] if files.ranked else None)
    for caption in parts(section, "figcaption"):
        page.text(caption, f"{evaluated} {len(files.trials)} {top}")
    ends = files.ended

    def best_among(trials: Iterable[Trial]) -> str:
        values = [t.values[-1] for t in trials if t.state == "complete" and t.values]
        return percent(max(values, default=None))

    page.rows(
        parts(section, "table")[0],
        *(
            (
                str(place + 1),
                trial.name,
                trial.state,
                percent(_last(trial)),
                best_among(files.trials[: place + 1]),
                f"{sum(t.seconds for t in ends[: ends.index(trial) + 1]):,.1f}",
                best_among(ends[: ends.index(trial) + 1]),
            )
            for place, trial in enumerate(files.trials)
        ),
    )


def _last(trial: Trial) -> float | None:
    return trial.values[-1] if trial.values else None


def trace_leaderboard(page: Page, files: Files, section: Element) -> None:
    names = [trial.name for trial in files.ranked]
    rest = [trial for trial in files.trials if trial.name not in names]
    rows = [*files.ranked, *rest]
    counts = Counter(trial.state for trial in files.trials)
    everyone, *states = parts(section, "option")
    page.text(everyone, str(len(rows)))
    for option in states:
        page.text(option, str(counts[option.attributes["value"]]))
    table = parts(section, "table")[0]
    page.text(parts(table, "caption")[0], str(len(rows)))
    found = parts(table, "tr", "trial")
    assert len(found) == len(rows)
    for row, trial in zip(found, rows, strict=True):
        rank = str(names.index(trial.name) + 1) if trial.name in names else DASH
        _trace_trial(page, files, row, trial, rank)


def _trace_trial(page: Page, files: Files, row: Element, trial: Trial, rank: str) -> None:
    """Claim a row of the leaderboard."""
    record, values = trial.record, trial.values
    total, steps = record["total_student_steps"], trial.steps
    searched = sorted(record["parameters"].items())
    latency, last = record["student_size"]["latency_ms"], _last(trial)
    timed = any(t.record["student_size"]["latency_ms"] is not None for t in files.trials)
    parent = record.get("parent")
    state = trial.state if rank != DASH else f"{trial.state} at step {steps:,} of {total:,}"
    if trial.state == "running":
        state = state.replace("running", "not finished,")
    mean = fmean(values[-5:]) if values else None
    teacher = files.teacher["scores"].get("validation") if files.labels else None
    relative = 100 * last / _accuracy(teacher) if teacher and last is not None else None
    epochs = str(len(trial.epochs))
    if trial.epochs:
        epochs += f" / {trial.epochs[-1]['total_epochs']}"
    memory = max((epoch["peak_memory_mib"] for epoch in trial.epochs), default=None)
    assert row.cells == [
        rank,
        trial.name + (" selected" if trial.name == files.selection.get("trial") else ""),
        f"child of {parent['trial']}" if parent else record["origin"],
        state,
        percent(last),
        percent(max(values, default=None)),
        percent(mean),
        *([percent(None if relative is None else relative / 100)] if files.labels else []),
        trial.student,
        f"{record['student_size']['parameters']:,}",
        quantity(record["student_size"]["macs"]),
        *(["none" if latency is None else f"{latency:.3g} ms"] if timed else []),
        epochs,
        f"{steps:,} / {total:,}",
        f"{trial.seconds:,.1f}" if trial.epochs else "none",
        _memory(memory),
        " ".join(f"{key} {_setting(value)}" for key, value in searched[:3]) or "none",
    ]
    cells = [e for e in row.within if isinstance(e, Element)]
    page.claimed |= set(cells)
    # Sorting is by numbers without rounding.
    exact = {4: last, 5: max(values, default=None), 6: mean, -5: len(trial.epochs), -4: steps}
    exact |= {-3: trial.seconds if trial.epochs else None, -2: memory}
    if files.labels:
        exact[7] = relative
    for place, value in exact.items():
        text = cells[place].attributes["data-value"]
        assert text == "" if value is None else float(text) == pytest.approx(value), (place, text)
    if len(searched) > 3:
        page.text(parts(row, "summary")[0], str(len(searched)))
        for (key, value), name, shown in zip(
            searched, parts(row, "dt"), parts(row, "dd"), strict=True
        ):
            page.text(name, key)
            page.text(shown, _setting(value))


def _memory(mebibytes: float | None) -> str:
    if mebibytes is None:
        return "none"
    return f"{mebibytes:.0f} MiB" if mebibytes < 1024 else f"{mebibytes / 1024:.1f} GiB"


def _setting(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def trace_curves(page: Page, files: Files, section: Element) -> None:
    trials = [trial for trial in files.trials if trial.values]
    score = files.teacher["scores"].get("validation") if files.labels else None
    told = [str(len(trials))]
    if files.has_best:
        told += [files.best.name, percent(files.best.values[-1])]
    told += [percent(_accuracy(score))] if score else []
    page.text(parts(section, "figcaption")[0], *told)

    def reached(trial: Trial, share: float) -> str:
        budget = share * trial.record["total_student_steps"]
        within = [value for steps, value in files.curve(trial) if steps <= budget]
        return percent(within[-1] if within and trial.steps >= budget else None)

    page.rows(
        parts(section, "table")[0],
        *(
            (t.name, t.state, *(reached(t, share) for share in (0.25, 0.5, 0.75, 1)))
            for t in trials
        ),
    )


def trace_mattered(page: Page, files: Files, section: Element) -> None:
    assert not files.dimensions
    assert not parts(section, "table")


ALWAYS: dict[str, Trace] = {
    "Verdict": trace_verdict,
    "headline": trace_headline,
    "history": trace_history,
    "leaderboard": trace_leaderboard,
    "curves": trace_curves,
    "losses": trace_losses,
    "classes": trace_classes,
    "attention": trace_attention,
    "images": trace_images,
    "variety": trace_variety,
    "time": trace_time,
    "failures": trace_failures,
    "reproduce": trace_reproduce,
    "caveats": trace_caveats,
}
"""The sections that the page of every sweep has."""

OF_THE_SELECTED = ("classes", "attention", "variety")
"""Of these, those that it has only once a trial is selected."""


def trace_run(page: Page, files: Files, more: Mapping[str, Trace]) -> None:
    """Trace all sections of a page of one run; fails where it has others.

    Args:
        page: of the run.
        files: of the run.
        more: the sections that it has beside those that are always there.
    """
    traced = {**ALWAYS, **more}
    if not files.selection:
        traced = {name: trace for name, trace in traced.items() if name not in OF_THE_SELECTED}
    trace_sections(page, files, traced)


def trace_sections(page: Page, files: Files, traced: Mapping[str, Trace]) -> None:
    """Trace these sections of a page of one run; fails where it has others."""
    sections = {label(section): section for section in page.body.all("section")}
    assert {name.removeprefix("run-1-") for name in sections} == set(traced)
    for name, section in sections.items():
        traced[name.removeprefix("run-1-")](page, files, section)
