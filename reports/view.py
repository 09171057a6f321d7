"""The view of a run: every number and figure that its sections of the page show."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reports.collect import RunData
from reports.compute.baseline import BaselineComparison, compare_baseline
from reports.compute.caveats import caveats
from reports.compute.choice import ChoiceQuality, choice_quality
from reports.compute.comparison import VariantRow, compare_variants, confirmed_run
from reports.compute.cost import Cost, run_cost
from reports.compute.failures import FailureReport, failure_report
from reports.compute.history import HistoryPoint, search_history
from reports.compute.leaderboard import LeaderboardRow, teacher_validation_accuracy
from reports.compute.limits import board_rows, marked_points
from reports.compute.mattered import Mattered, what_mattered
from reports.compute.published import PublishedComparison, compare_published
from reports.compute.reproduction import Reproduction, best_trial, reproduction, shown_trial
from reports.compute.summary import RunSummary, summarise_run
from reports.compute.trade_off import TradeOff
from reports.compute.training import (
    Curve,
    LossTerms,
    TimeShare,
    Watch,
    collapse_watch,
    learning_curves,
    loss_terms,
    spread,
    time_shares,
)
from reports.compute.utilisation import Utilisation, shares_unknown, utilisation
from reports.facts import Fact, facts
from reports.figures import (
    Figure,
    baseline_figure,
    choice_figure,
    comparison_figure,
    curves_figure,
    entropy_figure,
    history_figure,
    losses_figure,
    time_figure,
    trade_off_figure,
    utilisation_figure,
    watch_figure,
)
from reports.figures.mattered import MatteredFigures, mattered_figures
from reports.fine import FineView, fine_figures, view_fine
from reports.objectives import DATA_FREE_OBJECTIVE, LABEL_OBJECTIVE, ObjectiveWords, objective_words
from reports.pictures import Picture, pictures

LOSS_ROWS = 12


@dataclass(frozen=True, kw_only=True)
class InsideView:
    """The inside of one trial: its loss terms and synthetic images.

    Args:
        trial: name.
        role: why this trial is shown, in words.
        losses: weighted loss terms and class entropy.
        watch: what the collapse watch saw.
        loss_rows: positions of the epochs that the tables show.
        pictures: grids of synthetic images over time.
    """

    trial: str
    role: str
    losses: LossTerms
    watch: Watch
    loss_rows: tuple[int, ...]
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, kw_only=True)
class RunView:
    """All that the page shows of one run.

    Args:
        anchor: start of all ids of this run in the page.
        data: the run's records.
        summary: the run in short.
        objective: the words for its search objective.
        facts: the headline numbers of its verdict.
        board: the rows of the leaderboard that the page shows.
        history: of the search.
        marked: the points of it that the page shows.
        baseline: the search against random search at equal budget; None where there is none.
        choice: how good a choice without labels was; None where that cannot be told.
        published: what others published on the benchmark; None where nothing is known.
        confirms: the sweep whose best configurations these are; None for any other run.
        comparison: variants over seeds; empty for a run that is no comparison.
        curves: learning curves.
        mattered: which dimensions mattered; None for a run that is no search.
        mattered_figures: drawings of them; None where there is nothing to draw.
        inside: of the best trial; None while no trial has trained.
        cost: of the run, and what stopping trials early saved; None while no epoch is recorded.
        time: where it went, by state.
        utilisation: when and where trials trained; None where no epoch has a time.
        failures: what went wrong.
        reproduction: how to do the best trial again.
        caveats: what limits the numbers.
        fine: what is told of the selected trial in detail; None where none is selected.
        figures: by name.
    """

    anchor: str
    data: RunData
    summary: RunSummary
    objective: ObjectiveWords
    facts: tuple[Fact, ...]
    board: tuple[LeaderboardRow, ...]
    history: tuple[HistoryPoint, ...]
    marked: tuple[HistoryPoint, ...]
    baseline: BaselineComparison | None
    choice: ChoiceQuality | None
    published: PublishedComparison | None
    confirms: str | None
    comparison: tuple[VariantRow, ...]
    curves: tuple[Curve, ...]
    mattered: Mattered | None
    mattered_figures: MatteredFigures | None
    inside: InsideView | None
    cost: Cost | None
    time: tuple[TimeShare, ...]
    utilisation: Utilisation | None
    failures: FailureReport
    reproduction: Reproduction
    caveats: tuple[str, ...]
    fine: FineView | None
    figures: Mapping[str, Figure] = field(default_factory=dict)

    @property
    def trade_off(self) -> TradeOff | None:
        """The complete trials by value and cost; None where there is none to tell."""
        return self.summary.trade_off

    @property
    def shares_unknown(self) -> bool:
        """Whether trials shared processes, and no record says which."""
        return shares_unknown(self.data)

    @property
    def without(self) -> str:
        """What the search objective did without, in a word."""
        return "data" if self.objective.name == DATA_FREE_OBJECTIVE else "labels"


def view_run(run: RunData, anchor: str) -> RunView:
    """Compute everything that the page shows of a run.

    Args:
        run: the run's records.
        anchor: start of all ids of this run in the page, such as `run-1`.
    """
    history = search_history(run)
    marked = marked_points(history)
    curves = learning_curves(run)
    inside = _inside(run)
    time = time_shares(run)
    best = best_trial(run)
    summary, words = summarise_run(run), objective_words(run)
    figures: list[Figure] = []
    if any(point.value is not None for point in history):
        figures += [history_figure(history, marked, by, words.value) for by in ("order", "seconds")]
    if curves:
        teacher = teacher_validation_accuracy(run) if words.name == LABEL_OBJECTIVE else None
        evaluated = sum(1 for trial in run.trials if trial.evaluated)
        name = best.name if best else None
        figures.append(curves_figure(curves, name, teacher, words.value, evaluated))
    if inside is not None and inside.losses.terms:
        figures.append(losses_figure(inside.losses, inside.trial))
    if inside is not None and any(v is not None for v in inside.losses.class_entropy):
        figures.append(entropy_figure(inside.losses, inside.trial))
    if inside is not None and any(v is not None for v in inside.watch.feature_distance):
        figures.append(watch_figure(inside.watch, inside.trial))
    baseline = compare_baseline(run)
    if baseline is not None:
        figures.append(baseline_figure(baseline, words.value))
    if summary.trade_off is not None:
        figures.append(trade_off_figure(summary.trade_off))
    choice = choice_quality(run)
    judged = choice_figure(choice) if choice is not None and choice.enough else None
    if judged is not None:
        figures.append(judged)
    comparison = compare_variants(run)
    if comparison:
        figures.append(comparison_figure(comparison))
    if time:
        figures.append(time_figure(time))
    fine = view_fine(run)
    figures += fine_figures(fine)
    mattered = what_mattered(run)
    used = utilisation(run)
    if used is not None:
        figures.append(utilisation_figure(used))
    return RunView(
        anchor=anchor,
        data=run,
        summary=summary,
        objective=words,
        facts=facts(summary, comparison),
        board=board_rows(summary.leaderboard),
        history=history,
        marked=marked,
        baseline=baseline,
        choice=choice,
        published=compare_published(run),
        confirms=confirmed_run(run),
        comparison=comparison,
        curves=curves,
        mattered=mattered,
        mattered_figures=mattered_figures(mattered, words.value) if mattered else None,
        inside=inside,
        cost=run_cost(run),
        time=time,
        utilisation=used,
        failures=failure_report(run),
        reproduction=reproduction(run),
        caveats=caveats(run),
        fine=fine,
        figures={figure.name: figure for figure in figures},
    )


def pretty_json(value: Any) -> str:
    """Write a value as JSON for people, with sorted keys; unknown types as text."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, default=str)


def _inside(run: RunData) -> InsideView | None:
    trial = shown_trial(run)
    if trial is None:
        return None
    losses = loss_terms(trial)
    if run.selection is not None and run.selection.trial == trial.name:
        role = "the selected trial"
    elif trial.state == "complete":
        role = "the best complete trial"
    else:
        role = "no trial is complete; this one has trained most"
    return InsideView(
        trial=trial.name,
        role=role,
        losses=losses,
        watch=collapse_watch(trial),
        loss_rows=spread(range(len(losses.epochs)), LOSS_ROWS),
        pictures=pictures(trial),
    )
