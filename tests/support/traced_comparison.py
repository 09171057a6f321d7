"""Traces the page of a comparison: of methods, of an ablation's variants, or a confirmation."""

import csv
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

import numpy as np
from page_text import Element
from scipy import stats
from traced import ALWAYS
from traced_page import Files, Page, Trace, Trial, clock, minute, parts, ratio
from traced_search import PUBLISHED, trace_published


def share(test: dict[str, int], who: str) -> float:
    return (test["both_correct"] + test[f"{who}_only"]) / test["images"]


def variants(files: Files) -> dict[str, list[Trial]]:
    names = [each["name"] for each in files.experiment["comparison"]["variants"]]
    return {n: [t for t in files.trials if t.record["variant"] == n] for n in names}


def words(files: Files) -> dict[str, str]:
    """What each variant changes."""
    return {each["name"]: each["words"] for each in files.experiment["comparison"]["variants"]}


def confirmed(files: Files) -> list[Trial]:
    """The trials of the configuration that a confirmation has chosen."""
    by_variant = variants(files)
    return max(by_variant.values(), key=lambda trials: fmean(t.values[-1] for t in trials))


def outcomes(files: Files) -> list[dict[str, int]]:
    """What a run has on the test split: of its selection, or of its confirmed configuration."""
    if files.run["kind"] == "sweep":
        return [files.selection["test"]]
    return [_test(files, trial) for trial in confirmed(files)]


def planned(files: Files) -> int:
    """Trials that a sweep asks for, or distillations that a comparison does."""
    if files.run["kind"] == "sweep":
        return files.planned
    return int(files.experiment["comparison"]["seeds"]) * len(variants(files))


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    return float(low), float(high)


def _test(files: Files, trial: Trial) -> dict[str, int]:
    return files.json(f"trials/{trial.name}/test.json")


def tested_of(files: Files) -> dict[str, list[float]]:
    """Relative accuracies by variant, of those that have any."""
    found = {
        name: [ratio(_test(files, trial)) for trial in trials if trial.state == "complete"]
        for name, trials in variants(files).items()
    }
    return {name: values for name, values in found.items() if values}


def spread_words(values: Sequence[float]) -> str:
    if not values:
        return "none"
    return f"{fmean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


def _trace_effort(page: Page, files: Files, section: Element) -> None:
    """Claim what the verdict tells of any comparison."""
    status, _, meta = parts(section, "p")
    page.text(status, f"{files.finished} {planned(files)}")
    *_, trials, compute = parts(section, "dd")
    page.text(trials, f"{files.finished} {planned(files)}")
    seconds = clock(sum(trial.seconds for trial in files.trials))
    page.text(compute, seconds, f"{sum(trial.steps for trial in files.trials):,}")
    times = [minute(files.run[key]) for key in ("created", "updated")]
    several = files.experiment["comparison"]["what"] == "methods"
    method = f"each of {len(variants(files))}" if several else files.experiment["method"]
    page.text(meta, files.experiment["benchmark"], method, *times)


def trace_verdict_of_confirmation(page: Page, files: Files, section: Element) -> None:
    _trace_effort(page, files, section)
    values = [ratio(test) for test in outcomes(files)]
    low, high = (f"{end:.1f}" for end in mean_interval(values))
    name = confirmed(files)[0].record["variant"]
    mean, seeds = f"{fmean(values):.1f}", str(len(values))
    sentence = parts(section, "p")[1]
    page.text(sentence, str(len(variants(files))), seeds, name, mean, seeds, low, high)
    relative, configuration, *_ = parts(section, "dd")
    page.text(parts(section, "dt")[0], seeds)
    page.text(relative, mean, low, high)
    page.text(configuration, name, words(files)[name])


def trace_verdict_of_comparison(page: Page, files: Files, section: Element) -> None:
    """Of one in which nothing is chosen."""
    _trace_effort(page, files, section)
    tested = tested_of(files)
    ordered = sorted(tested, key=lambda name: fmean(tested[name]))
    ends = [(name, spread_words(tested[name])) for name in (ordered[0], ordered[-1])]
    (lowest, low), (highest, high) = ends
    seeds = str(files.experiment["comparison"]["seeds"])
    page.text(parts(section, "p")[1], str(len(variants(files))), seeds, low, lowest, high, highest)
    for shown, (name, told) in zip(parts(section, "dd"), reversed(ends), strict=False):
        assert shown.own == f"{told} % {name}"
        page.claimed.add(shown)


