"""Traces the sections that only some sweeps have: what mattered, how good a choice, beside what."""

import csv
import json
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import pytest
from page_text import Element, numbers
from sklearn.tree import DecisionTreeRegressor
from traced_page import Files, Near, Page, Trial, bootstrap, parts, percent, ratio

import dfkd_tune

PUBLISHED = Path(dfkd_tune.__file__).parent / "published_results.csv"
KINDS = {
    "data_free": "data-free",
    "real_data_student": "trained on real data, not distilled",
    "real_data_kd": "distilled on real data",
}
TREES = 150
POOLED = "agreement on the other trials' images"
AUDITED = "agreement on the audit set"
OWN = "agreement on the trial's own images"
REAL = "agreement on real images, without their labels"
SYNTHETIC = "agreement, mean of the audit set and the other trials' images"


def trace_baseline(page: Page, files: Files, section: Element) -> None:
    beside = random_search(files)
    ours, theirs = best_so_far(files), best_so_far(beside)
    trained = [sum(trial.steps for trial in each.trials) for each in (files, beside)]
    equal = min(trained)
    one, other = ([step for step in path if step[1] <= equal][-1] for path in (ours, theirs))
    verdict = (
        f"{equal:,} {percent(one[2])} {one[0]} {percent(other[2])} {other[0]} "
        f"{100 * abs(one[2] - other[2]):.1f}"
    )
    best = theirs[-1][2]
    needed = next(steps for _, steps, value in ours if value >= best)
    introduction = parts(section, "p")[0]
    page.text(introduction, verdict, f"{percent(best)} {needed:,} {percent(needed / trained[1])}")
    page.text(parts(section, "figcaption")[0], verdict)
    rows = []
    for each, path, steps in ((files, ours, trained[0]), (beside, theirs, trained[1])):
        name = each.run["name"]
        rows += [(name, trial, f"{at:,}", percent(value)) for trial, at, value in path]
        rows.append((name, f"all {len(each.trials)} trials", f"{steps:,}", ""))
    page.rows(parts(section, "table")[0], *rows)


def random_search(files: Files) -> Files:
    """The baseline of a sweep."""
    (beside,) = (
        Files(file.parent)
        for file in files.path.parent.glob("*/experiment.json")
        if json.loads(file.read_text()).get("baseline_of") == files.path.name
    )
    return beside


def best_so_far(files: Files) -> list[tuple[str, int, float]]:
    """Every complete trial that was better than those before, with all student steps until then."""
    moments = []
    for trial in files.trials:
        before = trial.inherited
        for epoch in trial.epochs:
            last = epoch is trial.epochs[-1] and trial.state == "complete"
            steps = epoch["student_steps"] - before
            moments.append((epoch["time"], trial.name, steps, epoch["value"] if last else None))
            before = epoch["student_steps"]
    found: list[tuple[str, int, float]] = []
    total = 0
    for _, name, steps, value in sorted(moments, key=lambda moment: moment[:2]):
        total += steps
        if value is not None and (not found or value > found[-1][2]):
            found.append((name, total, value))
    return found


def trace_trade_off(page: Page, files: Files, section: Element) -> None:
    teacher = files.teacher["scores"]["validation"]["accuracy"] if files.labels else 1.0
    values = values_of_choice(files)
    chosen = files.best if files.selection else None

    def surpassed(trial: Trial) -> bool:
        mine = (-values[trial.name], cost(files, trial))
        others = ((-values[t.name], cost(files, t)) for t in files.ranked if t is not trial)
        return any(a <= mine[0] and b <= mine[1] and (a, b) != mine for a, b in others)

    ordered = sorted(files.ranked, key=lambda trial: (cost(files, trial), trial.name))
    best = [trial for trial in ordered if not surpassed(trial)]
    rest = [trial for trial in ordered if surpassed(trial)]
    ends = [
        f"{100 * values[t.name] / teacher:.1f} {cost_words(files, t)}"
        for t in ([best[0], best[-1]] if len(best) > 1 else best)
    ]
    page.text(parts(section, "figcaption")[0], f"{len(best)} {len(ordered)}", *ends)
    for summary in parts(section, "summary"):
        page.text(summary, str(len(rest)))
    groups = [trials for trials in (best, rest) if trials]
    for table, trials in zip(parts(section, "table"), groups, strict=True):
        page.rows(
            table,
            *(
                (
                    t.name + (" selected" if t is chosen else ""),
                    t.student,
                    cost_words(files, t),
                    *([f"{cost(files, t) / cost(files, chosen):.2f}"] if chosen else []),
                    percent(values[t.name]),
                    *([percent(values[t.name] / teacher)] if files.labels else []),
                    *([f"{100 * (values[t.name] - values[chosen.name]):+.1f}"] if chosen else []),
                )
                for t in trials
            ),
        )


