"""A comparison in numbers: every variant over its seeds, beside the first one."""

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from dfkd_tune.published import PublishedResult, published_of_method
from reports.collect import RunData, TrialData, once

CONFIRMATION = "confirmation"

LAST = 5
"""Epochs of the mean at a trial's end, as the field reports it."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Mean and spread over seeds.

    Args:
        mean: NaN where there is no value.
        deviation: sample standard deviation; NaN for fewer than two values.
        count: values.
    """

    mean: float
    deviation: float
    count: int

    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean, by Student's t; None for fewer than two values."""
        if self.count < 2:
            return None
        from scipy import stats

        reach = float(stats.t.ppf(0.975, self.count - 1)) * self.deviation / math.sqrt(self.count)
        return self.mean - reach, self.mean + reach

    def words(self, unit: str) -> str:
        """For people, such as `98.1 ± 0.3 %`."""
        if not self.count:
            return "none"
        text = f"{self.mean:.1f}"
        return text + ("" if self.count < 2 else f" ± {self.deviation:.1f}") + unit


def spread_of(values: Iterable[float]) -> Spread:
    """Mean and sample standard deviation."""
    found = list(values)
    return Spread(
        mean=statistics.fmean(found) if found else math.nan,
        deviation=statistics.stdev(found) if len(found) > 1 else math.nan,
        count=len(found),
    )


@dataclass(frozen=True, kw_only=True)
class VariantRow:
    """One variant over its seeds; percent where not said otherwise.

    Args:
        variant: name.
        words: what is changed in it.
        seeds: distillations that were to be.
        complete: those that trained their whole budget.
        lost: those that diverged or collapsed.
        relative: relative accuracy on the test split.
        test: test accuracy of the student.
        difference: of the mean relative accuracy from the first variant's, points; None for it.
        last, best, tail: the search objective's value at the last epoch, at its best, and the mean
            of the last five evaluated epochs.
        seconds: wall seconds of a distillation.
        published: figures that stand for this variant, one per benchmark, of one pair of networks.
        published_difference: mean over benchmarks of their difference from the first variant's,
            points; None for it, and where nothing is published.
        chosen: in a confirmation: whether its mean value at the last epoch is the highest of all
            that have all their seeds.
    """

    variant: str
    words: str
    seeds: int
    complete: int
    lost: int
    relative: Spread
    test: Spread
    difference: float | None
    last: Spread
    best: Spread
    tail: Spread
    seconds: Spread
    published: tuple[PublishedResult, ...]
    published_difference: float | None
    chosen: bool = False

    def as_json(self) -> dict[str, Any]:
        """Plain numbers; None for what there is none of."""

        def plain(spread: Spread) -> dict[str, float | int | None]:
            return {
                "mean": None if math.isnan(spread.mean) else spread.mean,
                "deviation": None if math.isnan(spread.deviation) else spread.deviation,
                "count": spread.count,
            }

        names = ("relative", "test", "last", "best", "tail", "seconds")
        return {
            "variant": self.variant,
            "seeds": self.seeds,
            "complete": self.complete,
            "lost": self.lost,
            "chosen": self.chosen,
            "published": {r.benchmark: r.student_accuracy for r in self.published},
            "published_difference": self.published_difference,
            **{name: plain(getattr(self, name)) for name in names},
        }


@once
def compare_variants(run: RunData) -> tuple[VariantRow, ...]:
    """The rows of a comparison, in its order; empty where the run is none.

    Args:
        run: the run's records.
    """
    comparison = run.experiment.get("comparison")
    if run.run.kind != "comparison" or not isinstance(comparison, Mapping):
        return ()
    variants = list(comparison.get("variants", []))
    published = _published([variant.get("published") for variant in variants])
    rows: list[VariantRow] = []
    for variant, results in zip(variants, published, strict=True):
        trials = [t for t in run.trials if t.trial and t.trial.variant == variant["name"]]
        row = _row(variant, trials, int(comparison.get("seeds", 0)), results)
        if rows:
            gap = row.relative.mean - rows[0].relative.mean
            row = replace(
                row,
                difference=None if math.isnan(gap) else gap,
                published_difference=_published_difference(rows[0].published, results),
            )
        rows.append(row)
    if comparison.get("what") == CONFIRMATION:
        rows = _with_choice(rows)
    return tuple(rows)


def highest_first(rows: Iterable[VariantRow]) -> list[VariantRow]:
    """The variants that were measured on test, by their mean; equal ones in their own order."""
    return sorted((row for row in rows if row.relative.count), key=lambda r: -r.relative.mean)


def confirmed_run(run: RunData) -> str | None:
    """The name of the sweep whose best configurations a run confirms; None for any other run."""
    comparison = run.experiment.get("comparison")
    if not isinstance(comparison, Mapping) or comparison.get("what") != CONFIRMATION:
        return None
    return PurePath(str(comparison.get("source"))).name


def _with_choice(rows: list[VariantRow]) -> list[VariantRow]:
    whole = [row for row in rows if row.last.count == row.seeds]
    if not whole:
        return rows
    best = max(whole, key=lambda row: row.last.mean)
    return [replace(row, chosen=row is best) for row in rows]


def _published(methods: Iterable[str | None]) -> list[tuple[PublishedResult, ...]]:
    """What was published of each variant, with the pair of networks that all of them have."""
    found = [published_of_method(method) if method else () for method in methods]
    pairs = [{(r.teacher, r.student) for r in results} for results in found if results]
    common = set.intersection(*pairs) if pairs else set()
    return [tuple(r for r in each if (r.teacher, r.student) in common) for each in found]


def _published_difference(
    first: tuple[PublishedResult, ...], results: tuple[PublishedResult, ...]
) -> float | None:
    of_first = {result.benchmark: result.student_accuracy for result in first}
    gaps = [
        result.student_accuracy - before
        for result in results
        if result.student_accuracy is not None
        and (before := of_first.get(result.benchmark)) is not None
    ]
    return statistics.fmean(gaps) if gaps else None


def _row(
    variant: Mapping[str, Any],
    trials: list[TrialData],
    seeds: int,
    results: tuple[PublishedResult, ...],
) -> VariantRow:
    complete = [trial for trial in trials if trial.state == "complete"]
    tests = [trial.test for trial in complete if trial.test is not None]
    values = [
        [100 * epoch.value for epoch in trial.evaluated if epoch.value is not None]
        for trial in complete
    ]
    values = [each for each in values if each]
    return VariantRow(
        variant=str(variant["name"]),
        words=str(variant.get("words", "")),
        seeds=seeds,
        complete=len(complete),
        lost=sum(trial.state in {"diverged", "collapsed"} for trial in trials),
        relative=spread_of(
            test.relative_accuracy for test in tests if not math.isnan(test.relative_accuracy)
        ),
        test=spread_of(100 * test.student_accuracy for test in tests),
        difference=None,
        last=spread_of(each[-1] for each in values),
        best=spread_of(max(each) for each in values),
        tail=spread_of(statistics.fmean(each[-LAST:]) for each in values),
        seconds=spread_of(trial.seconds for trial in complete),
        published=results,
        published_difference=None,
    )
