"""What a run cost, and what stopping trials early saved of it."""

from collections.abc import Iterable
from dataclasses import dataclass

from reports.collect import RunData, TrialData, once
from reports.compute.training import SavedSteps, saved_steps, stopped_early
from reports.formatting import plural

PROCESSORS = {"cpu": "CPU", "cuda": "GPU"}


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a run cost.

    Args:
        trials: that have trained an epoch.
        seconds: wall seconds of all their epochs, added up; epochs trained again count once.
        student_steps: that they trained.
        processors: on what, in words, such as `CPU, 1 thread each`; empty where it is unknown.
        saved: what stopping trials early saved, in student steps.
        saved_seconds: of these steps, each trial's at its own pace; None where none was stopped,
            or no stopped trial has trained its student.
        without_pace: stopped trials that have not trained their student, so that their steps are
            not in `saved_seconds`.
    """

    trials: int
    seconds: float
    student_steps: int
    processors: str
    saved: SavedSteps
    saved_seconds: float | None
    without_pace: int


@once
def run_cost(run: RunData) -> Cost | None:
    """What a run cost; None while no epoch is recorded.

    Args:
        run: the run's records.
    """
    trained = [trial for trial in run.trials if trial.epochs]
    if not trained:
        return None
    paced = [(trial, seconds_per_step(trial)) for trial in stopped_early(run)]
    known = [(trial, pace) for trial, pace in paced if pace is not None]
    return Cost(
        trials=len(trained),
        seconds=sum(trial.seconds for trial in trained),
        student_steps=sum(trial.trained_steps for trial in trained),
        processors=_processors(trained),
        saved=saved_steps(run),
        saved_seconds=sum(pace * _left(trial) for trial, pace in known) if known else None,
        without_pace=len(paced) - len(known),
    )


def seconds_per_step(trial: TrialData) -> float | None:
    """Wall seconds of a student step of a trial, with all that belongs to it.

    Epochs in which the generator alone trains come before the student's, and are not counted.

    Args:
        trial: whose student has trained.

    Returns:
        Seconds; None where the student has not trained.
    """
    alone = trial.epochs.others["stage"].count("generator")
    seconds = float(trial.epochs.numbers("seconds.total")[alone:].sum())
    return seconds / trial.trained_steps if trial.trained_steps > 0 else None


def _left(trial: TrialData) -> int:
    total = trial.trial.total_student_steps if trial.trial is not None else 0
    return max(total - trial.student_steps, 0)


def _processors(trials: Iterable[TrialData]) -> str:
    records = [trial.trial for trial in trials if trial.trial is not None]
    words = []
    for device in sorted({record.device for record in records}):
        threads = sorted({record.threads for record in records if record.device == device})
        name = PROCESSORS.get(device.partition(":")[0], device)
        if name != "CPU":
            words.append(name)
        elif len(threads) == 1:
            words.append(f"{name}, {plural(threads[0], 'thread')} each")
        else:
            words.append(f"{name}, {threads[0]} to {plural(threads[-1], 'thread')} each")
    return "; ".join(words)
