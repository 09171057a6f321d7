"""What the figures of a search must hold, computed a second time from the files of its run.

Where there are too many trials for a figure, some of its marks are drawn by chance: those that must
be there are looked for, and each that is there must be right.
"""

import math
from collections.abc import Iterable
from itertools import accumulate, groupby
from statistics import fmean, stdev
from typing import Any

from page_figures import Drawn, Expected, Tracer, columns, written
from traced_comparison import spread_words, tested_of, variants
from traced_figures_within import balance, classes, entropy, losses, time, utilisation, watch
from traced_page import FINAL, Files, Near, Trial, percent, spread
from traced_search import (
    OWN,
    against,
    best_so_far,
    cost,
    cost_words,
    deciding,
    random_search,
    scores_without_labels,
    values_of_choice,
)

ENDED_EARLY = ("stopped, diverged, collapsed or failed", ("stopped", *FINAL[2:]))
BEST_CURVES, OTHER_CURVES, CURVE_POINTS = 50, 100, 60
MARKS, BEST_MARKS = 600, 200


# How the search went


def history(by: str) -> Tracer:
    def expected(files: Files, drawn: Drawn) -> Expected:
        in_order = by == "order"
        trials = files.trials if in_order else files.ended
        spent = accumulate(trial.seconds for trial in trials)
        places = {
            trial.name: place + 1 if in_order else Near(seconds, 5.1e-4)
            for place, (trial, seconds) in enumerate(zip(trials, spent, strict=True))
        }
        line = [(places[name], best) for name, best in _best(trials) if best is not None]
        marked = _marked(files, drawn)
        if len(trials) > MARKS:
            line = [*(next(of) for _, of in groupby(line, lambda point: point[1])), line[-1]]
        traces: dict[str, dict[str, Any]] = {"best so far": columns(line, "x", "y")}
        for state in {trial.state for trial in marked}:
            of = [(places[t.name], t.values[-1], t.name) for t in marked if t.state == state]
            traces[state] = columns(of, "x", "y", "text")
        return Expected(traces, {"xaxis.range": [0.5, len(trials) + 0.5]} if in_order else {})

    return expected


def _best(trials: Iterable[Trial]) -> list[tuple[str, float | None]]:
    """The best complete trial so far, by the name of the trial that was the last of them."""
    found: list[tuple[str, float | None]] = []
    best: float | None = None
    for trial in trials:
        if trial.state == "complete" and trial.values:
            best = max(trial.values[-1], trial.values[-1] if best is None else best)
        found.append((trial.name, best))
    return found


def _marked(files: Files, drawn: Drawn) -> list[Trial]:
    """The trials of which a history has a mark."""
    if len(files.trials) <= MARKS:
        return [trial for trial in files.trials if trial.values]
    names = {name for trace in drawn.traces for name in trace.get("text", ())}
    assert len(names) == MARKS
    leading = {
        trial.name
        for trials in (files.trials, files.ended)
        for trial, (_, best) in zip(trials, _best(trials), strict=True)
        if trial.values and trial.values[-1] == best
    }
    assert leading | {trial.name for trial in files.ranked[:BEST_MARKS]} <= names
    return [trial for trial in files.trials if trial.name in names]


def curves(files: Files, drawn: Drawn) -> Expected:
    trials = [trial for trial in files.trials if trial.values]
    every = len(files.trials) <= BEST_CURVES + OTHER_CURVES
    if not every:
        names = {text.split(",")[0] for trace in drawn.traces for text in trace.get("text", ())}
        must = {trial.name for trial in (*files.ranked[:BEST_CURVES], files.best)}
        assert must <= names
        assert len(names) == len(must) + OTHER_CURVES
        trials = [trial for trial in trials if trial.name in names]
    best = files.best if files.has_best else None
    groups = {
        ENDED_EARLY[0]: [t for t in trials if t.state in ENDED_EARLY[1]],
        "complete or going on": [
            t for t in trials if t.state not in ENDED_EARLY[1] and t is not best
        ],
        f"{best.name if best else None}, the best": [t for t in trials if t is best],
    }
    traces = {}
    for name, group in groups.items():
        points: list[tuple[Any, ...]] = []
        for trial in group:
            path = files.curve(trial)
            kept = path if every else [path[place] for place in spread(len(path), CURVE_POINTS)]
            points += [(*point, f"{trial.name}, {trial.state}") for point in (*kept, (None, None))]
        if points:
            traces[name] = columns(points, "x", "y", "text")
    score = files.teacher["scores"].get("validation") if files.labels else None
    if score:
        end = max(trial.steps for trial in trials)
        traces["teacher"] = {"x": [0, end], "y": [score["correct"] / score["images"]] * 2}
    return Expected(traces, {})


def baseline(files: Files, drawn: Drawn) -> Expected:
    return _paths({"search": files, "random search": random_search(files)})


def side_by_side(runs: list[Files], drawn: Drawn) -> Expected:
    return _paths({written(files.run["name"]): files for files in runs})


