"""How good a choice without labels was, judged afterwards by accuracies that had no part in it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reports.collect import RunData
from reports.compute.leaderboard import rank_trials
from reports.objectives import LABEL_OBJECTIVE, data_kind, objective_name

FEWEST = 3


@dataclass(frozen=True, kw_only=True)
class ScoredTrial:
    """One complete trial by both measures.

    Args:
        trial: name.
        value: of the search objective at the last evaluation, a fraction.
        accuracy: on the validation split at that evaluation, a fraction.
    """

    trial: str
    value: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class ChoiceQuality:
    """How well the search objective orders the complete trials by validation accuracy.

    Args:
        trials: complete trials that have both, in the order of the search objective.
        spearman: rank correlation of value and accuracy; None with fewer than three trials, or
            where either is the same for all.
        kendall: tau-b of the same; None likewise.
        picked: the selected trial, else the first by the search objective.
        best: the trial with the highest validation accuracy; the picked one where it has that.
    """

    trials: tuple[ScoredTrial, ...]
    spearman: float | None
    kendall: float | None
    picked: ScoredTrial
    best: ScoredTrial

    @property
    def enough(self) -> bool:
        """Whether there are trials enough for a correlation."""
        return len(self.trials) >= FEWEST

    @property
    def regret(self) -> float:
        """Validation accuracy that the choice gave away, a fraction, at least 0."""
        return self.best.accuracy - self.picked.accuracy


def choice_quality(run: RunData) -> ChoiceQuality | None:
    """Judge the choice of a run whose search objective used no labels by validation accuracies.

    Args:
        run: the run's records.

    Returns:
        The comparison; None where the search objective is validation accuracy itself, or where no
        complete trial has one.
    """
    if objective_name(run) == LABEL_OBJECTIVE or data_kind(run) != "labelled":
        return None
    trials = _scored_trials(run)
    if not trials:
        return None
    chosen = run.selection.trial if run.selection else None
    picked = next((trial for trial in trials if trial.trial == chosen), trials[0])
    best = max((picked, *trials), key=lambda trial: trial.accuracy)
    spearman, kendall = rank_correlations(
        [trial.value for trial in trials], [trial.accuracy for trial in trials]
    )
    return ChoiceQuality(
        trials=trials, spearman=spearman, kendall=kendall, picked=picked, best=best
    )


def rank_correlations(
    first: Sequence[float], second: Sequence[float]
) -> tuple[float | None, float | None]:
    """Spearman's rho and Kendall's tau-b of two measures of the same things.

    Args:
        first: one measure.
        second: the other, in the same order.

    Returns:
        Both in [-1, 1]; None for both with fewer than three pairs, or where either measure is the
        same for all.
    """
    if len(first) < FEWEST or len(set(first)) == 1 or len(set(second)) == 1:
        return None, None
    from scipy import stats

    spearman = stats.spearmanr(first, second).statistic
    return float(spearman), float(stats.kendalltau(first, second).statistic)


def _scored_trials(run: RunData) -> tuple[ScoredTrial, ...]:
    found = []
    for trial in rank_trials(run):
        last = trial.evaluated[-1]
        accuracy = last.validation.get("accuracy", math.nan)
        if last.value is not None and math.isfinite(last.value) and math.isfinite(accuracy):
            found.append(ScoredTrial(trial=trial.name, value=last.value, accuracy=accuracy))
    return tuple(found)
