"""Traces the sections of what happened inside trials, of what went wrong, and how to go on."""

import hashlib
import json
import math
from collections import Counter
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from page_text import Element, numbers
from traced_page import REAL_WORDS, Files, Page, Trial, clock, minute, parts, percent, spread


def trace_losses(page: Page, files: Files, section: Element) -> None:
    epochs = files.shown.epochs
    terms = sorted(set().union(*(epoch["losses"] for epoch in epochs)))
    page.text(parts(section, "p")[0], files.shown.name)
    told = f"{len(terms)} {files.shown.name} {len(epochs)}"
    page.text(parts(section, "figcaption")[0], told)
    page.rows(
        parts(section, "table")[0],
        *(
            (str(e["epoch"]), *(_number(e["losses"].get(term)) for term in terms))
            for e in (epochs[place] for place in spread(len(epochs)))
        ),
    )


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"


def trace_not_run(page: Page, files: Files, section: Element) -> None:
    (why,) = parts(section, "p")
    assert why.own.startswith("Not run: ")
    page.text(why, *([files.best.name] if files.best.name in why.own else []))


def trace_classes(page: Page, files: Files, section: Element) -> None:
    if not files.selection.get("classes"):
        trace_not_run(page, files, section)
        return
    found = files.selection["classes"]
    if found["teacher"] is None:
        _trace_agreement(page, files, section)
        return
    columns = zip(*(found[key] for key in ("names", "images", "student", "teacher")), strict=True)
    rows = sorted(columns, key=lambda row: ((row[2] - row[3]) / row[1], row[2] / row[1]))
    usual = median(found["images"])
    introduction = parts(section, "p")[0]
    page.text(introduction, f"{files.best.name} {usual:g} {100 / usual:.1f}")
    lower = sum(student < teacher for _, _, student, teacher in rows)
    higher = sum(student > teacher for _, _, student, teacher in rows)
    worst, images, student, teacher = rows[0]
    page.text(
        parts(section, "figcaption")[0],
        f"{lower} {len(rows)} {higher} {len(rows) - lower - higher} {worst} "
        f"{percent(student / images)} {percent(teacher / images)}",
    )
    classes, confusions = parts(section, "table")
    page.rows(
        classes,
        *(
            (name, str(n), percent(t / n), percent(s / n), f"{100 * (s - t) / n:+.1f}")
            for name, n, s, t in rows
        ),
    )
    page.rows(
        confusions,
        *(
            (
                found["names"][pair["true"]],
                found["names"][pair["predicted"]],
                str(found["images"][pair["true"]]),
                str(pair["student"]),
                str(pair["teacher"]),
            )
            for pair in found["confusions"]
        ),
    )


def _trace_agreement(page: Page, files: Files, section: Element) -> None:
    """Class by class without labels: what is right is what the teacher chooses."""
    found = files.selection["classes"]
    columns = zip(*(found[key] for key in ("names", "images", "student")), strict=True)
    rows = sorted(columns, key=lambda row: row[2] / row[1])
    usual = median(found["images"])
    page.text(parts(section, "p")[0], f"{files.best.name} {usual:g} {100 / usual:.1f}")
    least, images, same = rows[0]
    caption = parts(section, "figcaption")[0]
    page.text(caption, f"{len(rows)} {least} {percent(same / images)}")
    classes, confusions = parts(section, "table")
    page.rows(classes, *((name, str(n), percent(s / n)) for name, n, s in rows))
    page.rows(
        confusions,
        *(
            (
                found["names"][pair["true"]],
                found["names"][pair["predicted"]],
                str(found["images"][pair["true"]]),
                str(pair["student"]),
            )
            for pair in found["confusions"]
        ),
    )


def trace_attention(page: Page, files: Files, section: Element) -> None:
    if not files.images:
        trace_not_run(page, files, section)
        return
    both = (files.images["attention"], files.images["real_attention"])
    kinds = [kind for kind in both if kind]

    def words(correlation: float | None) -> str:
        return "not defined" if correlation is None else f"{correlation:.2f}"

    medians = [
        median(i["correlation"] for i in kind["images"] if i["correlation"] is not None)
        for kind in kinds
    ]
    page.text(parts(section, "p")[0], " ".join(f"{value:.2f}" for value in medians))
    names = files.images["names"]
    for kind, caption, table, image in zip(
        kinds,
        parts(section, "figcaption"),
        parts(section, "table"),
        parts(section, "img"),
        strict=True,
    ):
        sizes = [*kind["teacher_size"], *kind["student_size"]]
        stages = (kind["teacher_stage"], kind["student_stage"])
        trial = [files.best.name] if kind is kinds[0] else []
        page.text(
            caption,
            *trial,
            f"{stages[0]} {sizes[0]} {sizes[1]} {stages[1]} {sizes[2]} {sizes[3]}",
        )
        told = " ".join(words(i["correlation"]) for i in kind["images"])
        assert numbers(image.attributes["alt"]) == numbers(f"{len(kind['images'])} {told}")
        page.rows(
            table,
            *(
                (
                    str(place),
                    *([names[i["label"]]] if i["label"] is not None else []),
                    names[i["teacher"]],
                    percent(i["confidence"]),
                    names[i["student"]],
                    words(i["correlation"]),
                )
                for place, i in enumerate(kind["images"], start=1)
            ),
        )


