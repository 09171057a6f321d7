"""How good a choice without labels was, judged afterwards by accuracies that had no part in it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from reports.collect import RunData, TrialData, once
from reports.compute.leaderboard import rank_trials
from reports.objectives import (
    AUDIT_SCORE,
    DATA_FREE_OBJECTIVE,
    LABEL_OBJECTIVE,
    PEEKING_OBJECTIVE,
    UNLABELLED_OBJECTIVE,
    by_pool,
    data_kind,
    objective_name,
    synthetic_scores,
)

FEWEST = 3
RESAMPLES = 2000
LEVEL = 0.95

POOL_SCORE = "pool_agreement"
SYNTHETIC_SCORE = "synthetic_agreement"
REAL_SCORE = "agreement"

SCORE_WORDS: Mapping[str, str] = {
    SYNTHETIC_SCORE: "agreement, mean of the audit set and the other trials' images",
    POOL_SCORE: "agreement on the other trials' images",
    "pool_kl": "KL on the other trials' images, negated",
    "pool_ensemble": "agreement with the other students on these images",
    AUDIT_SCORE: "agreement on the audit set",
    "audit_kl": "KL on the audit set, negated",
    "own_agreement": "agreement on the trial's own images",
    REAL_SCORE: "agreement on real images, without their labels",
}
"""Scores that need no label, from the most to the least independent of a trial's own images. All
but the last need no image either. A score is better where it is higher."""


@dataclass(frozen=True, kw_only=True)
class ScoredTrial:
    """One complete trial by both measures.

    Args:
        trial: name.
        value: of the search objective at the last evaluation, a fraction.
        accuracy: on the validation split at that evaluation, a fraction.
        scores: by name, those that it has.
    """

    trial: str
    value: float
    accuracy: float
    scores: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class ScoreQuality:
    """How well a score that needs no label orders the complete trials by validation accuracy.

    Args:
        name: of the score, a key of `SCORE_WORDS`.
        words: what it is.
        trials: that have it.
        spearman: rank correlation with validation accuracy; None with fewer than three trials, or
            where either is the same for all.
        interval: 95 % bootstrap interval of it over trials; None likewise.
        kendall: tau-b; None likewise.
        picked: its first trial.
        regret: validation accuracy that picking it gives away, a fraction.
        decided: whether the run was decided by it.
    """

    name: str
    words: str
    trials: int
    spearman: float | None
    interval: tuple[float, float] | None
    kendall: float | None
    picked: str
    regret: float
    decided: bool


@dataclass(frozen=True, kw_only=True)
class ChoiceQuality:
    """How well choices without labels do, by validation accuracy.

    Args:
        trials: complete trials with an accuracy, in the order of the search objective.
        scores: those that all these trials have.
        picked: the selected trial, else the first by the search objective.
        best: the trial with the highest validation accuracy; the picked one where it has that.
        with_labels: whether the run itself chose by validation accuracy.
    """

    trials: tuple[ScoredTrial, ...]
    scores: tuple[ScoreQuality, ...]
    picked: ScoredTrial
    best: ScoredTrial
    with_labels: bool

    @property
    def by_pool(self) -> bool:
        """Whether the answers on one another's images had a part in the choice."""
        return any(
            score.decided and score.name in (POOL_SCORE, SYNTHETIC_SCORE) for score in self.scores
        )

    @property
    def by_mean(self) -> bool:
        """Whether the mean with the agreement on the audit set decided."""
        return any(score.decided and score.name == SYNTHETIC_SCORE for score in self.scores)

    @property
    def enough(self) -> bool:
        """Whether there are trials enough for a correlation."""
        return len(self.trials) >= FEWEST

    @property
    def regret(self) -> float:
        """Validation accuracy that the choice gave away, a fraction, at least 0."""
        return self.best.accuracy - self.picked.accuracy

    @property
    def chance_regret(self) -> float:
        """What picking a complete trial at random gives away on average, a fraction."""
        return self.best.accuracy - fmean(trial.accuracy for trial in self.trials)