def against(files: Files) -> str:
    return str(files.experiment["search"].get("against") or "parameters")


def cost(files: Files, trial: Trial) -> float:
    key = {"latency": "latency_ms"}.get(against(files), against(files))
    return float(trial.record["student_size"][key])


def cost_words(files: Files, trial: Trial) -> str:
    value = cost(files, trial)
    return f"{value:.3g} ms" if against(files) == "latency" else f"{value:,.0f}"


def deciding(files: Files) -> str:
    """The score without labels by which a run has chosen, or could have."""
    if files.objective == "unlabelled_real":
        return REAL
    if files.objective == "data_free" and files.selection.get("synthetic_agreement") is not None:
        return SYNTHETIC
    if files.objective == "data_free" and files.selection.get("pool_agreement") is None:
        return AUDITED
    return POOLED


def values_of_choice(files: Files) -> dict[str, float]:
    """By what the last choice among complete trials was made."""
    if files.objective == "data_free" and deciding(files) != AUDITED:
        return scores_without_labels(files)[deciding(files)]
    return {trial.name: trial.values[-1] for trial in files.ranked}


def trace_choice(page: Page, files: Files, section: Element) -> None:
    """Choices without labels, made or possible, judged by validation accuracy."""
    trials = files.ranked
    of = {trial.name: trial.epochs[-1]["validation"]["accuracy"] for trial in trials}
    accuracies = list(of.values())
    away = 100 * (max(accuracies) - fmean(accuracies))
    regret = 100 * (max(accuracies) - of[files.best.name])
    best = files.best if regret == 0 else max(trials, key=lambda trial: of[trial.name])
    (*chosen, first), (*shown, last) = parts(section, "dt"), parts(section, "dd")
    if files.labels:
        page.text(last, f"{away:.1f}")
        first, last = *chosen, *shown
    else:
        page.text(last, f"{regret:.1f} {away:.1f}")
        (picked, first), (accuracy, last) = chosen, shown
        page.text(picked, files.best.name)
        page.text(accuracy, percent(of[files.best.name]))
    page.text(first, best.name)
    page.text(last, percent(max(accuracies)))
    scores = scores_without_labels(files)
    lists = {key: [of[trial.name] for trial in trials] for key, of in scores.items()}
    drawn = [lists[deciding(files)], lists[OWN]]
    rhos = [f"{_rho(each, accuracies):.2f}" for each in drawn if len(set(each)) > 1]
    page.text(parts(section, "figcaption")[0], f"{len(trials)}", *rhos)
    judged, everyone = parts(section, "table")
    page.text(parts(judged, "caption")[0], f"{len(trials)}")
    rows = [row for row in parts(judged, "tr") if parts(row, "td")]
    for row, (words, values) in zip(rows, lists.items(), strict=True):
        assert parts(row, "th")[0].own.removesuffix(" decided") == words[0].upper() + words[1:]
        _trace_score(page, row, values, accuracies, [trial.name for trial in trials])
    page.rows(
        everyone,
        *(
            (
                trial.name,
                percent(of[trial.name]),
                *(
                    f"{by[trial.name]:.3f}" if "KL" in words else percent(by[trial.name])
                    for words, by in scores.items()
                ),
            )
            for trial in trials
        ),
    )


