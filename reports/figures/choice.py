"""The figure of a choice without labels: its scores against the accuracies that judge them."""

from collections.abc import Sequence

import plotly.graph_objects as go

from reports.compute.choice import ChoiceQuality, ScoreQuality
from reports.compute.limits import DRAWN_MARKS, some
from reports.figures.base import Figure, empty_figure, plain, rounded
from reports.formatting import percent, plural

OWN_SCORE = "own_agreement"


def choice_figure(found: ChoiceQuality) -> Figure | None:
    """Validation accuracy of every complete trial against the score that decided, or is first.

    Agreement on a trial's own images stands beside it, for what a trial looks like by its own
    account.

    Args:
        found: the choice, judged.

    Returns:
        None where no score is known of all trials.
    """
    if not found.scores:
        return None
    main = next((score for score in found.scores if score.decided), found.scores[0])
    own = next((s for s in found.scores if s.name == OWN_SCORE and s.name != main.name), None)
    figure = empty_figure("score (%)", "accuracy<br>on validation (%)", y_format=None)
    if own is not None:
        figure.add_trace(_marks(found, own, "faint", "circle-open", 8))
    figure.add_trace(_marks(found, main, "complete", "circle", 10))
    if not found.with_labels:
        figure.add_trace(_picked(found, main))
    told = [f"{score.words} {_rho(score)}" for score in (main, own) if score is not None]
    return Figure(
        name="choice",
        figure=figure,
        summary=f"Accuracy on validation of {plural(len(found.trials), 'complete trial')} against "
        f"scores that need no label, by rank correlation: {', '.join(told)}.",
    )


def _rho(score: ScoreQuality) -> str:
    return "not defined" if score.spearman is None else f"{score.spearman:.2f}"


def _marks(
    found: ChoiceQuality, score: ScoreQuality, role: str, symbol: str, size: int
) -> go.Scatter:
    trials = some(found.trials, (), DRAWN_MARKS)
    colour = {"faint": "#8A929C", "complete": "#0072B2"}[role]
    return _scatter(
        [100 * trial.scores[score.name] for trial in trials],
        [100 * trial.accuracy for trial in trials],
        [
            f"{plain(trial.trial)}<br>{percent(trial.scores[score.name])} {score.words}<br>"
            f"{percent(trial.accuracy)} on validation"
            for trial in trials
        ],
        score.words,
        {"symbol": symbol, "size": size, "color": colour, "line": {"width": 2, "color": colour}},
        role,
    )


def _picked(found: ChoiceQuality, score: ScoreQuality) -> go.Scatter:
    trial = found.picked
    return _scatter(
        [100 * trial.scores[score.name]],
        [100 * trial.accuracy],
        [f"{plain(trial.trial)}, the choice<br>{percent(trial.accuracy)} on validation"],
        "the choice",
        {"symbol": "star", "size": 15, "color": "#14181D"},
        "bold",
    )


def _scatter(
    x: Sequence[float],
    y: Sequence[float],
    text: Sequence[str],
    name: str,
    marker: dict[str, object],
    role: str,
) -> go.Scatter:
    return go.Scatter(
        x=[rounded(value) for value in x],
        y=[rounded(value) for value in y],
        text=list(text),
        mode="markers",
        name=name,
        marker=marker,
        meta={"role": role},
        hovertemplate="%{text}<extra></extra>",
    )
