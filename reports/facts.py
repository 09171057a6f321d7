"""The headline numbers of a run in words: what was measured, or why it cannot be."""

from collections.abc import Sequence
from dataclasses import dataclass

from reports.compute.accuracy import Interval
from reports.compute.comparison import VariantRow, highest_first
from reports.compute.summary import RunSummary
from reports.formatting import MISSING, duration, percent, relative, sentence, shorten, whole
from reports.objectives import PEEKING_OBJECTIVE

UNMEASURABLE = "not measurable:"
LONGEST, LONGEST_NOTE = 20, 600


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One headline number.

    Args:
        title: what it is.
        value: as written; a word where there is none.
        note: what belongs to it; often empty.
        missing: whether there is no number.
    """

    title: str
    value: str
    note: str = ""
    missing: bool = False


def facts(summary: RunSummary, comparison: Sequence[VariantRow] = ()) -> tuple[Fact, ...]:
    """The headline numbers of a run, the most important one first.

    Args:
        summary: of the run.
        comparison: its variants, where it is a comparison, in which nothing is chosen.
    """
    quality = _of_comparison(comparison) if comparison else _quality(summary)
    return (*quality, *_effort(summary))


def _of_comparison(rows: Sequence[VariantRow]) -> tuple[Fact, ...]:
    """The highest and the lowest mean of the variants; of a confirmation, the chosen one's."""
    chosen = next((row for row in rows if row.chosen), None)
    if chosen is not None and chosen.relative.count:
        within = chosen.relative.interval()
        note = "" if within is None else f"95\N{NO-BREAK SPACE}% interval {within[0]:.1f} to "
        note += "" if within is None else relative(within[1])
        title = f"Relative accuracy, test, mean of {chosen.relative.count} seeds"
        return (
            Fact(title=title, value=relative(chosen.relative.mean), note=note),
            Fact(
                title="Configuration",
                value=shorten(chosen.variant, LONGEST),
                note=shorten(chosen.words, LONGEST_NOTE),
            ),
        )
    measured = highest_first(rows)
    if not measured:
        return (Fact(title="Relative accuracy, test", value=MISSING, missing=True),)
    return tuple(
        Fact(title=title, value=row.relative.words(" %"), note=shorten(row.variant))
        for title, row in (
            ("Highest mean relative accuracy, test", measured[0]),
            ("Lowest", measured[-1]),
        )
    )


def _quality(summary: RunSummary) -> tuple[Fact, ...]:
    """How good the best student is, by what the run's data can tell."""
    if summary.data == "labelled":
        peeked = summary.objective == PEEKING_OBJECTIVE
        where = "test, by which it was chosen" if peeked else "test"
        return (
            _with_interval(f"Relative accuracy, {where}", summary.relative_accuracy),
            _share("Student, test", summary.student_test_accuracy),
            _share("Teacher, test", summary.teacher_test_accuracy),
            *_yardsticks(summary),
        )
    accuracy = Fact(title="Accuracy", value=UNMEASURABLE, note="no labels", missing=True)
    if summary.data == "unlabelled":
        agreement = _with_interval("Agreement, unseen images", summary.held_out_agreement)
        value = _share("Search objective", summary.value, note=summary.measures)
        return agreement, value, accuracy
    return _share(sentence(summary.measures), summary.value), accuracy


def _yardsticks(summary: RunSummary) -> tuple[Fact, ...]:
    """The second and third ratio of relative accuracy, where they were measured."""
    titles = {"real": "Relative to itself on real data", "kd": "Relative to KD on real data"}
    student = summary.student_test_accuracy
    return tuple(
        Fact(
            title=titles[name],
            value=relative(100 * student / accuracy),
            note=f"the same network reaches {percent(accuracy)} on test",
        )
        for name, accuracy in summary.yardsticks.items()
        if student is not None and accuracy > 0
    )


def _effort(summary: RunSummary) -> tuple[Fact, ...]:
    seconds = summary.budgets.trial_seconds
    return (
        Fact(
            title="Trials finished",
            value=whole(summary.finished),
            note=f"of {whole(summary.planned)}",
        ),
        Fact(
            title="Compute",
            value=duration(seconds),
            note=f"{whole(summary.budgets.student_steps)} student steps",
            missing=seconds is None,
        ),
    )


def _with_interval(title: str, found: Interval | None) -> Fact:
    if found is None:
        return Fact(title=title, value=MISSING, missing=True)
    note = f"95\N{NO-BREAK SPACE}% interval {found.low:.1f} to {relative(found.high)}"
    return Fact(title=title, value=relative(found.value), note=note)


def _share(title: str, value: float | None, note: str = "") -> Fact:
    return Fact(title=title, value=percent(value), note=note, missing=value is None)
