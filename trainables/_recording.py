"""What a trial's process writes in the trial's folder: epochs, pictures, checkpoints, its end."""

import io
import math
import platform
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field

from dfkd_tune.checkpoints import CheckpointStore
from dfkd_tune.classifiers import save_weights
from dfkd_tune.distillation import (
    DistillationConfig,
    Progress,
    configuration_hash,
    image_grid,
)
from dfkd_tune.errors import (
    CheckpointError,
    CollapsedError,
    DiskFullError,
    DivergedError,
    RunFolderError,
)
from dfkd_tune.records import (
    EpochRecord,
    RestoreRecord,
    RunFolder,
    Seconds,
    TrialFolder,
    append_record,
    now,
    write_bytes_atomically,
)
from trainables._faults import (
    TRAINING,
    as_memory_error,
    error_record,
    first_line,
    hung,
    what_ended,
)
from trainables._later import Later
from trainables._machine import peak_memory_mib
from trainables._objectives import SearchObjective
from trainables._pool import save_kept

GRID_ROWS = 4
GRID_SEED = 0

PAUSED = "waits for the other trials"
"""Reason of a trial that has trained as far as it was to, for now."""

MOST_GIVEN_UP = 10
"""Lines of a status on what was left unwritten, the newest ones."""


class SupersededError(RunFolderError):
    """Another start of the command owns the run folder now; this process must stop writing."""


class SavingConfig(BaseModel):
    """How often a trial looks and saves, in epochs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    evaluate_every: int = Field(default=1, ge=1)
    checkpoint_every: int = Field(default=1, ge=1)
    images_every: int = Field(default=5, ge=1)


class TrialRecorder:
    """Writes what a trial comes to, and knows from where it goes on.

    Args:
        run: the run folder, with a teacher and the trial's configuration.
        name: the trial.
        session: the start of the command that this process belongs to.
        saving: how often to evaluate, checkpoint and keep images.
        objective: of the search.

    Raises:
        CheckpointError: if it was to begin from another trial's checkpoint, which cannot be read.
    """

    def __init__(
        self,
        run: RunFolder,
        name: str,
        session: str,
        saving: SavingConfig,
        objective: SearchObjective,
    ) -> None:
        self.cohort = ""
        """The first of the trials with which it shares its process; empty where alone."""
        self.run, self.session, self.saving, self.objective = run, session, saving, objective
        self.folder = run.trial_folder(name)
        self.trial = self.folder.trial()
        self.config = DistillationConfig.model_validate(self.trial.configuration)
        self.device = torch.device(self.trial.device)
        self.store = CheckpointStore(self.folder.checkpoints, configuration_hash(self.config))
        self.restored = self.store.load_newest()
        self.later = Later()
        parent = self.trial.parent
        if self.restored.state is None and parent is not None:
            raise CheckpointError(
                f"{self.folder.path} begins from {parent.trial} at epoch {parent.epoch}, and "
                f"no checkpoint of it can be read; its configuration alone is not this trial"
            )

    def begin(self) -> None:
        """Note that the trial trains, and whether that was interrupted."""
        _note_restore(self.folder, self.session, self.restored.epoch, self.restored.passed_over)

    def record(self, progress: Progress, *, until_epoch: int | None = None) -> EpochRecord:
        """Record an epoch, and what is due after it.

        The checkpoint is written while the next epoch trains; whether there was space for it is
        known at the next one.

        Args:
            progress: after the epoch.
            until_epoch: after which the checkpoint is there before this returns.

        Raises:
            SupersededError: if another start of the command took the folder over.
            DiskFullError: if there is no space for the record or the student.
        """
        if self.run.run().session != self.session:
            raise SupersededError(f"{self.run.path} is owned by another start of the command now")
        folder, saving, epoch = self.folder, self.saving, progress.epoch
        total_epochs = self.config.schedule.total_epochs
        last = epoch == total_epochs
        row = _epoch_record(progress, self.objective.key, total_epochs, self.session, self.device)
        # Also where it is empty: None is for records that do not say.
        row = row.model_copy(update={"cohort": self.cohort})
        append_record(folder.metrics_file, row)
        if last or epoch == 1 or epoch % saving.images_every == 0:
            grid = folder.images / f"epoch_{epoch:06d}.png"
            _if_there_is_space(folder, lambda: _write_grid(grid, progress))
        due = epoch % saving.checkpoint_every == 0 or epoch == until_epoch
        if due or last:
            _if_there_is_space(folder, self.later.finish)
        if last:
            # The student first: what is left of the space is for the rest.
            save_weights(folder.student_weights, progress.student)
            generator = progress.generator
            if generator is not None:
                _if_there_is_space(
                    folder, lambda: save_weights(folder.generator_weights, generator)
                )
            _if_there_is_space(folder, lambda: save_kept(folder, progress.kept))
            folder.set_status("complete", reason="trained its whole budget", error=None)
        elif due:
            state = progress.state()
            self.later.begin(lambda: self.store.save(epoch, state))
            if epoch == until_epoch:
                _if_there_is_space(folder, self.later.finish)
        return row

    def close(self) -> None:
        """Wait for what is still being written."""
        self.later.close()


def record_end(folder: TrialFolder, error: Exception) -> Exception:
    """Record the error that ends a trial; gives it in the words that say what to do."""
    if isinstance(error, DivergedError | CollapsedError):
        folder.set_status(
            "diverged" if isinstance(error, DivergedError) else "collapsed",
            reason=str(error),
            error=error_record(error).model_copy(update={"traceback": ""}),
        )
        return error
    told = as_memory_error(error, torch.device(folder.trial().device))
    if told is not error:
        told.__cause__ = error
    folder.set_status("running", reason="ended by an error", error=error_record(told))
    return told


def _if_there_is_space(folder: TrialFolder, write: Callable[[], object]) -> None:
    """Write what a trial can do without; where there is no space, say so in its status."""
    try:
        write()
    except DiskFullError as error:
        given_up = (*folder.status().given_up, str(error))[-MOST_GIVEN_UP:]
        # A status needs a little space as well; the next record will say if there is none at all.
        with suppress(DiskFullError):
            folder.set_status("running", given_up=given_up)


def note_hang(run: RunFolder, name: str, session: str) -> None:
    """Record that a trial's process was ended by its watchdog, before it goes on."""
    folder = run.trial_folder(name)
    if not folder.hang():
        return
    status = folder.status()
    epochs = folder.epochs()
    restore = RestoreRecord(
        session=session,
        time=now(),
        from_epoch=epochs[-1].epoch if epochs else 0,
        note="its process hung, and its watchdog ended it",
        error=hung(folder.hang()),
    )
    folder.set_status("running", reason="tried again", restores=(*status.restores, restore))