def scores_without_labels(files: Files) -> dict[str, dict[str, float]]:
    """All that can be said of the complete trials without labels, by what it is called."""
    last = {trial.name: trial.epochs[-1] for trial in files.ranked}

    def recorded(key: str) -> dict[str, float]:
        found = {name: epoch["validation"].get(key) for name, epoch in last.items()}
        return {name: value for name, value in found.items() if value is not None}

    found: dict[str, dict[str, float]] = {}
    audited = recorded("audit_agreement")
    if files.pool:
        others = pooled(files, "agreement")
        found[SYNTHETIC] = {n: (others[n] + audited[n]) / 2 for n in others if n in audited}
        found[POOLED] = others
        found["KL on the other trials' images, negated"] = _negated(pooled(files, "kl"))
        found["agreement with the other students on these images"] = pooled(files, "ensemble")
    found[AUDITED] = audited
    found["KL on the audit set, negated"] = _negated(recorded("audit_kl"))
    found[OWN] = {name: epoch["kept_agreement"] for name, epoch in last.items()}
    found[REAL] = recorded("agreement")
    return {words: scores for words, scores in found.items() if scores}


def _negated(scores: dict[str, float]) -> dict[str, float]:
    return {name: -value for name, value in scores.items()}


def _trace_score(
    page: Page, row: Element, values: list[float], accuracies: list[float], names: list[str]
) -> None:
    """How well a score orders the trials by their accuracies."""
    first = values.index(max(values))
    spearman, interval, kendall, regret, picked = parts(row, "td")
    page.text(regret, f"{100 * (max(accuracies) - accuracies[first]):.1f}")
    page.text(picked, names[first])
    if len(set(values)) == 1:
        assert (spearman.own, interval.own, kendall.own) == ("not defined", "", "")
        return
    page.text(spearman, f"{_rho(values, accuracies):.2f}")
    # Of few trials the interval is wide.
    page.text(interval, *_rho_interval(values, accuracies))
    page.text(kendall, f"{_tau(values, accuracies):.2f}")


def pooled(files: Files, name: str) -> dict[str, float]:
    """How far each student lies from the mean on the others' images, and the mean of all."""
    matrix = np.array(files.pool[name])
    weights = np.exp(files.pool["class_entropy"]) - 1
    others = ~np.eye(len(matrix), dtype=bool)
    means = np.array([matrix[others[:, column], column].mean() for column in range(len(matrix))])
    level = np.average(means, weights=weights)
    gains = [
        np.average((row - means)[kept], weights=weights[kept])
        for row, kept in zip(matrix, others, strict=True)
    ]
    return dict(zip(files.pool["trials"], (level + np.array(gains)).tolist(), strict=True))


def _ranks(values: Sequence[float]) -> Any:
    array = np.array(values)
    return (array[:, None] > array).sum(1) + (array[:, None] == array).sum(1) / 2


def _rho(first: Sequence[float], second: Sequence[float]) -> float:
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _tau(first: Sequence[float], second: Sequence[float]) -> float:
    signs = [np.sign(np.subtract.outer(each, each)) for each in (first, second)]
    norm = math.sqrt((signs[0] ** 2).sum() * (signs[1] ** 2).sum())
    return float((signs[0] * signs[1]).sum() / norm)


def _rho_interval(first: Sequence[float], second: Sequence[float]) -> tuple[Near, Near]:
    """Of few trials the drawn correlations are few too: an end may fall beside a gap of theirs."""
    random = np.random.default_rng(23)
    pairs = np.array([first, second])
    drawn = [pairs[:, random.integers(0, len(first), len(first))] for _ in range(1500)]
    rhos = [_rho(*each) for each in drawn if len(set(each[0])) > 1 and len(set(each[1])) > 1]
    below, above, low, high = np.quantile(rhos, [0.018, 0.032, 0.968, 0.982])
    return _between(below, above), _between(low, high)


def _between(low: float, high: float) -> Near:
    return Near(float(low + high) / 2, float(high - low) / 2 + 0.05)


