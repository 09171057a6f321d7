"""What it takes to do the best trial again."""

import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfkd_tune.records import SessionRecord
from reports.collect import RunData, TrialData
from reports.compute.leaderboard import rank_trials
from reports.configuration import seed


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """How to do the best trial again, and what it was done with.

    Args:
        trial: name of the selected trial, else of the best complete one; None without either.
        configuration: that trial's whole configuration; None without a trial.
        command: that distils this configuration again; None without a trial, or with one that
            took over weights.
        export_command: that writes the student for use elsewhere.
        not_alone: why there is no command, in words; often empty.
        seed: of the trial.
        weights: the student's weights file, relative to the run folder; None where there is none.
        weights_sha256: hexadecimal; recorded at selection, else computed from the file.
        weights_note: what must be said about that file, in words; often empty.
        sessions: all starts of the command.
        experiment: as resolved.
    """

    trial: str | None
    configuration: Mapping[str, Any] | None
    command: str | None
    export_command: str
    not_alone: str
    seed: int | None
    weights: str | None
    weights_sha256: str | None
    weights_note: str
    sessions: tuple[SessionRecord, ...]
    experiment: Mapping[str, Any]


def best_trial(run: RunData) -> TrialData | None:
    """The selected trial, else the complete trial that ranks first."""
    if run.selection is not None:
        selected = run.find_trial(run.selection.trial)
        if selected is not None:
            return selected
    ranked = rank_trials(run)
    return ranked[0] if ranked else None


def shown_trial(run: RunData) -> TrialData | None:
    """The trial whose inside the report shows: the best, else the one that trained most."""
    best = best_trial(run)
    if best is not None:
        return best
    trained = [trial for trial in run.trials if trial.epochs]
    return max(trained, key=lambda trial: trial.student_steps, default=None)


def reproduction(run: RunData) -> Reproduction:
    """Gather what it takes to do the best trial again.

    Args:
        run: the run's records.

    Returns:
        Everything, with None for what the run does not have yet.
    """
    trial = best_trial(run)
    weights = trial.student_weights if trial else None
    parent = trial.trial.parent if trial and trial.trial else None
    sha256, note = _checked_weights(run, trial, weights)
    return Reproduction(
        trial=trial.name if trial else None,
        configuration=trial.trial.configuration if trial and trial.trial else None,
        command=distill_command(run, trial.name) if trial and not parent else None,
        export_command=shlex.join(
            ["dfkd-tune", "export", _folder(run), "--format", "torch", "--output", "student"]
        ),
        not_alone=""
        if parent is None
        else f"{trial.name if trial else ''} took over the weights of {parent.trial} at "
        f"{parent.student_steps:,} student steps: its configuration alone does not give it again. "
        f"The same sweep does, from its start.",
        seed=seed(run, trial),
        weights=weights.relative_to(run.path).as_posix() if weights else None,
        weights_sha256=sha256,
        weights_note=note,
        sessions=run.sessions,
        experiment=run.experiment,
    )


def distill_command(run: RunData, trial: str) -> str:
    """The command that distils a trial's configuration again, outside the search."""
    return shlex.join(["dfkd-tune", "distill", _folder(run), "--trial", trial])


def _folder(run: RunData) -> str:
    """The run folder as the command that made it knows it."""
    storage = run.experiment.get("storage")
    return f"{storage}/{run.run.name}" if isinstance(storage, str) else run.run.name


def _checked_weights(
    run: RunData, trial: TrialData | None, weights: Path | None
) -> tuple[str | None, str]:
    """The SHA-256 of the best student's weights, and what must be said about it."""
    selection = run.selection
    recorded = (
        selection.student_sha256
        if selection is not None and trial is not None and selection.trial == trial.name
        else None
    )
    if weights is None:
        return recorded, "The weights file is not in the run folder." if trial else ""
    try:
        with weights.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return recorded, f"The weights file cannot be read: {error.strerror or error}."
    if recorded is None:
        return found, "Computed from the file when this report was written."
    if found != recorded:
        return recorded, f"The file has changed since it was selected: it now has {found}."
    return recorded, "The file still has the recorded SHA-256."
