"""What a reader must know before believing the numbers."""

from dfkd_tune.records import AuditCard
from reports.collect import RunData
from reports.compute.leaderboard import LAST_EVALUATIONS, weighed_cost
from reports.configuration import look_up
from reports.formatting import percent, plural, shorten, whole
from reports.objectives import (
    DATA_FREE_OBJECTIVE,
    LABEL_OBJECTIVE,
    PEEKING_OBJECTIVE,
    UNLABELLED_OBJECTIVE,
    by_pool,
    choice_words,
    data_kind,
    objective_name,
    objective_words,
)

SHOWN_DIGITS = 12
LONGEST_RULE = 400


def caveats(run: RunData) -> tuple[str, ...]:
    """Say what limits the numbers of a run, one sentence or two per point.

    Args:
        run: the run's records.

    Returns:
        At least one point.
    """
    points = [
        _choice(run),
        _objective(run),
        _unseen_images(run),
        _one_seed(run),
        _search_bias(run),
        _measured_cost(run),
        _population(run),
        _budgets(run),
    ]
    return tuple(point for point in points if point)


def _choice(run: RunData) -> str:
    if run.selection is not None:
        rule = shorten(run.selection.rule.rstrip("."), LONGEST_RULE)
        return f"The trial was selected by this rule: {rule}."
    return "No trial is selected yet." if run.run.kind == "sweep" else ""


def _objective(run: RunData) -> str:
    """What the search objective is, and what it saw."""
    name = objective_name(run)
    if name == LABEL_OBJECTIVE:
        return (
            "The labels of the validation split are real data: distillation itself used the "
            "teacher alone and is data-free, but the choice among trials is not."
        )
    if name == UNLABELLED_OBJECTIVE:
        return _unlabelled_objective(run)
    if name == PEEKING_OBJECTIVE:
        return (
            "Trials are scored and chosen by their accuracy on the test split, as much of the "
            "field does it. No figure on that split is an honest estimate then: this run is for "
            "comparison with published results that were chosen in the same way."
        )
    if name == DATA_FREE_OBJECTIVE:
        return _data_free_objective(run)
    return f"The search objective was {objective_words(run).value}."


def _unlabelled_objective(run: RunData) -> str:
    count = look_up(run.experiment, "data_counts.validation")
    number = f"{count:,} " if isinstance(count, int) else ""
    labelled = data_kind(run) == "labelled"
    which = (
        f"the {number}real images of the validation split"
        if labelled
        else f"{number}unlabelled real images"
    )
    unused = "No label was used in search or choice" if labelled else "No label was used"
    return (
        f"Trials are scored by agreement with the teacher on {which}. {unused}; agreement with the "
        "teacher is not accuracy: a student that repeats the teacher's errors agrees with it."
    )


def _data_free_objective(run: RunData) -> str:
    beside = (
        " Validation accuracies were recorded beside it and decided nothing."
        if data_kind(run) == "labelled"
        else ""
    )
    last = (
        f" The last choice, among complete trials, is by {choice_words(run)}, each student's own "
        "left out."
        if by_pool(run)
        else ""
    )
    return (
        "No real image was used in search or choice: trials are scored by agreement with the "
        f"teacher on an audit set made from the teacher alone ({_audit_set(run.audit)}).{last} "
        f"Agreement on such images is not accuracy on real ones.{beside}"
    )


def _audit_set(card: AuditCard | None) -> str:
    if card is None:
        return "its card is not in the run folder"
    return (
        f"{plural(card.images, 'image')}, SHA-256 {card.sha256[:SHOWN_DIGITS]}; the teacher sees "
        f"{percent(card.teacher_accuracy)} of them as asked"
    )