def trace_published(page: Page, files: Files, section: Element) -> None:
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        rows = [
            row for row in csv.DictReader(file) if row["benchmark"] == files.experiment["benchmark"]
        ]
    network = files.best.record["configuration"]["student"]
    page.text(parts(section, "p")[0], files.experiment["benchmark"])
    *here, others = parts(section, "table")
    beside = [row for table in here for row in parts(table, "tr") if not row.all("th", "n")]
    if files.selection:
        _trace_own(page, files, beside.pop(0))
    # A network of another width has another name than any in the file.
    pair = (files.teacher["architecture"], network["architecture"] if network["width"] == 1 else 0)
    unnamed = [row for row in rows if not row["teacher"] and not row["student"]]
    same = [row for row in rows if (row["teacher"], row["student"]) == pair]
    rest = [row for row in rows if row not in unnamed and row not in same]
    page.text(parts(section, "summary")[0], str(len(rest)))
    shown = [row for row in beside if "group" not in row.classes]
    groups = (
        (shown[: len(same)], same),
        (shown[len(same) :], unnamed),
        (parts(parts(others, "tbody")[0], "tr"), rest),
    )
    for found, expected in groups:
        cells = [row.cells for row in found]
        assert sorted(cells) == sorted(map(_published_cells, expected))
        known = [float(numbers(row[4])[0]) for row in cells if row[4] != "not published"]
        assert known == sorted(known, reverse=True)
        page.claimed |= {cell for row in found for cell in row.within_cells}


def _trace_own(page: Page, files: Files, row: Element) -> None:
    """Claim the row of the selected student."""
    best, test = files.best, files.selection["test"]
    images = test["images"]
    _, networks, student, teacher, relative, source = row.within_cells
    page.text(networks, f"{files.teacher['architecture']} 1 {best.student}")
    page.text(student, f"{100 * (test['both_correct'] + test['student_only']) / images:.2f}")
    page.text(teacher, f"{100 * (test['both_correct'] + test['teacher_only']) / images:.2f}")
    page.text(relative, f"{ratio(test):.2f}", *bootstrap(test))
    page.text(source, best.name)


def _published_cells(row: dict[str, str]) -> list[str]:
    stated = row["relative_accuracy_stated"]
    relative = "not published"
    if stated:
        relative = f"{float(stated):.2f} as stated there"
    elif row["student_accuracy"] and row["teacher_accuracy"]:
        relative = f"{100 * float(row['student_accuracy']) / float(row['teacher_accuracy']):.2f}"
    named = row["teacher"] or row["student"]
    networks = f"{row['teacher'] or 'unknown'} → {row['student'] or 'unknown'}"
    size = f" {row['input_size']} pixels" if row["input_size"] else ""
    accuracies = [
        f"{float(row[key]):.4g}" if row[key] else "not published"
        for key in ("student_accuracy", "teacher_accuracy")
    ]
    return [
        f"{row['method']} {KINDS[row['kind']]}",
        (networks if named else "not named") + size,
        *accuracies,
        relative,
        f"{row['source']} {row['protocol']}" + (f"; {row['note']}" if row["note"] else ""),
    ]


# What mattered