def _paths(searches: dict[str, Files]) -> Expected:
    traces, trained = {}, []
    for name, files in searches.items():
        path = best_so_far(files)
        trained.append(sum(trial.own_steps for trial in files.trials))
        if path:
            rows = [(steps, value, trial) for trial, steps, value in path]
            traces[name] = columns([*rows, (trained[-1], *rows[-1][1:])], "x", "y", "text")
    return Expected(traces, {"shapes": [(min(trained), min(trained))]})


# Which trial to take


def trade_off(files: Files, drawn: Drawn) -> Expected:
    whole, values = 1.0, values_of_choice(files)
    if files.labels:
        score = files.teacher["scores"]["validation"]
        whole = score["correct"] / score["images"]
    trials = sorted(files.ranked, key=lambda trial: (cost(files, trial), trial.name))
    best, rest, highest = [], [], 0.0
    for _, equal in groupby(trials, lambda trial: cost(files, trial)):
        # Of those that cost the same, the best; and it only if none that costs less is as good.
        group = list(equal)
        value = max(values[trial.name] for trial in group)
        ahead = [t for t in group if values[t.name] == value > highest]
        best += ahead
        rest += [trial for trial in group if trial not in ahead]
        highest = max(value, highest)
    if len(rest) > MARKS:
        rest = _by_chance(rest, [text.split(",")[0] for text in drawn.trace("surpassed")["text"]])

    def row(trial: Trial) -> tuple[float, float, str]:
        height = 100 * values[trial.name] / whole
        unit = "" if against(files) == "latency" else " parameters"
        what = f"{height:.1f} % at {cost_words(files, trial)}{unit}"
        return cost(files, trial), height, f"{trial.name}, {trial.student}<br>{what}"

    stepped = [row(trial) for trial in best]
    low, high = cost(files, trials[0]), cost(files, trials[-1])
    if high > cost(files, best[-1]):
        stepped.append((high, *stepped[-1][1:]))
    traces = {
        "surpassed": [row(trial) for trial in rest],
        "Pareto set": stepped,
        "selected": [row(t) for t in trials if t.name == files.selection.get("trial")],
    }
    layout = {}
    if high >= 5 * low:
        edge = 0.06 * math.log10(high / low)
        layout["xaxis.range"] = [math.log10(low) - edge, math.log10(high) + edge]
    found = {name: columns(rows, "x", "y", "text") for name, rows in traces.items() if rows}
    return Expected(found, layout)


def _by_chance(trials: list[Trial], names: list[str]) -> list[Trial]:
    """Those trials of too many that a figure has, in their order."""
    assert len(set(names)) == len(names) == MARKS
    return [trial for trial in trials if trial.name in names]


def choice(files: Files, drawn: Drawn) -> Expected:
    scores = scores_without_labels(files)
    accuracies = {t.name: t.epochs[-1]["validation"]["accuracy"] for t in files.ranked}
    main, trials = deciding(files), files.ranked
    if len(trials) > MARKS:
        trials = _by_chance(trials, [t.split("<br>")[0] for t in drawn.trace(main)["text"]])
    traces = {}
    for words in (OWN, main):
        rows = []
        for trial in trials:
            score, accuracy = scores[words][trial.name], accuracies[trial.name]
            told = f"{percent(score)} {words}<br>{percent(accuracy)} on validation"
            rows.append((100 * score, 100 * accuracy, f"{trial.name}<br>{told}"))
        traces[words] = columns(rows, "x", "y", "text")
    if not files.labels:
        name, accuracy = files.best.name, accuracies[files.best.name]
        told = f"{name}, the choice<br>{percent(accuracy)} on validation"
        row = (100 * scores[main][name], 100 * accuracy, told)
        traces["the choice"] = columns([row], "x", "y", "text")
    return Expected(traces, {})


def comparison(files: Files, drawn: Drawn) -> Expected:
    found, several = tested_of(files), files.experiment["comparison"]["seeds"] > 1
    fields = {
        "x": [fmean(values) for values in found.values()],
        "error_x": [stdev(values) if len(values) > 1 else 0 for values in found.values()],
        "text": [f"{spread_words(values)} %" for values in found.values()],
        "y": list(found),
    }
    name = "mean and standard deviation over seeds" if several else "one seed each"
    return Expected({name: fields}, {"yaxis.categoryarray": list(variants(files))})


ALWAYS_DRAWN: dict[str, Tracer] = {
    "history-order": history("order"),
    "history-seconds": history("seconds"),
    "curves": curves,
    "losses": losses,
    "entropy": entropy,
    "watch": watch,
    "time": time,
    "utilisation": utilisation,
}
"""The figures of every run of which a trial was evaluated."""

FIGURES: dict[str, Tracer] = {
    **ALWAYS_DRAWN,
    "balance": balance,
    "baseline": baseline,
    "choice": choice,
    "classes": classes,
    "comparison": comparison,
    "trade-off": trade_off,
}
