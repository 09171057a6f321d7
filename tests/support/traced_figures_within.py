"""What the figures of what happened inside trials must hold, computed a second time from the files.

Of the trial that is shown: its losses, images and classes. Of all: where the time went.
"""

import math
from collections.abc import Iterable
from datetime import datetime
from itertools import accumulate, pairwise
from typing import Any

from page_figures import Drawn, Expected, columns, written
from traced_page import Files, Near, Trial, clock

BARS, FINENESS = 1500, 400
SECOND = 1.0

Spell = tuple[float, float, Trial, str, str]
"""Beginning and end in seconds, whose it is, what is told of it, and the node."""


def losses(files: Files, drawn: Drawn) -> Expected:
    epochs = files.shown.epochs
    traces = {}
    for name in sorted(set().union(*(epoch["losses"] for epoch in epochs))):
        values = [epoch["losses"].get(name) for epoch in epochs]
        largest = max(abs(value) for value in values if value is not None)
        traces[name] = {
            "x": [epoch["epoch"] for epoch in epochs],
            "y": [None if value is None else value / largest for value in values],
            "customdata": values,
        }
    return Expected(traces, {})


def entropy(files: Files, drawn: Drawn) -> Expected:
    rows = [(e["epoch"], e["class_entropy"]) for e in files.shown.epochs]
    known = [row for row in rows if row[1] is not None]
    return Expected({"class entropy": columns(known, "x", "y")}, {})


def watch(files: Files, drawn: Drawn) -> Expected:
    epochs = files.shown.epochs
    lines = {"distance of two images' features": "feature_distance"}
    lines["agreement on kept images"] = "kept_agreement"
    traces = {
        name: columns([(e["epoch"], e.get(key)) for e in epochs], "x", "y")
        for name, key in lines.items()
    }
    signs = [
        (e["epoch"], e["feature_distance"], ", ".join(e["collapse_signs"]))
        for e in epochs
        if e["collapse_signs"] and e["feature_distance"] is not None
    ]
    if signs:
        traces["a sign of collapse"] = columns(signs, "x", "y", "text")
    return Expected(traces, {})


def balance(files: Files, drawn: Drawn) -> Expected:
    names, images = files.images["names"], files.images["balance"]
    count = len(names)
    bars = {
        "x": list(range(count)),
        "y": [100 * number / sum(images) for number in images],
        "text": [written(name) for name in names],
        "customdata": images,
    }
    even = {"x": [-0.5, count - 0.5], "y": [100 / count] * 2}
    ticks = range(count) if count <= 40 else ()
    layout = {
        "xaxis.range": [-0.6, count - 0.4],
        "xaxis.tickvals": list(ticks),
        "xaxis.ticktext": [written(names[place]) for place in ticks],
    }
    return Expected({"#0": bars, "#1": even}, layout)


def classes(files: Files, drawn: Drawn) -> Expected:
    found = files.selection["classes"]
    labelled = found["teacher"] is not None
    teacher = found["teacher"] if labelled else [0] * len(found["names"])
    counts = zip(found["names"], found["images"], found["student"], teacher, strict=True)
    rows: list[Any] = sorted(
        (row for row in counts if row[1]),
        key=lambda row: ((row[2] - row[3]) / row[1], row[2] / row[1]),
    )
    left = 0
    if len(rows) > 40:
        left = len(rows) - 30
        rows = [*rows[:20], None, *rows[-10:]] if labelled else [*rows[:30]]
    places = list(range(len(rows)))

    def share(row: Any, of: int) -> float | None:
        return 100 * row[of] / row[1] if row else None

    texts, images = [row[0] if row else "" for row in rows], [row[1] if row else 0 for row in rows]
    who = {"student": 2, "teacher": 3} if labelled else {"student": 2}
    traces: dict[str, dict[str, Any]] = {
        name: {
            "x": [share(row, of) for row in rows],
            "y": places,
            "text": texts,
            "customdata": images,
        }
        for name, of in who.items()
    }
    if labelled:
        lines = [
            point
            for place, row in zip(places, rows, strict=True)
            if row
            for point in ((share(row, 3), place), (share(row, 2), place), (None, None))
        ]
        traces["#0"] = columns(lines, "x", "y")
    shares = [100 * row[of] / row[1] for row in rows if row for of in who.values()]
    low, high = 10 * math.floor(min(shares) / 10), 10 * math.ceil(max(shares) / 10)
    space = 0.02 * max(10, high - low)
    layout = {
        "xaxis.range": [low - space, high + space],
        "yaxis.range": [len(rows) - 0.4, -0.6],
        "yaxis.tickvals": places,
        "yaxis.ticktext": [row[0] if row else f"{left} more in between" for row in rows],
    }
    return Expected(traces, layout)


# Where the time went


def time(files: Files, drawn: Drawn) -> Expected:
    trained = [trial for trial in files.trials if trial.epochs]
    states = sorted({trial.state for trial in trained})
    groups = {s: [trial for trial in trained if trial.state == s] for s in states}
    groups["all trials"] = trained
    names = [f"{name} ({len(trials)})" for name, trials in groups.items()]
    spent = [
        {
            part: math.fsum(e["seconds"][part] for t in trials for e in t.epochs)
            for part in ("synthesis", "student", "evaluation", "total")
        }
        for trials in groups.values()
    ]
    for seconds in spent:
        told = sum(seconds[part] for part in ("synthesis", "student", "evaluation"))
        seconds["other"] = seconds["total"] - told
    traces = {
        # What is left is a difference of large sums.
        part: {"x": [Near(of[part], 5.1e-6 * of[part] + 1e-6) for of in spent], "y": names}
        for part in ("synthesis", "student", "evaluation", "other")
    }
    return Expected(traces, {})