def trace_images(page: Page, files: Files, section: Element) -> None:
    trial = files.shown
    epochs, kept = trial.epochs, {int(file.stem.partition("_")[2]) for file in _grids(files)}
    shown = [f for grid in parts(section, "div", "pictures") for f in parts(grid, "figure")]
    assert bool(shown) == bool(kept)
    if shown:
        page.text(parts(section, "p")[0], trial.name)
    for figure in shown:
        (caption,), (image,) = parts(figure, "figcaption"), parts(figure, "img")
        epoch = int(numbers(caption.own)[0])
        assert epoch in kept
        page.text(caption, str(epoch))
        assert numbers(image.attributes["alt"]) == [trial.name, str(epoch)]
    entropy, watch = parts(section, "figcaption")[len(shown) :]
    known = [e["class_entropy"] for e in epochs if e["class_entropy"] is not None]
    ends = f"{known[0]:.2f} {known[-1]:.2f}"
    page.text(entropy, f"{trial.name} {ends}")
    signs = sum(bool(epoch["collapse_signs"]) for epoch in epochs)
    page.text(watch, f"{trial.name} {f'{signs} of ' if signs else ''}{len(epochs)}")
    rows = [epochs[place] for place in spread(len(epochs))]
    of_entropy, of_watch = parts(section, "table")
    page.rows(of_entropy, *((str(e["epoch"]), _number(e["class_entropy"])) for e in rows))
    page.rows(
        of_watch,
        *(
            (
                str(e["epoch"]),
                _number(e.get("feature_distance")),
                _number(e.get("kept_agreement")),
                ", ".join(e["collapse_signs"]),
            )
            for e in rows
        ),
    )


def _grids(files: Files) -> list[Path]:
    return list((files.path / "trials" / files.shown.name / "images").glob("*.png"))


def trace_variety(page: Page, files: Files, section: Element) -> None:
    if not files.images:
        trace_not_run(page, files, section)
        return
    found = files.images
    names, balance = found["names"], found["balance"]
    images, classes = sum(balance), len(balance)
    absent = balance.count(0)
    evenness = math.exp(found["class_entropy"])
    chance = classes * (1 - 1 / classes) ** images
    introduction, of_distance = parts(section, "p")
    told = f"{images} {files.best.name} {evenness:.1f} {classes} {chance:.1f}"
    page.text(introduction, told)
    share, closest = parts(section, "figcaption")
    most = names[balance.index(max(balance))]
    page.text(
        share,
        f"{classes} {images} {files.best.name} {most} {percent(max(balance) / images)} "
        f"{absent} {classes} {percent(1 / classes)}",
    )
    page.text(of_distance, f"{found['threshold']:g}")
    shares, duplicates = parts(section, "table")
    page.rows(
        shares,
        *((n, str(b), percent(b / images)) for n, b in zip(names, balance, strict=True)),
    )
    page.text(parts(duplicates, "th")[3], f"{found['threshold']:g}")
    page.rows(
        duplicates,
        *(
            (
                words,
                str(found[key]["images"]),
                f"{found[key]['median']:.3g}",
                percent(found[key]["share"]),
            )
            for words, key in (
                (f"synthetic, kept by {files.best.name}", "duplicates"),
                (f"real, {REAL_WORDS.get(files.experiment['data'])}", "real"),
            )
            if found[key]
        ),
    )
    pair = found["closest"]
    first, second = (place + 1 for place in pair["images"])
    page.text(closest, f"{first} {second} {pair['distance']:.2g}")


