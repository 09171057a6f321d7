"""The verdict: what a run has found, in one sentence, with what it was measured by."""

from collections import Counter

from dfkd_tune.records import SelectionRecord, TestOutcome
from reports.collect import RunData
from reports.compute.accuracy import Interval, agreement_interval, relative_accuracy_interval
from reports.compute.comparison import (
    VariantRow,
    compare_variants,
    confirmed_run,
    highest_first,
)
from reports.compute.leaderboard import LeaderboardRow
from reports.formatting import interval, percent, plural, relative, shorten, whole
from reports.objectives import (
    PEEKING_OBJECTIVE,
    by_pool,
    choice_words,
    data_kind,
    decisive_agreement,
    objective_name,
    objective_words,
)

STATES = (
    "complete",
    "stopped",
    "diverged",
    "collapsed",
    "failed",
    "running",
    "interrupted",
    "unreadable",
)


def verdict(run: RunData, best: LeaderboardRow | None) -> str:
    """Say in one sentence what a run has found, as far as it can tell.

    Args:
        run: the run's records.
        best: the selected trial, else the best complete one; None without either.
    """
    if not run.trials:
        return "No verdict yet: no trial has begun."
    rows = compare_variants(run)
    if rows:
        source = confirmed_run(run)
        return _comparison(rows) if source is None else _confirmation(run, rows, source)
    if best is None:
        return _without_complete_trial(run)
    if run.selection is None or not best.selected:
        return _without_selection(run, best)
    return f"The best student, {describe_student(best)}, {_outcome(run, run.selection)}; one seed."


def describe_student(row: LeaderboardRow) -> str:
    """Name a student by trial, architecture x width and parameters."""
    size = f"{whole(row.parameters)} parameters" if row.parameters is not None else ""
    inside = ", ".join(part for part in (shorten(row.student or ""), size) if part)
    return f"{row.trial} ({inside})" if inside else row.trial


def interval_words(value: Interval | None) -> str:
    """Write an interval for a sentence, such as `93.4 % (95 % interval 91.8 to 95.0 %)`."""
    return interval(value).replace("(", "(95\N{NO-BREAK SPACE}% interval ")


def _outcome(run: RunData, selection: SelectionRecord) -> str:
    """What the selected student was found to be worth, and how it was chosen."""
    explained = choice_words(run)
    if selection.test is not None:
        if objective_name(run) == PEEKING_OBJECTIVE and selection.candidates > 1:
            return (
                f"{_on_test(selection.test)}, by which it was itself chosen among "
                f"{whole(selection.candidates)} complete trials, so the figure flatters"
            )
        return f"{_on_test(selection.test)}; {_chosen(selection, explained)}"
    agreement = agreement_interval(selection.held_out) if selection.held_out else None
    if selection.held_out is not None and agreement is not None:
        return (
            f"chooses the teacher's class on {percent(selection.held_out.agreement)} of "
            f"{whole(selection.held_out.images)} unlabelled images that the choice has not seen "
            f"(95\N{NO-BREAK SPACE}% interval {agreement.low:.1f} to {relative(agreement.high)}); "
            f"{_chosen(selection, explained)}"
        )
    among = (
        "the only complete trial"
        if selection.candidates == 1
        else f"by which it was chosen among {whole(selection.candidates)} complete trials"
    )
    decisive = decisive_agreement(run) if by_pool(run) else selection.value
    value = percent(decisive, "no known value of")
    end = (
        "no real image was there to measure its accuracy by"
        if data_kind(run) == "none"
        else "it was not measured on images that the choice has not seen"
    )
    return f"has {value} {explained}, {among}; {end}"


def _on_test(test: TestOutcome) -> str:
    ratio = relative_accuracy_interval(test)
    reached = (
        f"{interval_words(ratio)} relative accuracy on the test split"
        if ratio
        else "no relative accuracy, as the teacher has no test image right,"
    )
    return (
        f"reaches {reached}: {percent(test.student_accuracy)} against the teacher's "
        f"{percent(test.teacher_accuracy)} on {whole(test.images)} images"
    )