class Forest:
    """A bagged forest of our own, and what it predicts of trials that it has not seen."""

    def __init__(self, files: Files) -> None:
        trials = sorted(files.ranked, key=lambda trial: trial.name)
        self.dimensions = files.dimensions
        blocks = [_columns(d, [t.record["parameters"] for t in trials]) for d in self.dimensions]
        ends = np.cumsum([block.shape[1] for block in blocks])
        self.of = {
            d["key"]: slice(end - block.shape[1], end)
            for d, block, end in zip(self.dimensions, blocks, ends, strict=True)
        }
        self.x = np.concatenate(blocks, axis=1)
        self.y = np.array([trial.values[-1] for trial in trials])
        self.random = np.random.default_rng(77)
        count = len(self.y)
        self.bags = [self.random.integers(0, count, count) for _ in range(TREES)]
        self.trees = [
            DecisionTreeRegressor(random_state=place).fit(self.x[bag], self.y[bag])
            for place, bag in enumerate(self.bags)
        ]
        self.errors = self._errors(self.x)

    def _errors(self, x: Any) -> Any:
        """Squared errors of the trees that have not seen a trial."""
        total, seen = np.zeros(len(self.y)), np.zeros(len(self.y))
        for bag, tree in zip(self.bags, self.trees, strict=True):
            unseen = np.setdiff1d(np.arange(len(self.y)), bag)
            total[unseen] += tree.predict(x[unseen])
            seen[unseen] += 1
        return (self.y - total / seen) ** 2

    def drop(self, key: str) -> Any:
        """How much larger the squared errors are without a dimension."""
        errors = []
        for _ in range(10):
            x = self.x.copy()
            x[:, self.of[key]] = x[self.random.permutation(len(x)), self.of[key]]
            errors.append(self._errors(x))
        return np.mean(errors, axis=0) - self.errors

    def share(self, errors: Any) -> tuple[float, float, float]:
        """As a share of the spread of the values, with its interval."""
        random = np.random.default_rng(3)
        drawn = random.integers(0, len(self.y), (1500, len(self.y)))
        shares = errors[drawn].mean(axis=1) / self.y[drawn].var(axis=1)
        low, high = np.quantile(shares, [0.025, 0.975])
        return float(errors.mean() / self.y.var()), float(low), float(high)

    def predicted(self, keys: Sequence[str], cells: Sequence[Sequence[float]]) -> list[float]:
        """Where two dimensions lie so, the mean over all others as they were tried."""
        rows = np.tile(self.x, (len(cells), 1, 1))
        for key, at in zip(keys, np.array(cells).T, strict=True):
            rows[:, :, self.of[key]] = at[:, None, None]
        flat = rows.reshape(-1, rows.shape[2])
        means = np.mean([tree.predict(flat) for tree in self.trees], axis=0)
        return [float(mean) for mean in means.reshape(len(cells), -1).mean(axis=1)]


def _columns(dimension: dict[str, Any], parameters: Sequence[dict[str, Any]]) -> Any:
    values = [each[dimension["key"]] for each in parameters]
    if dimension["kind"] == "choice":
        choices = dimension["choices"]
        return np.array([[value == choice for choice in choices] for value in values], float)
    return np.array([[_scaled(dimension, value)] for value in values])


def _scaled(dimension: dict[str, Any], value: float) -> float:
    scale = math.log10 if dimension["log"] else float
    low, high = scale(dimension["low"]), scale(dimension["high"])
    return (scale(value) - low) / (high - low)


def _at(dimension: dict[str, Any], share: float) -> float:
    low, high = dimension["low"], dimension["high"]
    if dimension["log"]:
        return float(low * (high / low) ** share)
    return float(low + share * (high - low))


def trace_mattered(page: Page, files: Files, section: Element) -> None:
    forest = Forest(files)
    count = str(len(files.ranked))
    introduction, edges = parts(section, "p")[0], parts(section, "table")[-1]
    unexplained, low, high = forest.share(forest.errors)
    page.text(
        introduction, count, Near(1 - unexplained, 0.05), Near(1 - high, 0.1), Near(1 - low, 0.1)
    )
    importance, *_ = parts(section, "table")
    page.text(parts(importance, "caption")[0], count)
    order = []
    for row in parts(parts(importance, "tbody")[0], "tr"):
        name, _, value, within, used = row.within_cells
        found = forest.share(forest.drop(name.own))
        # Few trials: much depends on which values are exchanged for which.
        slack = [0.03 + 0.25 * abs(number) for number in found]
        page.text(value, Near(found[0], slack[0]))
        page.text(within, Near(found[1], slack[1]), Near(found[2], slack[2]))
        page.text(used, count)
        order.append((name.own, value.own))
    assert sorted(name for name, _ in order) == sorted(d["key"] for d in files.dimensions)
    of = {dimension["key"]: dimension for dimension in files.dimensions}
    for item in parts(section, "li"):
        if item.own.startswith("selected"):
            page.text(item, files.best.name)
    slices = parts(parts(section, "div", "slices")[0], "figure")
    for figure, (name, value) in zip(slices, order, strict=True):
        _trace_slice(page, files, figure, of[name], value)
    _trace_contour(page, files, forest, section, [of[name] for name, _ in order])
    _trace_lines(page, files, section, [of[name] for name, _ in order])
    _trace_edges(page, files, section, edges)


