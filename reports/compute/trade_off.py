"""The search objective against a cost: which complete trials no other one surpasses."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from dfkd_tune.records import COST_WORDS, CostName, ParetoPoint, pareto_points
from reports.collect import RunData, once
from reports.compute.leaderboard import (
    cost_of,
    last_value,
    rank_trials,
    teacher_validation_accuracy,
    weighed_cost,
)
from reports.configuration import student_name
from reports.objectives import (
    LABEL_OBJECTIVE,
    by_pool,
    choice_words,
    objective_name,
    objective_words,
    synthetic_scores,
)

USUAL_COST: CostName = "parameters"


@dataclass(frozen=True, kw_only=True)
class WeighedTrial:
    """One complete trial by value and cost.

    Args:
        trial: name.
        student: architecture x width; None where it is unknown.
        value: that the choice among complete trials is by, a fraction.
        relative: 100 x value / the teacher's, percent; None where it is no accuracy on the
            validation split.
        cost: parameters, MACs, milliseconds or seconds.
        selected: whether this is the run's selected trial.
    """

    trial: str
    student: str | None
    value: float
    relative: float | None
    cost: float
    selected: bool


@dataclass(frozen=True, kw_only=True)
class TradeOff:
    """The complete trials by value and cost.

    Args:
        against: name of the cost, such as `parameters`.
        words: what the cost is called.
        weighed: whether the search weighed it; else it is told beside it.
        measures: what the value is, in words.
        pareto_set: what no other trial surpasses, in order of cost.
        surpassed: all other complete trials, in order of cost.
    """

    against: CostName
    words: str
    weighed: bool
    measures: str
    pareto_set: tuple[WeighedTrial, ...]
    surpassed: tuple[WeighedTrial, ...]

    @cached_property
    def relative(self) -> bool:
        """Whether all values can be told relative to the teacher's."""
        return all(trial.relative is not None for trial in (*self.pareto_set, *self.surpassed))


@once
def trade_off(run: RunData) -> TradeOff | None:
    """Weigh the complete trials of a search against their cost.

    A search that weighs no cost is told against parameters. Trials that ended early are left out:
    their values are of a smaller budget.

    Args:
        run: the run's records.

    Returns:
        None for a run that is no search, without a complete trial whose cost is known, or where
        the search weighs no cost and all have one student.
    """
    if run.run.kind != "sweep":
        return None
    weighed = weighed_cost(run)
    against = weighed or USUAL_COST
    pooled = _pooled(run)
    trials = {trial.trial: trial for trial in _weighed_trials(run, against, pooled)}
    costs = {trial.cost for trial in trials.values()}
    if not trials or (weighed is None and len(costs) == 1):
        return None
    points = [ParetoPoint(trial=t.trial, value=t.value, cost=t.cost) for t in trials.values()]
    best = [point.trial for point in pareto_points(points)]
    others = sorted(trials.keys() - best, key=lambda name: (trials[name].cost, name))
    return TradeOff(
        against=against,
        words=COST_WORDS[against],
        weighed=weighed is not None,
        measures=choice_words(run) if pooled else objective_words(run).value,
        pareto_set=tuple(trials[name] for name in best),
        surpassed=tuple(trials[name] for name in others),
    )


def _pooled(run: RunData) -> Mapping[str, float]:
    """What synthetic images chose by, by trial, where they chose among all these trials."""
    complete = {trial.name for trial in rank_trials(run)}
    if run.pool is None or not by_pool(run) or not complete <= set(run.pool.trials):
        return {}
    older = run.selection is not None and run.selection.synthetic_agreement is None
    return run.pool.scores(run.pool.agreement) if older else synthetic_scores(run)


def _weighed_trials(
    run: RunData, against: CostName, pooled: Mapping[str, float]
) -> list[WeighedTrial]:
    teacher = teacher_validation_accuracy(run) if objective_name(run) == LABEL_OBJECTIVE else None
    selected = run.selection.trial if run.selection else None
    found = []
    for trial in rank_trials(run):
        value = pooled.get(trial.name, last_value(trial))
        cost = cost_of(trial, against)
        if value is None or cost is None or not math.isfinite(value) or not math.isfinite(cost):
            continue
        found.append(
            WeighedTrial(
                trial=trial.name,
                student=student_name(trial),
                value=value,
                relative=100 * value / teacher if teacher else None,
                cost=cost,
                selected=trial.name == selected,
            )
        )
    return found