def _chosen(selection: SelectionRecord, explained: str) -> str:
    if selection.candidates == 1:
        return f"it was the only complete trial (objective: {explained})"
    return f"chosen among {whole(selection.candidates)} complete trials by {explained}"


def _without_selection(run: RunData, best: LeaderboardRow) -> str:
    """The verdict on the best complete trial of a run that has selected none."""
    complete = sum(1 for row in run.trials if row.state == "complete")
    among = "" if run.run.kind == "distill" else f", best of {plural(complete, 'complete trial')}"
    against = (
        f" ({relative(best.relative_value)} of the teacher's)"
        if best.relative_value is not None
        else ""
    )
    end = {
        "labelled": "the test split is untouched"
        if objective_name(run) != PEEKING_OBJECTIVE
        else "the trials were scored on it",
        "unlabelled": "the unlabelled images kept apart are untouched",
        "none": "no real image was there to measure accuracy by",
    }[data_kind(run)]
    if run.selection is not None:
        end = f"the selected trial, {shorten(run.selection.trial)}, is not in the run folder"
    return (
        f"The student of {describe_student(best)} has {percent(best.last_value)} "
        f"{objective_words(run).explained}{against}{among}; one seed, and {end}."
    )


def _comparison(rows: tuple[VariantRow, ...]) -> str:
    """The verdict on variants over seeds: how far apart they are."""
    what = f"{plural(len(rows), 'variant')} over {plural(rows[0].seeds, 'seed')}"
    measured = highest_first(rows)
    if not measured:
        done = sum(row.complete for row in rows)
        return f"{what}: {plural(done, 'distillation')} complete, none measured on test yet."
    low, high = measured[-1], measured[0]
    return (
        f"{what}: mean relative accuracy on the test split from {low.relative.words(' %')} "
        f"({shorten(low.variant)}) to {high.relative.words(' %')} ({shorten(high.variant)}); "
        "nothing is chosen."
    )


def _confirmation(run: RunData, rows: tuple[VariantRow, ...], source: str) -> str:
    """The verdict on the best configurations of a sweep over fresh seeds."""
    what = f"The {plural(len(rows), 'best configuration')} of {shorten(source)}"
    what += f" over {plural(rows[0].seeds, 'fresh seed')} each"
    chosen = next((row for row in rows if row.chosen), None)
    if chosen is None:
        done = sum(row.complete for row in rows)
        return f"{what}: {plural(done, 'distillation')} complete, not all of any configuration yet."
    by = f"that of {shorten(chosen.variant)} has the highest mean {objective_words(run).value}"
    within = chosen.relative.interval()
    if within is None:
        return f"{what}: {by}, {chosen.last.words(' %')}."
    low, high = within
    return (
        f"{what}: {by} and reaches {chosen.relative.mean:.1f}\N{NO-BREAK SPACE}% relative accuracy "
        f"on the test split (mean of {chosen.relative.count}, 95\N{NO-BREAK SPACE}% interval "
        f"{low:.1f} to {high:.1f}\N{NO-BREAK SPACE}%), which had no part in the choice."
    )


def _without_complete_trial(run: RunData) -> str:
    """The verdict where no trial has trained its whole budget, or none has a value."""
    counted = Counter(trial.state for trial in run.trials)
    if counted["complete"]:
        return (
            f"No verdict: {plural(counted['complete'], 'trial')} of this run "
            f"{'is' if counted['complete'] == 1 else 'are'} complete, and no value of the search "
            "objective is recorded."
        )
    parts = ", ".join(f"{counted[state]} {state}" for state in STATES if counted[state])
    if counted["failed"] == len(run.trials):
        parts = "all failed"
    began = "1 trial began" if len(run.trials) == 1 else f"{len(run.trials)} trials began"
    return f"No verdict yet: {began} and none is complete ({parts})."