@once
def choice_quality(run: RunData) -> ChoiceQuality | None:
    """Judge choices without labels by validation accuracies.

    Args:
        run: the run's records.

    Returns:
        The comparison. None for a run whose trials have no accuracy or that is no search, and for
        one that chose by validation accuracy and has no other score of three trials.
    """
    with_labels = objective_name(run) in (LABEL_OBJECTIVE, PEEKING_OBJECTIVE)
    if data_kind(run) != "labelled" or run.run.kind != "sweep":
        return None
    if with_labels and run.pool is None:
        return None
    trials = _scored_trials(run)
    if not trials or (with_labels and len(trials) < FEWEST):
        return None
    chosen = run.selection.trial if run.selection else None
    picked = next((trial for trial in trials if trial.trial == chosen), trials[0])
    best = max((picked, *trials), key=lambda trial: trial.accuracy)
    return ChoiceQuality(
        trials=trials,
        scores=_score_qualities(run, trials),
        picked=picked,
        best=best,
        with_labels=with_labels,
    )


def deciding_score(run: RunData) -> str | None:
    """The name of the score that a run was decided by; None where labels decided."""
    name = objective_name(run)
    if name == UNLABELLED_OBJECTIVE:
        return REAL_SCORE
    if name != DATA_FREE_OBJECTIVE:
        return None
    if run.selection is not None and run.selection.synthetic_agreement is not None:
        return SYNTHETIC_SCORE
    return POOL_SCORE if by_pool(run) else AUDIT_SCORE


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


def spearman_interval(
    first: Sequence[float], second: Sequence[float]
) -> tuple[float, float] | None:
    """The 95 % percentile bootstrap interval of Spearman's rho, over pairs.

    Args:
        first: one measure.
        second: the other, in the same order.

    Returns:
        The interval, the same at every call; None where `rank_correlations` gives None.
    """
    if len(first) < FEWEST or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    from scipy import stats

    drawn = np.random.default_rng(0).integers(0, len(first), (RESAMPLES, len(first)))
    ranks = [stats.rankdata(np.asarray(each)[drawn], axis=1) for each in (first, second)]
    centred = [each - each.mean(1, keepdims=True) for each in ranks]
    spread = np.sqrt((centred[0] ** 2).sum(1) * (centred[1] ** 2).sum(1))
    # A draw of one trial alone has no order.
    defined = spread > 0
    rhos = (centred[0] * centred[1]).sum(1)[defined] / spread[defined]
    low, high = np.quantile(rhos, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _score_qualities(run: RunData, trials: Sequence[ScoredTrial]) -> tuple[ScoreQuality, ...]:
    decided = deciding_score(run)
    found = []
    for name, words in SCORE_WORDS.items():
        if not trials or not all(name in trial.scores for trial in trials):
            continue
        values = [trial.scores[name] for trial in trials]
        accuracies = [trial.accuracy for trial in trials]
        spearman, kendall = rank_correlations(values, accuracies)
        picked = max(trials, key=lambda trial: trial.scores[name])
        found.append(
            ScoreQuality(
                name=name,
                words=words,
                trials=len(trials),
                spearman=spearman,
                interval=spearman_interval(values, accuracies),
                kendall=kendall,
                picked=picked.trial,
                regret=max(accuracies) - picked.accuracy,
                decided=name == decided,
            )
        )
    return tuple(found)


def _scored_trials(run: RunData) -> tuple[ScoredTrial, ...]:
    pooled: dict[str, dict[str, float]] = {}
    if run.pool is not None:
        pooled = {
            SYNTHETIC_SCORE: dict(synthetic_scores(run)),
            POOL_SCORE: run.pool.scores(run.pool.agreement),
            "pool_kl": {t: -kl for t, kl in run.pool.scores(run.pool.kl).items()},
            "pool_ensemble": run.pool.scores(run.pool.ensemble),
        }
    found = []
    for trial in rank_trials(run):
        last = trial.evaluated[-1]
        accuracy = last.validation.get("accuracy", math.nan)
        if last.value is not None and math.isfinite(last.value) and math.isfinite(accuracy):
            scores = {name: by[trial.name] for name, by in pooled.items() if trial.name in by}
            found.append(
                ScoredTrial(
                    trial=trial.name,
                    value=last.value,
                    accuracy=accuracy,
                    scores={**scores, **_own_scores(trial)},
                )
            )
    return tuple(found)


def _own_scores(trial: TrialData) -> dict[str, float]:
    """What a trial's last evaluated epoch holds by itself."""
    last = trial.evaluated[-1]
    recorded = {
        AUDIT_SCORE: last.validation.get("audit_agreement"),
        "audit_kl": last.validation.get("audit_kl"),
        REAL_SCORE: last.validation.get("agreement"),
        "own_agreement": last.kept_agreement,
    }
    if recorded["audit_kl"] is not None:
        recorded["audit_kl"] = -recorded["audit_kl"]
    return {
        name: value
        for name, value in recorded.items()
        if value is not None and math.isfinite(value)
    }