def utilisation(files: Files, drawn: Drawn) -> Expected:
    spells = [spell for trial in files.trials for spell in _spells(trial)]
    spells.sort(key=lambda spell: spell[:2])
    start, end = spells[0][0], max(spell[1] for spell in spells)
    size = {"hours": 3600.0, "minutes": 60.0, "seconds": 1.0}[drawn.x_title.split()[0]]
    assert (end - start) >= 180 * size / 60 or size == 1
    bars = [(first, last, trial.state, words) for first, last, trial, words, _ in spells]
    if len(bars) > BARS:
        bars = _joined(spells, end - start)
    rows = _rows(drawn)
    labels = _labels(spells)
    assert len(rows) == len(labels), "more rows than trials at once"
    traces = {}
    for state in {bar[2] for bar in bars}:
        trace = drawn.trace(state)
        # Which row a bar is in is not recorded: none overlaps another there. Here they are in the
        # figure's order.
        order = {key: place for place, key in enumerate(_keys(trace))}
        of = [
            ((first - start) / size, (last - first) / size, words)
            for first, last, of, words in bars
            if of == state
        ]
        of.sort(key=lambda bar: order.get((float(f"{bar[0]:.6g}"), bar[2]), -1))
        times = {
            "base": [Near(bar[0], 1e-5 * max(bar[0], 1e-3)) for bar in of],
            "x": [Near(bar[1], 1e-4 * bar[1]) for bar in of],
        }
        traces[state] = {**times, "customdata": [bar[2] for bar in of], "y": trace["y"]}
    layout = {
        "yaxis.range": [len(rows) - 0.5, -0.5],
        "yaxis.tickvals": list(range(len(rows))),
        "yaxis.ticktext": labels,
    }
    return Expected(traces, layout)


def _keys(trace: dict[str, Any]) -> list[tuple[float, str]]:
    words = (text.replace("\N{NO-BREAK SPACE}", " ") for text in trace["customdata"])
    return list(zip(trace["base"], words, strict=True))


def _labels(spells: list[Spell]) -> list[str]:
    """Of the rows: for each node as many as trials trained there at once."""
    labels = []
    for node in sorted({spell[4] for spell in spells}):
        count = _at_once([spell for spell in spells if spell[4] == node])
        names = [f"slot {row + 1}" if not node else str(row + 1) for row in range(count)]
        labels += [f"{node} 1" if node else names[0], *names[1:]]
    return labels


def _spells(trial: Trial) -> list[Spell]:
    """Beginning and end of every stretch of epochs without a pause, and what is told of it."""
    stretches: list[list[tuple[float, float, int]]] = []
    nodes: list[str] = []
    place = ("", "")
    for epoch in trial.epochs:
        end = datetime.fromisoformat(epoch["time"]).timestamp()
        turn = (end - epoch["seconds"]["total"], end, epoch["epoch"])
        before, place = place, (epoch["session"], epoch.get("node", ""))
        if before == place and abs(turn[0] - stretches[-1][-1][1]) <= SECOND:
            stretches[-1].append(turn)
        else:
            stretches.append([turn])
            nodes.append(place[1])
    found = []
    for turns, node in zip(stretches, nodes, strict=True):
        (start, _, first), (_, end, last) = turns[0], turns[-1]
        epochs = f"epoch {first}" if first == last else f"epochs {first} to {last}"
        words = f"{trial.name}, {trial.state}: {epochs}, {clock(end - start)}"
        found.append((start, end, trial, words, node))
    return found


def _joined(spells: list[Spell], whole: float) -> list[tuple[float, float, str, str]]:
    """Of many in one row, those between which no gap could be seen."""
    assert _at_once(spells) == 1
    groups: list[list[Spell]] = []
    for spell in spells:
        if groups and spell[0] - groups[-1][-1][1] <= whole / FINENESS:
            groups[-1].append(spell)
        else:
            groups.append([spell])
    return [
        (
            group[0][0],
            group[-1][1],
            "several trials",
            f"{len({spell[2].name for spell in group}):,} trials, "
            f"{clock(group[-1][1] - group[0][0])}",
        )
        for group in groups
    ]


def _at_once(spells: Iterable[Spell]) -> int:
    """How many trained at once, at most."""
    turns = [turn for first, last, *_ in spells for turn in ((first, 1), (last, -1))]
    return max(accumulate(change for _, change in sorted(turns)))


def _rows(drawn: Drawn) -> set[int]:
    """The rows that have a bar; in none do two overlap."""
    bars = sorted(
        (row, base, base + length)
        for trace in drawn.traces
        for row, base, length in zip(trace["y"], trace["base"], trace["x"], strict=True)
    )
    for one, other in pairwise(bars):
        assert one[0] != other[0] or one[2] <= other[1] + 1e-3, (one, other)
    return {row for row, *_ in bars}