def _published(files: Files) -> Mapping[str, list[dict[str, str]]]:
    """The rows of what was published of each variant, of the networks that all of them have."""
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    methods = {
        each["name"]: each["published"] for each in files.experiment["comparison"]["variants"]
    }
    found = {name: [row for row in rows if row["method"] == of] for name, of in methods.items()}
    pairs = [{(row["teacher"], row["student"]) for row in of} for of in found.values() if of]
    common = set.intersection(*pairs) if pairs else set()
    return {
        name: [row for row in of if (row["teacher"], row["student"]) in common]
        for name, of in found.items()
    }


def _published_gap(first: list[dict[str, str]], rows: list[dict[str, str]]) -> str:
    before = {row["benchmark"]: float(row["student_accuracy"]) for row in first}
    gaps = [float(row["student_accuracy"]) - before[row["benchmark"]] for row in rows]
    return f"{fmean(gaps):+.1f}" if gaps else ""


def trace_comparison(page: Page, files: Files, section: Element) -> None:
    comparison, published = files.experiment["comparison"], _published(files)
    known = any(published.values())
    seeds = comparison["seeds"]
    introduction, *more = parts(section, "p")
    page.text(introduction, *([str(seeds)] if seeds > 1 else []))
    assert len(more) == known
    for paragraph in more:
        row = next(rows[0] for rows in published.values() if rows)
        page.text(paragraph, "top-1", row["teacher"], row["student"], row["input_size"])
    chosen = confirmed(files)[0].record["variant"] if comparison["what"] == "confirmation" else ""
    tested, said, rows = tested_of(files), words(files), []
    first = next(iter(published.values()))
    for place, (name, trials) in enumerate(variants(files).items()):
        ended = [trial for trial in trials if trial.state == "complete"]
        lost = sum(trial.state in ("diverged", "collapsed") for trial in trials)
        ahead = [fmean(tested[name]) - fmean(next(iter(tested.values())))] if name in tested else []
        measured: tuple[list[float], ...] = (
            [100 * share(_test(files, trial), "student") for trial in ended],
            [100 * trial.values[-1] for trial in ended],
            [100 * max(trial.values) for trial in ended],
            [100 * fmean(trial.values[-5:]) for trial in ended],
            [trial.seconds for trial in ended],
        )
        beside = []
        if known:
            figures = ", ".join(
                f"{row['benchmark']} {float(row['student_accuracy']):.2f}"
                for row in published[name]
            )
            source = f" {published[name][0]['source']}" if published[name] else ""
            beside = [_published_gap(first, published[name]) if place else "", figures + source]
        rows.append(
            (
                f"{name}{' chosen' if name == chosen else ''} {said[name]}".strip(),
                f"{len(ended)} of {seeds}" + (f" {lost} diverged or collapsed" if lost else ""),
                spread_words(tested.get(name, [])),
                f"{ahead[0]:+.1f}" if place and ahead else "",
                *beside,
                *map(spread_words, measured),
            )
        )
    (table,) = parts(section, "table")
    page.rows(table, *rows)
    best = max(tested, key=lambda name: fmean(tested[name]))
    told = f"{best} is highest with {spread_words(tested[best])} %"
    assert parts(section, "figcaption")[0].own.endswith(f": {told}.")
    page.text(parts(section, "figcaption")[0], str(len(rows)), best, spread_words(tested[best]))


OF_A_SWEEP = ("headline", "classes", "attention", "variety")
COMPARED: dict[str, Trace] = {
    **{name: trace for name, trace in ALWAYS.items() if name not in OF_A_SWEEP},
    "Verdict": trace_verdict_of_comparison,
    "comparison": trace_comparison,
    "published": trace_published,
}
"""The sections of a comparison on a benchmark of which others published."""