def _unseen_images(run: RunData) -> str:
    """What the images kept apart for the end were used for."""
    kind = data_kind(run)
    if kind == "none":
        return (
            "There are no real images, so neither accuracy nor agreement on real images is known."
        )
    if kind == "unlabelled":
        return _held_out_images(run)
    selection = run.selection
    if run.run.kind == "comparison":
        met = sum(trial.test is not None for trial in run.trials)
        return (
            f"{plural(met, 'student')} of this comparison met the test split, once each; none was "
            "chosen by it. The best of their accuracies flatters all the same."
        )
    if selection is None and objective_name(run) == PEEKING_OBJECTIVE:
        return "The test split is seen by every trial."
    if selection is None:
        end = (
            "; relative accuracies are on validation"
            if objective_name(run) == LABEL_OBJECTIVE
            else ""
        )
        return f"The test split has not been touched{end}."
    times = selection.test_evaluations
    if objective_name(run) == PEEKING_OBJECTIVE:
        return f"{plural(times, 'trial')} of this run met the test split after every evaluation."
    if times == 1:
        return "The test split was touched once, by the selected student and the teacher."
    return (
        f"{plural(times, 'student')} of this run met the test split. The more there are, the more "
        "the best of their test accuracies flatters."
    )


def _held_out_images(run: RunData) -> str:
    unknown = "Without labels no accuracy is known, neither the student's nor the teacher's."
    selection = run.selection
    if selection is None or selection.held_out is None:
        return f"{unknown} The images kept apart for the end have not been touched."
    count = whole(selection.held_out.images)
    times = selection.test_evaluations
    if times == 1:
        return f"{unknown} The {count} images kept apart were touched once, after the choice."
    return (
        f"{unknown} {plural(times, 'student')} of this run met the {count} images kept apart. The "
        "more there are, the more the best of their agreements flatters."
    )


def _one_seed(run: RunData) -> str:
    if not run.trials or run.run.kind == "comparison":
        return ""
    selection = run.selection
    if selection is not None and selection.test is not None:
        images = "test images"
    elif selection is not None and selection.held_out is not None:
        images = "unlabelled images"
    else:
        images = ""
    interval = (
        f" The 95\N{NO-BREAK SPACE}% interval covers the limited number of {images} only."
        if images
        else ""
    )
    return f"Every configuration ran with one seed; another seed gives another number.{interval}"


def _search_bias(run: RunData) -> str:
    if run.run.kind != "sweep" or not run.trials:
        return ""
    return (
        "The best of many values of the search objective is too high by selection. The mean of the "
        f"last {LAST_EVALUATIONS} evaluations stands beside it to show how steady a trial was."
    )


def _measured_cost(run: RunData) -> str:
    """What a cost that is measured in time depends on."""
    if run.run.kind != "sweep":
        return ""
    match weighed_cost(run):
        case "latency":
            return (
                "Latency was measured once for each student, on the machine that proposed it and "
                "beside the trials that ran then; another machine gives another Pareto set."
            )
        case "training_seconds":
            return (
                "Training seconds are wall seconds on the machine of each trial, beside others; "
                "another machine, or another number of trials at once, gives another Pareto set."
            )
    return ""


def _population(run: RunData) -> str:
    """What population based training means for the configurations that it ends with."""
    children = sum(trial.inherited_steps > 0 for trial in run.trials)
    if not children:
        return ""
    return (
        f"{plural(children, 'trial')} began from the weights of a stronger one, with changed loss "
        "weights and learning rates. Such a student is the work of several configurations in turn; "
        "its own, trained from the start, gives another one."
    )


def _budgets(run: RunData) -> str:
    budgets = {trial.trial.total_student_steps for trial in run.trials if trial.trial}
    stopped = sum(1 for trial in run.trials if trial.state == "stopped")
    parts = []
    if stopped:
        parts.append(
            f"{plural(stopped, 'trial')} ended early by the scheduler; what they reached is "
            "not compared with complete trials."
        )
    if len(budgets) > 1:
        parts.append(
            "Trials had different budgets, from "
            f"{min(budgets):,} to {max(budgets):,} student steps; complete trials are ranked "
            "together all the same."
        )
    return " ".join(parts)
