"""One trial, from its folder: a plain function that a search, a command or a test can call."""

import io
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field

from dfkd_tune.benchmarks import Benchmark, BenchmarkConfig, open_benchmark
from dfkd_tune.checkpoints import CheckpointStore
from dfkd_tune.classifiers import (
    NetworkConfig,
    build_classifier,
    measure_latency,
    network_size,
    save_weights,
)
from dfkd_tune.distillation import (
    DistillationConfig,
    Progress,
    configuration_hash,
    distil,
    image_grid,
)
from dfkd_tune.errors import (
    CannotRecordError,
    CheckpointError,
    CollapsedError,
    DiskFullError,
    DivergedError,
    RunFolderError,
)
from dfkd_tune.inputs import InputSpecification
from dfkd_tune.records import (
    EpochRecord,
    NetworkSize,
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
from trainables._machine import peak_memory_mib, reset_peak_memory
from trainables._objectives import SEARCH_OBJECTIVES, SearchObjective, trial_scores
from trainables._pool import save_kept
from trainables._teachers import card_network, load_network

GRID_ROWS = 4
GRID_SEED = 0

PAUSED = "waits for the other trials"
"""Reason of a trial that has trained as far as it was to, for now."""

MOST_GIVEN_UP = 10
"""Lines of a status on what was left unwritten, the newest ones."""


class _PausedError(Exception):
    """Ends a trial's process where it has trained as far as it was to, for now."""


class SupersededError(RunFolderError):
    """Another start of the command owns the run folder now; this process must stop writing."""


def student_size(
    config: NetworkConfig, inputs: InputSpecification, *, threads: int | None = None
) -> NetworkSize:
    """Parameters and multiply-accumulates of a student, and its latency on the CPU.

    Args:
        config: architecture and width.
        inputs: shape and classes.
        threads: with which its latency is measured; not measured where None.
    """
    network = build_classifier(config, inputs, seed=0)
    size = network_size(network, inputs)
    if threads is None:
        return size
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return size.model_copy(update={"latency_ms": measure_latency(network, inputs)})
    finally:
        torch.set_num_threads(before)


def run_benchmark(run: RunFolder) -> Benchmark:
    """The benchmark of a run, opened again from its records.

    Raises:
        RunFolderError: if the records do not say which.
    """
    config = run.experiment().get("benchmark_config")
    if config is None:
        raise RunFolderError(f"{run.experiment_file} names no benchmark_config; begin a new run")
    return open_benchmark(BenchmarkConfig.model_validate(config))


def run_objective(run: RunFolder) -> SearchObjective:
    """The search objective of a run, from its records."""
    name = run.experiment().get("search", {}).get("objective", "val_real")
    return SEARCH_OBJECTIVES[name]


class SavingConfig(BaseModel):
    """How often a trial looks and saves, in epochs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    evaluate_every: int = Field(default=1, ge=1)
    checkpoint_every: int = Field(default=1, ge=1)
    images_every: int = Field(default=5, ge=1)


def run_trial(
    run: RunFolder,
    name: str,
    *,
    session: str,
    saving: SavingConfig,
    until_epoch: int | None = None,
    on_epoch: Callable[[EpochRecord], None] = lambda _record: None,
) -> bool:
    """Distil one trial of a run folder, going on from its newest readable checkpoint.

    Every epoch is recorded before `on_epoch` hears of it, and before its checkpoint is written.
    Where there is no space, checkpoints and pictures are given up, with a word in the status.
    After the last epoch the student and the state `complete` are on disk before `on_epoch`.

    Args:
        run: the run folder, with a teacher and this trial's configuration.
        name: the trial.
        session: the start of the command that this process belongs to.
        saving: how often to evaluate, checkpoint and keep images.
        until_epoch: after which the trial pauses, with a checkpoint; None: it trains to its end.
        on_epoch: told after each epoch; may raise to end the trial.

    Returns:
        Whether it has trained its whole budget; else it paused.

    Raises:
        DivergedError: after recording it, if training became non-finite.
        CollapsedError: after recording it, if the synthesis collapsed and that is to end a trial.
        SupersededError: if another start of the command took the folder over.
        DiskFullError: if there is no space for the records or the student.
        StorageGoneError: if the storage has gone for minutes.
        OutOfGpuMemoryError: after recording it, with what was reserved.
        OutOfMemoryError: after recording it.
    """
    folder = run.trial_folder(name)
    try:
        _run_trial(run, folder, session, saving, until_epoch, on_epoch)
    except _PausedError:
        return False
    except (DivergedError, CollapsedError) as error:
        folder.set_status(
            "diverged" if isinstance(error, DivergedError) else "collapsed",
            reason=str(error),
            error=error_record(error).model_copy(update={"traceback": ""}),
        )
        raise
    except (SupersededError, CannotRecordError):
        # Nothing can be recorded, or may be; the trial goes on when the command is given again.
        raise
    except Exception as error:
        told = as_memory_error(error, torch.device(folder.trial().device))
        if told is not error:
            told.__cause__ = error
        folder.set_status("running", reason="ended by an error", error=error_record(told))
        if told is error:
            raise
        raise told from error
    return True


def _run_trial(
    run: RunFolder,
    folder: TrialFolder,
    session: str,
    saving: SavingConfig,
    until_epoch: int | None,
    on_epoch: Callable[[EpochRecord], None],
) -> None:
    record = folder.trial()
    config = DistillationConfig.model_validate(record.configuration)
    card = run.teacher_card()
    if card is None:
        raise RunFolderError(f"{run.path} has no teacher; run the command again to prepare it")
    benchmark, objective = run_benchmark(run), run_objective(run)
    device = torch.device(record.device)
    torch.set_num_threads(record.threads)
    reset_peak_memory(device)
    teacher = load_network(card_network(card), benchmark.inputs, run.teacher_weights)
    evaluate = trial_scores(run, teacher, benchmark, objective, device)
    store = CheckpointStore(folder.checkpoints, configuration_hash(config))
    restored = store.load_newest()
    if restored.state is None and record.parent is not None:
        raise CheckpointError(
            f"{folder.path} begins from {record.parent.trial} at epoch {record.parent.epoch}, and "
            f"no checkpoint of it can be read; its configuration alone is not this trial"
        )
    _note_restore(folder, session, restored.epoch, restored.passed_over)
    total_epochs = config.schedule.total_epochs

    def report(progress: Progress) -> None:
        if run.run().session != session:
            raise SupersededError(f"{run.path} is owned by another start of the command now")
        epoch, last = progress.epoch, progress.epoch == total_epochs
        row = _epoch_record(progress, objective.key, total_epochs, session, device)
        append_record(folder.metrics_file, row)
        if last or epoch == 1 or epoch % saving.images_every == 0:
            grid = folder.images / f"epoch_{epoch:06d}.png"
            _if_there_is_space(folder, lambda: _write_grid(grid, progress))
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
        elif epoch % saving.checkpoint_every == 0 or epoch == until_epoch:
            _if_there_is_space(folder, lambda: store.save(epoch, progress.state()))
        on_epoch(row)
        if epoch == until_epoch and not last:
            folder.set_status("running", reason=PAUSED, paused_at=epoch)
            raise _PausedError

    distil(
        config,
        teacher,
        benchmark.inputs,
        device=device,
        evaluate=evaluate,
        evaluate_every=saving.evaluate_every,
        report=report,
        restore=restored.state,
        teacher_stages=card.stages,
    )


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
    )


def _write_grid(path: Path, progress: Progress) -> None:
    buffer = io.BytesIO()
    image_grid(progress.pictures(GRID_ROWS, GRID_SEED)).save(buffer, "PNG")
    write_bytes_atomically(path, buffer.getvalue())