def trace_time(page: Page, files: Files, section: Element) -> None:
    trained = [trial for trial in files.trials if trial.epochs]
    whole = sum(trial.seconds for trial in trained)
    (threads,) = {trial.record["threads"] for trial in trained}
    total, steps, saved, busy = parts(section, "dd")
    teacher = clock(files.teacher["seconds"])
    page.text(total, clock(whole), f"{threads} {len(trained)}", teacher)
    page.text(steps, f"{sum(trial.own_steps for trial in trained):,}")
    stopped = files.stopped
    if stopped:
        budget = sum(t.record["total_student_steps"] - t.inherited for t in stopped)
        left = {t.name: t.record["total_student_steps"] - t.steps for t in stopped}
        spared = [left[t.name] * _seconds_of_student(t) / t.own_steps for t in stopped]
        share = percent(sum(left.values()) / budget)
        page.text(saved, clock(sum(spared)), f"{sum(left.values()):,} {share} {len(stopped)}")
    span, paused, starts = _windows(trained)
    nodes = {
        node: _of_node(trained, node) for node in sorted({e.get("node", "") for e in _all(trained)})
    }
    slots = {node: _slots(epochs) for node, epochs in nodes.items()}
    used = percent(whole / (sum(slots.values()) * span))
    page.text(busy, used, clock(span), str(sum(slots.values())))
    between = [f"{starts}", clock(paused)] if starts > 1 else []
    page.text(parts(section, "p")[1], *between)
    of_parts, of_slots = parts(section, "figcaption")
    synthesis = sum(e["seconds"]["synthesis"] for e in _all(trained))
    page.text(of_parts, f"{whole:,.1f} {percent(synthesis / whole)}")
    recorded = [] if "" in nodes else [str(len(nodes))]
    told = (str(sum(slots.values())), *recorded, used, clock(span), str(len(trained)))
    page.text(of_slots, *told)
    states = sorted({trial.state for trial in trained})
    groups = [(state, [t for t in trained if t.state == state]) for state in states]
    groups.append(("all trials", trained))
    by_state, by_node = parts(section, "table")
    page.rows(by_state, *((name, *_split(trials)) for name, trials in groups))
    rows = []
    for node, epochs in nodes.items():
        seconds = sum(e["seconds"]["total"] for e in epochs)
        names = {trial.name for trial in trained for e in trial.epochs if e.get("node", "") == node}
        use = percent(seconds / (slots[node] * span))
        name = node or "nodes not recorded"
        rows.append((name, str(slots[node]), str(len(names)), f"{seconds:,.1f}", use))
    if len(nodes) > 1:
        count = str(sum(slots.values()))
        rows.append(("all nodes", count, str(len(trained)), f"{whole:,.1f}", used))
    page.rows(by_node, *rows)


def _all(trials: list[Trial]) -> list[dict[str, Any]]:
    return [epoch for trial in trials for epoch in trial.epochs]


def _of_node(trials: list[Trial], node: str) -> list[dict[str, Any]]:
    return [epoch for epoch in _all(trials) if epoch.get("node", "") == node]


def _seconds_of_student(trial: Trial) -> float:
    """Seconds of all epochs but those in which the generator alone trained."""
    epochs = (epoch for epoch in trial.epochs if epoch["stage"] != "generator")
    return math.fsum(epoch["seconds"]["total"] for epoch in epochs)


def _split(trials: list[Trial]) -> list[str]:
    """How many, and where their seconds went."""
    names = ("synthesis", "student", "evaluation", "total")
    seconds = {n: sum(e["seconds"][n] for t in trials for e in t.epochs) for n in names}
    other = seconds["total"] - sum(seconds[name] for name in names[:3])
    told = (*(seconds[name] for name in names[:3]), other, seconds["total"])
    return [str(len(trials)), *(f"{value:,.1f}" for value in told)]


def _turn(epoch: dict[str, Any]) -> tuple[float, float]:
    """When an epoch began and ended."""
    end = datetime.fromisoformat(epoch["time"]).timestamp()
    return end - epoch["seconds"]["total"], end


def _slots(epochs: list[dict[str, Any]]) -> int:
    """How many epochs ran at once, at most; clocks are not exact to half a second."""
    bounds = [_turn(epoch) for epoch in epochs]
    turns = [t for start, end in bounds for t in ((min(start + 0.5, end), 1), (end, -1))]
    return int(np.cumsum([change for _, change in sorted(turns)]).max())


def _windows(trials: list[Trial]) -> tuple[float, float, int]:
    """Seconds in which each start of the command trained, those between, and how many starts."""
    epochs = _all(trials)
    starts = sorted({epoch["session"] for epoch in epochs})
    turns = {start: [_turn(e) for e in epochs if e["session"] == start] for start in starts}
    bounds = sorted((min(t)[0], max(end for _, end in t)) for t in turns.values())
    assert all(one[1] < other[0] for one, other in pairwise(bounds)), "starts after one another"
    seconds = sum(end - start for start, end in bounds)
    return seconds, bounds[-1][1] - bounds[0][0] - seconds, len(starts)


