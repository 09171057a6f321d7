"""Traces every number of a run's page to the records that it came from.

The numbers of each section are computed here a second time, from the JSON and JSON Lines files of
the run folder and with nothing of `reports`. What no section claims is left over.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import pytest
from page_text import Element, blocks, numbers

TIMES, DASH = "\N{MULTIPLICATION SIGN}", "\N{EN DASH}"
CONSTANT = (
    r"95 % (bootstrap )?interval",  # the level of every interval
    r"95 %(?= bootstrap)|^95 %$",  # likewise, in heads of tables
    rf"100 {TIMES} student",  # the definition of relative accuracy
    rf"at least 4 {TIMES} 4 positions",  # from which size a feature map is shown
    r"; 1 means that|, 0 for the same direction",  # what the ends of a scale mean
    r"1 would be perfect, 0 is no better|down to 0|never across 0",  # likewise
    r"SHA-256",
    r"within 5 % of an edge",  # what counts as an edge
    r"mean of the last 5 evaluations",  # the column of the leaderboard
    r"^25 %$|^50 %$|^75 %$|^100 %$",  # heads of the learning curves' table
    r"dfkd-tune \d+\.\d+\.\d+",  # the version of the package
)
FINAL = ("complete", "stopped", "diverged", "collapsed", "failed")
OUTCOMES = ("both_correct", "student_only", "teacher_only", "neither")


@dataclass(frozen=True)
class Near:
    """A number that another computation gives as well, within a tolerance."""

    value: float
    within: float


Expected = str | Near


@dataclass(frozen=True)
class Trial:
    """One trial as its files have it."""

    name: str
    record: dict[str, Any]
    status: dict[str, Any]
    epochs: list[dict[str, Any]]

    @property
    def values(self) -> list[float]:
        found = [e["value"] for e in self.epochs if e["value"] is not None]
        return [value for value in found if math.isfinite(value)]

    @property
    def state(self) -> str:
        return str(self.status["state"])

    @property
    def inherited(self) -> int:
        """Student steps that it took over from its parent."""
        return int((self.record.get("parent") or {"student_steps": 0})["student_steps"])

    @property
    def steps(self) -> int:
        return int(self.epochs[-1]["student_steps"]) if self.epochs else self.inherited

    @property
    def own_steps(self) -> int:
        """Those that it has trained itself."""
        return self.steps - self.inherited

    @property
    def seconds(self) -> float:
        return math.fsum(epoch["seconds"]["total"] for epoch in self.epochs)

    @property
    def student(self) -> str:
        network = self.record["configuration"]["student"]
        return f"{network['architecture']} {TIMES} {network['width']:g}"


class Files:
    """A run folder's files, read with nothing but json."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self.run = self.json("run.json")
        self.experiment = self.json("experiment.json")
        self.sessions = self.lines(folder / "sessions.jsonl")
        self.teacher = self.json("teacher/card.json")
        self.selection = self.json("selection.json")
        self.images = self.json("selected/images.json")
        self.yardsticks = self.json("yardsticks.json")
        self.pool = self.json("pool.json")
        self.dimensions = self.experiment.get("dimensions", [])
        self.trials = [self._trial(each) for each in sorted((folder / "trials").iterdir())]
        complete = [t for t in self.trials if t.state == "complete" and t.values]
        self.ranked = sorted(complete, key=lambda t: (-t.values[-1], t.name))

    def json(self, name: str) -> dict[str, Any]:
        file = self.path / name
        return dict(json.loads(file.read_text())) if file.exists() else {}

    @staticmethod
    def lines(file: Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def _trial(self, folder: Path) -> Trial:
        newest = {line["epoch"]: line for line in self.lines(folder / "metrics.jsonl")}
        return Trial(
            name=folder.name,
            record=json.loads((folder / "trial.json").read_text()),
            status=json.loads((folder / "status.json").read_text()),
            epochs=[newest[epoch] for epoch in sorted(newest)],
        )

    @property
    def finished(self) -> int:
        return sum(trial.state in FINAL for trial in self.trials)

    @property
    def planned(self) -> int:
        """As many as the search asks for."""
        return max(self.experiment["search"].get("trials") or 0, len(self.trials))

    @property
    def objective(self) -> str:
        return str(self.selection.get("objective") or self.experiment["search"]["objective"])

    @property
    def best(self) -> Trial:
        name = self.selection.get("trial") or self.ranked[0].name
        return next(trial for trial in self.trials if trial.name == name)

    @property
    def shown(self) -> Trial:
        """Whose inside is shown: the best, or while none is complete the one that trained most."""
        if self.selection or self.ranked:
            return self.best
        return max(self.trials, key=lambda trial: trial.steps)

    def of(self, state: str) -> list[Trial]:
        return [trial for trial in self.trials if trial.state == state]


@dataclass
class Page:
    """A page, and which of its blocks have been claimed."""

    body: Element
    claimed: set[Element] = field(default_factory=set)

    def section(self, name: str) -> Element:
        (found,) = [each for each in self.body.all("section") if label(each) == name]
        return found

    def text(self, block: Element, *expected: Expected) -> None:
        """Claim a block by all of its numbers, in order."""
        found = numbers(block.own, CONSTANT)
        wanted = [
            part
            for each in expected
            for part in (numbers(each) if isinstance(each, str) else [each])
        ]
        assert len(found) == len(wanted), (block.own, found, wanted)
        for one, other in zip(found, wanted, strict=True):
            if isinstance(other, Near):
                assert float(one) == pytest.approx(other.value, abs=other.within), block.own
            else:
                assert one == other, (block.own, found, wanted)
        self.claimed.add(block)

    def rows(self, table: Element, *expected: Sequence[Expected]) -> None:
        """Claim the rows of a table's body by the whole text of all of their cells."""
        found = [
            row
            for body in table.all("tbody")
            for row in body.all("tr")
            if "group" not in row.classes
        ]
        assert [row.cells for row in found] == [list(row) for row in expected]
        for row in found:
            self.claimed |= {e for e in row.within if isinstance(e, Element)}

    def left(self) -> list[str]:
        """What nothing has claimed, and has a number."""
        return [
            f"{label(_section(block))}: {block.own}"
            for block in blocks(self.body)
            if block not in self.claimed and numbers(block.own, CONSTANT)
        ]


def _section(block: Element) -> Element | None:
    here: Element | None = block
    while here is not None and here.tag not in ("section", "nav"):
        here = here.above
    return here


def label(section: Element | None) -> str:
    """The name of a section."""
    if section is None:
        return "page"
    return section.attributes.get("aria-labelledby") or section.attributes["aria-label"]


def percent(share: float | None, missing: str = "none") -> str:
    return missing if share is None else f"{100 * share:.1f} %"


def clock(seconds: float) -> str:
    """Seconds as the page writes them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{round(seconds) // 60} min {round(seconds) % 60:02d} s"
    return f"{round(seconds / 60) // 60:,} h {round(seconds / 60) % 60:02d} min"


def quantity(number: int) -> str:
    size, unit = next(p for p in ((1e9, " G"), (1e6, " M"), (1e3, " k"), (1, "")) if number >= p[0])
    return f"{number / size:.3g}{unit}"


def ratio(test: dict[str, int]) -> float:
    right = test["both_correct"] + test["student_only"]
    return 100 * right / (test["both_correct"] + test["teacher_only"])


def bootstrap(test: dict[str, int]) -> tuple[Near, Near]:
    """The ends of the paired interval, by drawing single images and with other random numbers."""
    images = np.repeat([[1, 1], [1, 0], [0, 1], [0, 0]], [test[name] for name in OUTCOMES], axis=0)
    random = np.random.default_rng(11)
    drawn = images[random.integers(0, len(images), (4000, len(images)))].sum(axis=1)
    low, high = np.quantile(100 * drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    return Near(float(low), 0.35), Near(float(high), 0.35)


def parts(element: Element, tag: str, css: str = "") -> list[Element]:
    return element.all(tag, css)


def spread(count: int, most: int = 12) -> list[int]:
    """Places that are spread evenly, with the first and the last."""
    if count <= most:
        return list(range(count))
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


Trace = Callable[["Page", "Files", Element], None]


# The sections


def trace_verdict(page: Page, files: Files, section: Element) -> None:
    best, test = files.best, files.selection["test"]
    accuracies = [
        percent(sum(test[name] for name in names) / test["images"])
        for names in (("both_correct", "student_only"), ("both_correct", "teacher_only"))
    ]
    low, high = bootstrap(test)
    status, sentence, meta = parts(section, "p")
    page.text(status, f"{files.finished} {files.planned}")
    page.text(
        sentence,
        f"{best.name} {best.student} {best.record['student_size']['parameters']:,}",
        f"{ratio(test):.1f}",
        low,
        high,
        *accuracies,
        f"{test['images']} {files.selection['candidates']}",
    )
    page.text(
        meta,
        files.experiment["benchmark"],
        _minute(files.run["created"]),
        _minute(files.run["updated"]),
    )
    relative, student, teacher, *yardsticks, trials, compute = parts(section, "dd")
    for shown, name in zip(yardsticks, ("real", "kd") if files.yardsticks else (), strict=True):
        score = files.yardsticks[name]["scores"]["test"]
        right, on_real = (test["both_correct"] + test["student_only"]), score["correct"]
        page.text(shown, percent(right / on_real), percent(on_real / score["images"]))
    page.text(relative, f"{ratio(test):.1f}", low, high)
    page.text(student, accuracies[0])
    page.text(teacher, accuracies[1])
    page.text(trials, f"{files.finished} {files.planned}")
    seconds = clock(sum(trial.seconds for trial in files.trials))
    page.text(compute, seconds, f"{sum(trial.steps for trial in files.trials):,}")


def trace_headline(page: Page, files: Files, section: Element) -> None:
    best, score = files.best, files.teacher["scores"]["validation"]
    low, high = bootstrap(files.selection["test"])
    cells = [e for e in parts(section, "tr")[-1].within if isinstance(e, Element)]
    name, teacher, student, relative, value, *latency, trials, seconds = cells
    for cell in latency:
        page.text(cell, f"{best.record['student_size']['latency_ms']:.3g}")
    page.text(name, files.experiment["benchmark"])
    card = f"{files.teacher['architecture']} {files.teacher['width']:g}"
    page.text(teacher, card, percent(score["correct"] / score["images"]))
    size = quantity(best.record["student_size"]["parameters"])
    page.text(student, best.student, best.name, size)
    page.text(relative, f"{ratio(files.selection['test']):.1f}", low, high)
    page.text(value, percent(best.values[-1]))
    page.text(trials, f"{files.finished} {files.planned}")
    page.text(seconds, f"{sum(trial.seconds for trial in files.trials):,.1f}")


def trace_history(page: Page, files: Files, section: Element) -> None:
    evaluated = sum(bool(trial.values) for trial in files.trials)
    for caption in parts(section, "figcaption"):
        top = percent(files.ranked[0].values[-1])
        page.text(caption, f"{evaluated} {len(files.trials)} {top}")
    ends = sorted(files.trials, key=lambda trial: (trial.epochs[-1]["time"], trial.name))

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
                percent(trial.values[-1]),
                best_among(files.trials[: place + 1]),
                f"{sum(t.seconds for t in ends[: ends.index(trial) + 1]):,.1f}",
                best_among(ends[: ends.index(trial) + 1]),
            )
            for place, trial in enumerate(files.trials)
        ),
    )


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
    teacher = files.teacher["scores"]["validation"]["accuracy"]
    for row, trial in zip(found, rows, strict=True):
        record = trial.record
        total, steps = record["total_student_steps"], trial.steps
        searched = sorted(record["parameters"].items())
        ranked = trial.name in names
        latency = record["student_size"]["latency_ms"]
        assert row.cells == [
            str(names.index(trial.name) + 1) if ranked else DASH,
            trial.name + (" selected" if trial.name == files.selection.get("trial") else ""),
            record["origin"],
            trial.state if ranked else f"{trial.state} at step {steps:,} of {total:,}",
            percent(trial.values[-1]),
            percent(max(trial.values)),
            percent(fmean(trial.values[-5:])),
            percent(trial.values[-1] / teacher),
            trial.student,
            f"{record['student_size']['parameters']:,}",
            quantity(record["student_size"]["macs"]),
            *([] if latency is None else [f"{latency:.3g} ms"]),
            f"{len(trial.epochs)} / {trial.epochs[-1]['total_epochs']}",
            f"{steps:,} / {total:,}",
            f"{trial.seconds:,.1f}",
            f"{max(epoch['peak_memory_mib'] for epoch in trial.epochs):.0f} MiB",
            " ".join(f"{key} {value:.4g}" for key, value in searched[:3]) or "none",
        ]
        cells = [e for e in row.within if isinstance(e, Element)]
        page.claimed |= set(cells)
        # Sorting is by numbers without rounding.
        of = {place: cells[place].attributes["data-value"] for place in (4, 5, 6, 7, -3)}
        assert [float(text) for text in of.values()] == pytest.approx(
            [
                trial.values[-1],
                max(trial.values),
                fmean(trial.values[-5:]),
                100 * trial.values[-1] / teacher,
                trial.seconds,
            ]
        )
        if len(searched) > 3:
            page.text(parts(row, "summary")[0], str(len(searched)))
            for (key, value), name, shown in zip(
                searched, parts(row, "dt"), parts(row, "dd"), strict=True
            ):
                page.text(name, key)
                page.text(shown, f"{value:.4g}")


def trace_curves(page: Page, files: Files, section: Element) -> None:
    trials = [trial for trial in files.trials if trial.values]
    teacher = files.teacher["scores"]["validation"]["accuracy"]
    told = f"{len(trials)} {files.best.name} {percent(files.best.values[-1])} {percent(teacher)}"
    page.text(parts(section, "figcaption")[0], told)

    def reached(trial: Trial, share: float) -> str:
        budget = share * trial.record["total_student_steps"]
        within = [e["value"] for e in trial.epochs if e["student_steps"] <= budget]
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


def trace_losses(page: Page, files: Files, section: Element) -> None:
    epochs = files.best.epochs
    terms = sorted(set().union(*(epoch["losses"] for epoch in epochs)))
    page.text(parts(section, "p")[0], files.best.name)
    told = f"{len(terms)} {files.best.name} {len(epochs)}"
    page.text(parts(section, "figcaption")[0], told)
    page.rows(
        parts(section, "table")[0],
        *(
            (str(e["epoch"]), *(f"{e['losses'][term]:.4g}" for term in terms))
            for e in (epochs[place] for place in spread(len(epochs)))
        ),
    )


def trace_not_run(page: Page, files: Files, section: Element) -> None:
    (why,) = parts(section, "p")
    assert why.own.startswith("Not run: ")
    page.text(why, *([files.best.name] if files.best.name in why.own else []))


def trace_classes(page: Page, files: Files, section: Element) -> None:
    if not files.selection.get("classes"):
        trace_not_run(page, files, section)
        return
    found = files.selection["classes"]
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


def trace_attention(page: Page, files: Files, section: Element) -> None:
    if not files.images:
        trace_not_run(page, files, section)
        return
    kinds = [files.images["attention"], files.images["real_attention"]]

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
    epochs = files.best.epochs
    page.text(parts(section, "p")[0], files.best.name)
    kept = {int(file.stem.partition("_")[2]) for file in _grids(files)}
    shown = parts(parts(section, "div", "pictures")[0], "figure")
    for figure in shown:
        (caption,), (image,) = parts(figure, "figcaption"), parts(figure, "img")
        epoch = int(numbers(caption.own)[0])
        assert epoch in kept
        page.text(caption, str(epoch))
        assert numbers(image.attributes["alt"]) == [files.best.name, str(epoch)]
    entropy, watch = parts(section, "figcaption")[len(shown) :]
    ends = " ".join(f"{epochs[place]['class_entropy']:.2f}" for place in (0, -1))
    page.text(entropy, f"{files.best.name} {ends}")
    signs = sum(bool(epoch["collapse_signs"]) for epoch in epochs)
    page.text(watch, f"{files.best.name} {f'{signs} of ' if signs else ''}{len(epochs)}")
    rows = [epochs[place] for place in spread(len(epochs))]
    of_entropy, of_watch = parts(section, "table")
    page.rows(of_entropy, *((str(e["epoch"]), f"{e['class_entropy']:.4g}") for e in rows))
    page.rows(
        of_watch,
        *(
            (
                str(e["epoch"]),
                f"{e['feature_distance']:.4g}",
                f"{e['kept_agreement']:.4g}",
                ", ".join(e["collapse_signs"]),
            )
            for e in rows
        ),
    )


def _grids(files: Files) -> list[Path]:
    return list((files.path / "trials" / files.best.name / "images").glob("*.png"))


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
                ("real, of the validation split", "real"),
            )
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
    page.text(steps, f"{sum(trial.steps for trial in trained):,}")
    stopped = files.of("stopped")
    if stopped:
        budget = sum(trial.record["total_student_steps"] for trial in stopped)
        left = {t.name: t.record["total_student_steps"] - t.steps for t in stopped}
        spared = sum(left[trial.name] * trial.seconds / trial.steps for trial in stopped)
        share = percent(sum(left.values()) / budget)
        page.text(saved, clock(spared), f"{sum(left.values()):,} {share} {len(stopped)}")
    slots, span = _slots_and_span(trained)
    used = percent(whole / (slots * span))
    page.text(busy, used, clock(span), str(slots))
    of_parts, of_slots = parts(section, "figcaption")
    synthesis = sum(e["seconds"]["synthesis"] for t in trained for e in t.epochs)
    page.text(of_parts, f"{whole:,.1f} {percent(synthesis / whole)}")
    page.text(of_slots, f"{slots} {used}", clock(span), str(len(trained)))
    states = sorted({trial.state for trial in trained})
    groups = [*((state, files.of(state)) for state in states), ("all trials", trained)]
    by_state, by_node = parts(section, "table")
    page.rows(by_state, *((name, *_split(trials)) for name, trials in groups))
    row = ("nodes not recorded", str(slots), str(len(trained)), f"{whole:,.1f}", used)
    page.rows(by_node, row)


def _split(trials: list[Trial]) -> list[str]:
    """How many, and where their seconds went."""
    names = ("synthesis", "student", "evaluation", "total")
    seconds = {n: sum(e["seconds"][n] for t in trials for e in t.epochs) for n in names}
    other = seconds["total"] - sum(seconds[name] for name in names[:3])
    told = (*(seconds[name] for name in names[:3]), other, seconds["total"])
    return [str(len(trials)), *(f"{value:,.1f}" for value in told)]


def _slots_and_span(trials: list[Trial]) -> tuple[int, float]:
    """How many epochs ran at once, at most, and the seconds from the first to the last one."""
    turns = []
    for epoch in (epoch for trial in trials for epoch in trial.epochs):
        end = datetime.fromisoformat(epoch["time"]).timestamp()
        turns += [(end, -1), (end - epoch["seconds"]["total"], 1)]
    running = np.cumsum([change for _, change in sorted(turns)])
    return int(running.max()), max(turns)[0] - min(turns)[0]


def trace_failures(page: Page, files: Files, section: Element) -> None:
    if not any(files.of(state) for state in ("failed", "diverged")):
        assert not parts(section, "table")
        return
    errors = {t.name: t.status["error"] for t in files.trials if t.status["error"]}
    types, restored = parts(section, "table")
    counts = Counter(error["type"] for error in errors.values())
    page.rows(types, *((name, str(count)) for name, count in counts.most_common()))
    (failed,), (diverged,) = files.of("failed"), files.of("diverged")
    for item, trial in zip(parts(section, "li"), (failed, diverged), strict=True):
        page.text(item, f"{trial.name} {trial.status['reason']}")
    error = errors[failed.name]
    page.text(parts(section, "summary")[0], f"{error['type']} {error['message']}")
    page.text(parts(section, "pre")[0], error["traceback"])
    page.rows(
        restored,
        *(
            (t.name, f"epoch {r['from_epoch']}", _minute(r["time"]), r["note"])
            for t in files.trials
            for r in t.status["restores"]
        ),
    )


def _minute(time: str) -> str:
    return f"{time[:10]} {time[11:16]} UTC"


def trace_reproduce(page: Page, files: Files, section: Element) -> None:
    best = files.best
    (session,) = files.sessions
    weights = best.record["configuration"]
    folder = files.path.name
    for paragraph in parts(section, "p"):
        page.text(paragraph, *([best.name] if best.name in paragraph.own else []))
    again, *others, command = parts(section, "pre", "command")
    page.text(again, f"{folder} {best.name}")
    for each in others:
        page.text(each, folder)
    page.text(command, session["command"])
    told = {
        term.own: shown
        for term, shown in zip(parts(section, "dt"), parts(section, "dd"), strict=True)
    }
    student = f"trials/{best.name}/student.safetensors"
    page.text(told.pop("Seed"), str(weights["seed"]))
    page.text(told.pop("Student weights"), student)
    now = hashlib.sha256((files.path / student).read_bytes()).hexdigest()
    page.text(told.pop("SHA-256 of the weights"), files.selection["student_sha256"], now)
    page.text(told.pop("SHA-256 of the teacher"), files.teacher["weights_sha256"])
    for name, shown in told.items():
        value = session["environment"][name.lower().replace(" ", "_")]
        page.text(shown, json.dumps(value, sort_keys=True))
    page.text(parts(section, "summary")[0], _minute(session["started"]))
    page.text(parts(section, "h3")[0], best.name)
    configuration, experiment = (p for p in parts(section, "pre") if not p.classes)
    for block, record in ((configuration, weights), (experiment, files.experiment)):
        assert json.loads(block.own) == record
        page.claimed.add(block)


def trace_caveats(page: Page, files: Files, section: Element) -> None:
    *_, last = parts(section, "li")
    page.text(last, str(len(files.of("stopped"))))


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
"""The sections that the page of every sweep has whose trial is selected."""


def trace_run(page: Page, files: Files, more: Mapping[str, Trace]) -> None:
    """Trace all sections of a page of one run; fails where it has others.

    Args:
        page: of the run.
        files: of the run.
        more: the sections that it has beside those that are always there.
    """
    sections = {label(section): section for section in page.body.all("section")}
    traced = {**ALWAYS, **more}
    assert {name.removeprefix("run-1-") for name in sections} == set(traced)
    for name, section in sections.items():
        traced[name.removeprefix("run-1-")](page, files, section)
