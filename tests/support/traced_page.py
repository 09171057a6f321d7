"""A page whose blocks are claimed one by one, and a run's files, read with nothing but json."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
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
    r"; 1 means that|, 0 for the same direction|above 0 need",  # what the ends of a scale mean
    r"1 would be perfect, 0 is no better|down to 0|never across 0",  # likewise
    r"SHA-256",
    r"within 5 % of an edge",  # what counts as an edge
    r"mean of the last 5 evaluations",  # the column of the leaderboard
    r"^25 %$|^50 %$|^75 %$|^100 %$",  # heads of the learning curves' table
    r"dfkd-tune \d+\.\d+\.\d+",  # the version of the package
)
FINAL = ("complete", "stopped", "diverged", "collapsed", "failed")
STATES = (*FINAL, "running", "interrupted")
REAL_WORDS = {"labelled": "of the validation split", "unlabelled": "without labels"}
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
        self.audit = self.json("audit/card.json")
        self.yardsticks = self.json("yardsticks.json")
        self.pool = self.json("pool.json")
        self.dimensions = self.experiment.get("dimensions", [])
        self.trials = [self._trial(each) for each in sorted((folder / "trials").iterdir())]
        complete = [t for t in self.trials if t.state == "complete" and t.values]
        self.ranked = sorted(complete, key=self._rank)

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

    def _rank(self, trial: Trial) -> tuple[float, float, float, int, str]:
        """Of equals the cheaper, the one that agrees more, the smaller, the earlier one."""
        against, size = self.experiment["search"].get("against"), trial.record["student_size"]
        cost = size["latency_ms"] if against == "latency" else size.get(against or "", 0)
        score = "audit_agreement" if self.objective == "data_free" else "agreement"
        last = [epoch for epoch in trial.epochs if epoch["value"] is not None][-1]
        agreement = last["validation"].get(score, 0)
        return -trial.values[-1], cost, -agreement, size["parameters"], trial.name

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
    def labels(self) -> bool:
        """Whether the search objective is accuracy, which can be told relative to the teacher's."""
        return self.objective == "val_real"

    @property
    def best(self) -> Trial:
        name = self.selection.get("trial") or self.ranked[0].name
        return next(trial for trial in self.trials if trial.name == name)

    @property
    def has_best(self) -> bool:
        return bool(self.selection or self.ranked)

    @property
    def shown(self) -> Trial:
        """Whose inside is shown: the best, or while none is complete the one that trained most."""
        return self.best if self.has_best else max(self.trials, key=lambda trial: trial.steps)

    @property
    def ended(self) -> list[Trial]:
        """The trials in the order in which they ended, or moved last."""

        def end(trial: Trial) -> tuple[str, str]:
            moved = trial.epochs[-1]["time"] if trial.epochs else trial.status["updated"]
            return moved, trial.name

        return sorted(self.trials, key=end)

    @property
    def stopped(self) -> list[Trial]:
        """Those that were stopped and whose place nobody took, who would have trained the rest."""
        taken = {(trial.record.get("parent") or {}).get("place_of") for trial in self.trials}
        return [trial for trial in self.of("stopped") if trial.name not in taken]

    def curve(self, trial: Trial) -> list[tuple[int, float]]:
        """Student steps and values, of a child from the epoch of its parent that it took over."""
        parent = trial.record.get("parent")
        taken = [
            epoch
            for other in self.trials
            if parent and other.name == parent["trial"]
            for epoch in other.epochs
            if epoch["epoch"] == parent["epoch"]
        ]
        return [
            (epoch["student_steps"], epoch["value"])
            for epoch in (*taken, *trial.epochs)
            if epoch["value"] is not None
        ]

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


def minute(time: str) -> str:
    """A time as the page writes it."""
    return f"{time[:10]} {time[11:16]} UTC"