def trace_failures(page: Page, files: Files, section: Element) -> None:
    ended = [trial for state in ("failed", "diverged", "collapsed") for trial in files.of(state)]
    restores = [(t, r) for t in files.trials for r in t.status["restores"]]
    if not ended and not restores:
        assert not parts(section, "table")
        return
    errors = {t.name: t.status["error"] for t in files.trials if t.status["error"]}
    *types, restored = parts(section, "table") if restores else (*parts(section, "table"), None)
    counts = Counter(error["type"] for error in errors.values())
    for table in types:
        page.rows(table, *((name, str(count)) for name, count in counts.most_common()))
    for item, trial in zip(parts(section, "li"), ended, strict=True):
        page.text(item, f"{trial.name} {trial.status['reason']}")
        error = errors.get(trial.name)
        assert bool(parts(item, "details")) == bool(error)
        if error:
            page.text(parts(item, "summary")[0], f"{error['type']} {error['message']}")
            page.text(parts(item, "pre")[0], error["traceback"])
    if restored is not None:
        page.rows(
            restored,
            *((t.name, _from(r["from_epoch"]), minute(r["time"]), r["note"]) for t, r in restores),
        )


def _from(epoch: int) -> str:
    return f"epoch {epoch}" if epoch else "the start"


def trace_reproduce(page: Page, files: Files, section: Element) -> None:
    blocks = [p for p in parts(section, "pre") if not p.classes]
    records = [files.experiment]
    if files.has_best:
        _trace_best(page, files, section)
        records.insert(0, files.best.record["configuration"])
    for block, record in zip(blocks, records, strict=True):
        assert json.loads(block.own) == record
        page.claimed.add(block)
    commands = parts(section, "pre", "command")[-len(files.sessions) :]
    starts = [d for d in parts(section, "details") if parts(d, "dl")]
    for session, command, details in zip(files.sessions, commands, starts, strict=True):
        page.text(command, session["command"])
        page.text(parts(details, "summary")[0], minute(session["started"]))
        told = {
            term.own: shown
            for term, shown in zip(parts(details, "dt"), parts(details, "dd"), strict=True)
        }
        for name, value in session["environment"].items():
            title = name.capitalize().replace("_", " ")
            page.text(told[title], json.dumps(value, sort_keys=True))


def _trace_best(page: Page, files: Files, section: Element) -> None:
    """How to have the best trial again."""
    best, folder = files.best, files.path.name
    parent = best.record.get("parent")
    of_parent = f"{parent['trial']} {parent['student_steps']:,}" if parent else ""
    for paragraph in parts(section, "p"):
        text = paragraph.own
        page.text(paragraph, best.name if best.name in text else "", of_parent)
        of_parent = ""
    commands = parts(section, "pre", "command")[: -len(files.sessions)]
    file = f"trials/{best.name}/student.safetensors"
    weights = files.path / file
    assert len(commands) == (not parent) + weights.exists()
    for place, command in enumerate(commands):
        page.text(command, folder, best.name if place == 0 and not parent else "")
    pairs = zip(parts(section, "dt"), parts(section, "dd"), strict=True)
    told = {term.own: shown for term, shown in pairs}
    page.text(told["Seed"], str(best.record["configuration"]["seed"]))
    digest = [files.selection["student_sha256"]] if files.selection else []
    if weights.exists():
        digest.append(hashlib.sha256(weights.read_bytes()).hexdigest())
    page.text(told["Student weights"], file if weights.exists() else "")
    page.text(told["SHA-256 of the weights"], *digest)
    page.text(told["SHA-256 of the teacher"], files.teacher["weights_sha256"])
    if "SHA-256 of the audit set" in told:
        page.text(told["SHA-256 of the audit set"], files.audit["sha256"])
    page.text(parts(section, "h3")[0], best.name)


def trace_caveats(page: Page, files: Files, section: Element) -> None:
    counts = files.experiment["data_counts"]
    held_out = files.selection.get("held_out")
    children = sum(bool(trial.record.get("parent")) for trial in files.trials)
    met = sum(bool(files.json(f"trials/{trial.name}/test.json")) for trial in files.trials)
    stopped = len(files.of("stopped"))
    budgets = sorted({trial.record["total_student_steps"] for trial in files.trials})
    different = [f"{budgets[0]:,} {budgets[-1]:,}"] if len(budgets) > 1 else []
    audit = []
    if files.audit:
        of = files.audit
        audit = [f"{of['images']} {of['sha256'][:12]} {percent(of['teacher_accuracy'])}"]
    told: dict[str, list[str]] = {
        "Trials are scored by agreement": [f"{counts.get('validation', 0):,}"],
        "No real image was used": audit,
        "Without labels no accuracy": [str(held_out["images"])] if held_out else [],
        "began from the weights": [str(children)],
        "of this comparison met": [str(met)],
        "ended early by the scheduler": [str(stopped), *different],
        "Trials had different budgets": different,
    }
    for item in parts(section, "li"):
        found = [text for words, text in told.items() if words in item.own]
        page.text(item, *(found[0] if found else []))