def _note_restore(
    folder: TrialFolder, session: str, epoch: int, passed_over: tuple[str, ...]
) -> None:
    status, epochs = folder.status(), folder.epochs()
    error = what_ended(status, epochs[-1].peak_memory_mib if epochs else None)
    begins = not folder.metrics_file.exists()
    # A pause is no interruption, if the trial goes on where it paused.
    paused = bool(epochs) and epochs[-1].epoch == epoch == status.paused_at
    if (begins or paused) and not passed_over and error is None:
        folder.set_status("running", reason=TRAINING)
        return
    notes = ((f"{error.type}: {first_line(error.message)}",) if error else ()) + passed_over
    restore = RestoreRecord(
        session=session, time=now(), from_epoch=epoch, note="; ".join(notes), error=error
    )
    folder.set_status("running", reason=TRAINING, restores=(*status.restores, restore), error=None)


def _epoch_record(
    progress: Progress, key: str, total_epochs: int, session: str, device: torch.device
) -> EpochRecord:
    seconds, signs = progress.seconds, progress.collapse
    return EpochRecord(
        epoch=progress.epoch,
        total_epochs=total_epochs,
        stage=progress.stage,
        student_steps=progress.student_steps,
        generator_steps=progress.generator_steps,
        value=progress.validation.get(key),
        validation=dict(progress.validation),
        losses=dict(progress.losses),
        learning_rates=dict(progress.learning_rates),
        class_entropy=progress.class_entropy,
        feature_distance=signs.feature_distance,
        kept_agreement=None if math.isnan(signs.agreement) else signs.agreement,
        collapse_signs=signs.signs,
        seconds=Seconds(
            synthesis=seconds["synthesis"],
            student=seconds["student"],
            evaluation=seconds["evaluation"],
            total=seconds["total"],
        ),
        images_per_second=progress.images / max(seconds["total"], 1e-9),
        peak_memory_mib=peak_memory_mib(device),
        session=session,
        time=now(),
        node=platform.node(),
    )


def _write_grid(path: Path, progress: Progress) -> None:
    buffer = io.BytesIO()
    image_grid(progress.pictures(GRID_ROWS, GRID_SEED)).save(buffer, "PNG")
    write_bytes_atomically(path, buffer.getvalue())
