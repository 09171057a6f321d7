"""How the search went: the value of every trial, and the best so far."""

from dataclasses import dataclass

from reports.collect import RunData, TrialData
from reports.compute.leaderboard import last_value


@dataclass(frozen=True, kw_only=True)
class HistoryPoint:
    """One trial in the history of the search.

    Args:
        trial: name.
        order: position in order of proposal, from 1.
        state: of the trial.
        value: last value of the search objective, a fraction; None where it was never evaluated.
        best_so_far: highest last value of the complete trials up to and with this one in order of
            proposal, a fraction; None while no trial is complete.
        ended_after_seconds: compute seconds spent on this trial and all that ended before it.
        best_when_ended: as `best_so_far`, in order of ending.
    """

    trial: str
    order: int
    state: str
    value: float | None
    best_so_far: float | None
    ended_after_seconds: float
    best_when_ended: float | None


def search_history(run: RunData) -> tuple[HistoryPoint, ...]:
    """Tell how the search went, trial by trial in order of proposal.

    Compute seconds add up over trials, whether these ran one after another or side by side.

    Args:
        run: the run's records.

    Returns:
        One point per trial.
    """
    by_end = sorted(run.trials, key=lambda trial: (_end(trial), trial.name))
    spent = 0.0
    seconds: dict[str, float] = {}
    for trial in by_end:
        spent += trial.seconds
        seconds[trial.name] = spent
    proposed = _best_so_far(run.trials)
    ended = _best_so_far(by_end)
    return tuple(
        HistoryPoint(
            trial=trial.name,
            order=order,
            state=trial.state,
            value=last_value(trial),
            best_so_far=proposed[trial.name],
            ended_after_seconds=seconds[trial.name],
            best_when_ended=ended[trial.name],
        )
        for order, trial in enumerate(run.trials, start=1)
    )


def _end(trial: TrialData) -> str:
    """When a trial last moved, as ISO 8601; unknown times come last."""
    if trial.epochs:
        return str(trial.epochs.others["time"][-1])
    return trial.status.updated if trial.status else "~"


def _best_so_far(trials: tuple[TrialData, ...] | list[TrialData]) -> dict[str, float | None]:
    """The highest value of the complete trials up to each trial, by name."""
    best: float | None = None
    result: dict[str, float | None] = {}
    for trial in trials:
        value = last_value(trial) if trial.state == "complete" else None
        if value is not None and (best is None or value > best):
            best = value
        result[trial.name] = best
    return result