def _trials_with_a_value(files: Files) -> list[Trial]:
    return [*files.ranked, *(t for t in files.trials if t not in files.ranked and t.values)]


def _shown(value: Any) -> str:
    return f"{value:.4g}"


def _place(dimension: dict[str, Any], value: float) -> str:
    return str(value) if dimension["kind"] == "choice" else f"{value:.4g}"


def _axis(page: Page, block: Element, log: bool = False, percents: bool = False) -> Any:
    """Claim the ticks of an axis, which must lie on one scale; where a number lies on it."""
    ticks = [
        (float(numbers(tick.own)[0]), float(tick.attributes["style"].split(":")[1].rstrip("%")))
        for tick in parts(block, "span")
    ]
    values = np.array([math.log10(value) if log else value for value, _ in ticks])
    slope, start = np.polyfit(values, [at for _, at in ticks], 1)
    assert [at for _, at in ticks] == pytest.approx(slope * values + start, abs=0.2)
    page.claimed.add(block)
    factor = 100 if percents else 1
    return lambda v: slope * (math.log10(v) if log else factor * v) + start


def _trace_slice(
    page: Page, files: Files, figure: Element, dimension: dict[str, Any], importance: str
) -> None:
    key, log = dimension["key"], dimension.get("log", False)
    page.text(parts(figure, "figcaption")[0], importance.lstrip("\N{MINUS SIGN}"))
    drawing = parts(figure, "div", "drawing")[0]
    best, value = files.best, files.best.record["parameters"][key]
    assert numbers(drawing.attributes["aria-label"]) == numbers(
        f"{len(files.ranked)} {best.name} {_place(dimension, value)} {percent(best.values[-1])}"
    )
    upwards = _axis(page, parts(figure, "div", "up")[0], percents=True)
    along = parts(figure, "div", "along")[0]
    if dimension["kind"] == "choice":
        assert [tick.own for tick in parts(along, "span")] == list(map(str, dimension["choices"]))
        page.claimed.add(along)
        across = None
    else:
        across = _axis(page, along, log)
    trials = {trial.name: trial for trial in _trials_with_a_value(files)}
    titles = parts(figure, "title")
    assert len(titles) == len(trials)
    for title in titles:
        trial = trials[title.own.split(",")[0]]
        at, mark = trial.record["parameters"][key], title.above
        assert title.own == (
            f"{trial.name}, {trial.state}: {_place(dimension, at)}, {percent(trial.values[-1])}"
        )
        page.claimed.add(title)
        assert mark is not None
        x, y = (
            float((mark.attributes.get(f"c{axis}") or mark.attributes[axis]).rstrip("%"))
            for axis in "xy"
        )
        assert 100 - y == pytest.approx(upwards(trial.values[-1]), abs=0.2)
        if across is not None:
            assert x == pytest.approx(across(at), abs=0.2)


def _trace_contour(
    page: Page, files: Files, forest: Forest, section: Element, ordered: list[dict[str, Any]]
) -> None:
    across, up = (dimension for dimension in ordered if dimension["kind"] != "choice")
    figure = parts(section, "figure", "contour")[0]
    _axis(page, parts(figure, "div", "up")[0], up["log"])
    _axis(page, parts(figure, "div", "along")[0], across["log"])
    (table,) = (t for t in parts(section, "table") if parts(t, "caption")[0].own.startswith("Pred"))
    columns = parts(parts(table, "thead")[0], "th")[1:]
    middles = [(cell + 0.5) / 24 for cell in range(24)]

    def share_of(dimension: dict[str, Any], cell: Element) -> float:
        """The share of the range where a cell of the grid has its middle."""
        (found,) = (share for share in middles if f"{_at(dimension, share):.4g}" == cell.own)
        page.claimed.add(cell)
        return found

    keys = (across["key"], up["key"])
    at = [share_of(across, cell) for cell in columns]
    for row in parts(parts(table, "tbody")[0], "tr"):
        name, *cells = row.within_cells
        height = share_of(up, name)
        predicted = forest.predicted(keys, [(share, height) for share in at])
        for mean, cell in zip(predicted, cells, strict=True):
            page.text(cell, Near(100 * mean, 2.5))
    items = parts(figure, "li")
    page.claimed |= set(items)
    bands = [list(map(float, numbers(item.own))) for item in items]
    assert all(one[1] == other[0] for one, other in pairwise(bands))
    low, high, _ = numbers(parts(figure, "figcaption")[0].own)
    assert (float(low), float(high)) == (bands[0][0], bands[-1][1])
    shades = forest.predicted(keys, [(x, y) for x in middles[::4] for y in middles[::4]])
    page.text(
        parts(figure, "figcaption")[0],
        Near(100 * min(shades), 3),
        Near(100 * max(shades), 3),
        str(len(files.ranked)),
    )
    for title in parts(figure, "title"):
        trial = next(t for t in files.ranked if t.name == title.own.split(":")[0])
        page.text(
            title,
            trial.name,
            *(_shown(trial.record["parameters"][d["key"]]) for d in (across, up)),
            percent(trial.values[-1]),
        )


