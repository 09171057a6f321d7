"""What a reader must know before believing the numbers."""

from reports.collect import RunData
from reports.compute.leaderboard import LAST_EVALUATIONS
from reports.formatting import plural

LABEL_OBJECTIVE = "val_real"


def caveats(run: RunData) -> tuple[str, ...]:
    """Say what limits the numbers of a run, one sentence or two per point.

    Args:
        run: the run's records.

    Returns:
        At least one point.
    """
    points = [_choice(run), _test_split(run), _one_seed(run), _search_bias(run), _budgets(run)]
    return tuple(point for point in points if point)


def _choice(run: RunData) -> str:
    selection = run.selection
    real = (
        "The labels of the validation split are real data: distillation itself used the teacher "
        "alone and is data-free, but the choice among trials is not."
    )
    if selection is None:
        end = " No trial is selected yet." if run.run.kind == "sweep" else ""
        return f"All validation accuracies are measured on real, labelled images.{end}"
    rule = f"The trial was selected by this rule: {selection.rule.rstrip('.')}."
    if selection.objective == LABEL_OBJECTIVE:
        return f"{rule} {real}"
    return f"{rule} The search objective was {selection.objective}."


def _test_split(run: RunData) -> str:
    selection = run.selection
    if selection is None:
        return "The test split has not been touched; relative accuracies are on validation."
    times = selection.test_evaluations
    if times == 1:
        return "The test split was touched once, by the selected student and the teacher."
    return (
        f"{plural(times, 'student')} of this run met the test split. The more there are, the more "
        "the best of their test accuracies flatters."
    )


def _one_seed(run: RunData) -> str:
    if not run.trials:
        return ""
    interval = (
        " The 95\N{NO-BREAK SPACE}% interval covers the limited number of test images only."
        if run.selection
        else ""
    )
    return f"Every configuration ran with one seed; another seed gives another number.{interval}"


def _search_bias(run: RunData) -> str:
    if run.run.kind != "sweep" or not run.trials:
        return ""
    return (
        "The best of many validation accuracies is too high by selection. The mean of the last "
        f"{LAST_EVALUATIONS} evaluations stands beside it to show how steady a trial was."
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
