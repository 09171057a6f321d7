"""What went wrong: errors, divergence, damaged records, and trials that had to go on again."""

from collections import Counter
from dataclasses import dataclass

from dfkd_tune.records import ErrorRecord, StatusRecord
from reports.collect import RunData


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One trial that did not end well.

    Args:
        trial: name.
        state: of the trial.
        reason: why, in words; empty where it is not recorded.
        errors: what ended its process, the first one first; more than one where it was tried
            again.
        given_up: what was left unwritten for want of space, in words.
    """

    trial: str
    state: str
    reason: str
    errors: tuple[ErrorRecord, ...]
    given_up: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Restore:
    """A trial that went on from a checkpoint, or had to start again.

    Args:
        trial: name.
        from_epoch: the epoch of the checkpoint; 0: from the start.
        time: UTC, ISO 8601.
        note: in words.
    """

    trial: str
    from_epoch: int
    time: str
    note: str


@dataclass(frozen=True, kw_only=True)
class FailureReport:
    """All that went wrong in a run.

    Args:
        by_type: how many trials met each type of exception, most frequent first.
        diverged: trials with a non-finite loss.
        collapsed: trials whose synthesis made the same few images again and again.
        failed: trials that ended with an error.
        disturbed: trials with an error, or without space for a file, that did not end them.
        restores: in order of time.
        unreadable: name and problem of every trial with damaged records.
        problems: of the run's own files.
    """

    by_type: tuple[tuple[str, int], ...]
    diverged: tuple[Failure, ...]
    collapsed: tuple[Failure, ...]
    failed: tuple[Failure, ...]
    disturbed: tuple[Failure, ...]
    restores: tuple[Restore, ...]
    unreadable: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]

    @property
    def nothing(self) -> bool:
        """Whether nothing at all went wrong."""
        return not (
            self.diverged
            or self.collapsed
            or self.failed
            or self.disturbed
            or self.restores
            or self.unreadable
            or self.problems
        )


def _errors(status: StatusRecord) -> tuple[ErrorRecord, ...]:
    """All errors of a trial in order of time."""
    found = (*(restore.error for restore in status.restores), status.error)
    return tuple(error for error in found if error is not None)


def failure_report(run: RunData) -> FailureReport:
    """Gather all that went wrong in a run."""
    failures = [
        Failure(
            trial=trial.name,
            state=trial.status.state,
            reason=trial.status.reason,
            errors=_errors(trial.status),
            given_up=trial.status.given_up,
        )
        for trial in run.trials
        if trial.status is not None
    ]
    types = Counter(kind for failure in failures for kind in {e.type for e in failure.errors})
    restores = [
        Restore(trial=trial.name, from_epoch=r.from_epoch, time=r.time, note=r.note)
        for trial in run.trials
        if trial.status is not None
        for r in trial.status.restores
    ]
    ends = ("diverged", "collapsed", "failed")
    return FailureReport(
        by_type=tuple(sorted(types.items(), key=lambda item: (-item[1], item[0]))),
        diverged=tuple(f for f in failures if f.state == "diverged"),
        collapsed=tuple(f for f in failures if f.state == "collapsed"),
        failed=tuple(f for f in failures if f.state == "failed"),
        disturbed=tuple(f for f in failures if (f.errors or f.given_up) and f.state not in ends),
        restores=tuple(sorted(restores, key=lambda restore: (restore.time, restore.trial))),
        unreadable=tuple((t.name, problem) for t in run.trials for problem in t.problems),
        problems=run.problems,
    )