def _trace_lines(page: Page, files: Files, section: Element, ordered: list[dict[str, Any]]) -> None:
    parallel = parts(section, "div", "parallel")[0]
    everyone, top = parts(parallel, "label")
    page.text(everyone, str(len(files.ranked)))
    page.text(top, "10")
    for paragraph in parts(section, "p"):
        if paragraph.own.startswith("Each line is a complete trial"):
            page.text(paragraph, "10")
    strips = parts(parallel, "div", "strip")
    first = _axis(page, strips[0], percents=True)
    for strip, dimension in zip(strips[1:], ordered, strict=True):
        if dimension["kind"] == "choice":
            assert [t.own for t in parts(strip, "span")] == list(map(str, dimension["choices"]))
            page.claimed.add(strip)
        else:
            _axis(page, strip, dimension["log"])
    lines = parts(parallel, "polyline")
    assert len(lines) == len(files.ranked)
    for line in lines:
        rank = int(line.attributes["data-rank"])
        trial = files.ranked[rank - 1]
        (title,) = parts(line, "title")
        assert title.own == f"{trial.name}, rank {rank}: {percent(trial.values[-1])}"
        page.claimed.add(title)
        x = float(line.attributes["points"].split(",")[0])
        assert x / 10 == pytest.approx(first(trial.values[-1]), abs=0.2)
    (tried,) = parts(section, "table", "tried")
    page.rows(
        tried,
        *(
            (
                trial.name + (" selected" if trial is files.best else ""),
                trial.state,
                percent(trial.values[-1]),
                *(_place(d, trial.record["parameters"][d["key"]]) for d in ordered),
            )
            for trial in _trials_with_a_value(files)
        ),
    )


def _trace_edges(page: Page, files: Files, section: Element, table: Element) -> None:
    top = files.ranked[: math.ceil(len(files.ranked) / 10)]
    rows = []
    for dimension in (d for d in files.dimensions if d["kind"] != "choice"):
        key = dimension["key"]
        own = _scaled(dimension, files.best.record["parameters"][key])
        usual = median(_scaled(dimension, trial.record["parameters"][key]) for trial in top)
        found = [
            f"{who}: {_at(dimension, share):.4g}"
            for who, share in (
                (f"selected trial, {files.best.name}", own),
                (f"median of the {len(top)} best trials", usual),
            )
            if share >= 0.95
        ]
        assert min(own, usual) > 0.05
        if found:
            assert dimension["log"]
            low, high = dimension["low"], dimension["high"]
            present, following = f"{low:g} to {high:g}", f"{low:g} to {10 * high:g}"
            rows.append((key, "high", " ".join(found), present, following))
    assert rows
    page.rows(table, *rows)
    (command,) = parts(section, "pre", "command")
    page.text(command, *(row[4] for row in rows))


SEARCHED = {
    "baseline": trace_baseline,
    "trade_off": trace_trade_off,
    "choice": trace_choice,
    "published": trace_published,
    "mattered": trace_mattered,
}
