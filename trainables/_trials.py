"""Trials, from their folders: plain functions that a search, a command or a test can call."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing

import torch

from dfkd_tune.benchmarks import Benchmark, BenchmarkConfig, open_benchmark
from dfkd_tune.classifiers import (
    NetworkConfig,
    build_classifier,
    measure_latency,
    network_size,
)
from dfkd_tune.distillation import Progress, distil, distil_together
from dfkd_tune.errors import CannotRecordError, RunFolderError
from dfkd_tune.inputs import InputSpecification
from dfkd_tune.records import FINAL_STATES, EpochRecord, NetworkSize, RunFolder, TrialFolder
from trainables._machine import reset_peak_memory
from trainables._objectives import SEARCH_OBJECTIVES, SearchObjective, trial_scores
from trainables._recording import (
    PAUSED,
    SavingConfig,
    SupersededError,
    TrialRecorder,
    record_end,
)
from trainables._teachers import card_network, load_network


class _PausedError(Exception):
    """Ends a trial's process where it has trained as far as it was to, for now."""


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
        setting = _Setting(run, folder)
        with closing(TrialRecorder(run, name, session, saving, setting.objective)) as recorder:
            _train(setting, recorder, saving, until_epoch, on_epoch)
    except _PausedError:
        return False
    except (SupersededError, CannotRecordError):
        # Nothing can be recorded, or may be; the trial goes on when the command is given again.
        raise
    except Exception as error:
        told = record_end(folder, error)
        if told is error:
            raise
        raise told from error
    return True


def _train(
    setting: "_Setting",
    recorder: TrialRecorder,
    saving: SavingConfig,
    until_epoch: int | None,
    on_epoch: Callable[[EpochRecord], None],
) -> None:
    """Train a trial, alone."""
    recorder.begin()

    def report(progress: Progress) -> None:
        on_epoch(recorder.record(progress, until_epoch=until_epoch))
        last = progress.epoch == recorder.config.schedule.total_epochs
        if progress.epoch == until_epoch and not last:
            recorder.folder.set_status("running", reason=PAUSED, paused_at=until_epoch)
            raise _PausedError

    distil(
        recorder.config,
        setting.teacher,
        setting.benchmark.inputs,
        device=setting.device,
        evaluate=setting.evaluate,
        evaluate_every=saving.evaluate_every,
        report=report,
        restore=recorder.restored.state,
        teacher_stages=setting.stages,
    )


def run_cohort(
    run: RunFolder,
    names: Sequence[str],
    *,
    session: str,
    saving: SavingConfig,
    on_epochs: Callable[[Mapping[str, EpochRecord]], None] = lambda _records: None,
) -> None:
    """Distil trials that share their images, together, each as `run_trial` would.

    Those whose newest checkpoints are of different epochs train in groups, one after another. A
    trial that an error ends leaves the others alone: its status says why. So does one that the
    search has stopped: it leaves once its status says so.

    Args:
        run: the run folder, with a teacher and the trials' configurations.
        names: of the trials, all with the same `shared_part`; those that have ended are passed
            over.
        session: the start of the command that this process belongs to.
        saving: how often to evaluate, checkpoint and keep images.
        on_epochs: told after each epoch of all, by name; may stop trials.

    Raises:
        SupersededError: if another start of the command took the folder over.
        DiskFullError: if there is no space for the records or the students.
        StorageGoneError: if the storage has gone for minutes.
    """
    folders = [run.trial_folder(name) for name in names]
    open_folders = [folder for folder in folders if folder.status().state not in FINAL_STATES]
    if not open_folders:
        return
    setting = _Setting(run, open_folders[0])
    groups: dict[int, list[TrialRecorder]] = {}
    for folder in open_folders:
        recorder = TrialRecorder(run, folder.name, session, saving, setting.objective)
        groups.setdefault(recorder.restored.epoch, []).append(recorder)
    for _, group in sorted(groups.items()):
        if len(group) > 1:
            for recorder in group:
                recorder.cohort = group[0].folder.name
        with ExitStack() as stack:
            for recorder in group:
                stack.enter_context(closing(recorder))
            _train_together(setting, group, saving, on_epochs)


def _train_together(
    setting: "_Setting",
    group: Sequence[TrialRecorder],
    saving: SavingConfig,
    on_epochs: Callable[[Mapping[str, EpochRecord]], None],
) -> None:
    """Train trials that go on from the same epoch."""
    rows: dict[str, EpochRecord] = {}
    for recorder in group:
        recorder.begin()

    def report(index: int, progress: Progress) -> None:
        rows[group[index].folder.name] = group[index].record(progress)

    def left(index: int, error: Exception) -> None:
        if isinstance(error, SupersededError | CannotRecordError):
            raise error
        record_end(group[index].folder, error)

    def stopped() -> list[int]:
        on_epochs(dict(rows))
        rows.clear()
        states = [recorder.folder.status().state for recorder in group]
        return [index for index, state in enumerate(states) if state in FINAL_STATES]

    states = [recorder.restored.state for recorder in group]
    distil_together(
        [recorder.config for recorder in group],
        setting.teacher,
        setting.benchmark.inputs,
        device=setting.device,
        evaluate=setting.evaluate,
        evaluate_every=saving.evaluate_every,
        report=report,
        left=left,
        stopped=stopped,
        restore=None if states[0] is None else [state for state in states if state is not None],
        teacher_stages=setting.stages,
    )


class _Setting:
    """What a trial needs beside itself: teacher, images for evaluation, device.

    Args:
        run: the run folder.
        folder: the trial, or one of those that share all this.

    Raises:
        RunFolderError: if the run has no teacher.
    """

    def __init__(self, run: RunFolder, folder: TrialFolder) -> None:
        record, card = folder.trial(), run.teacher_card()
        if card is None:
            raise RunFolderError(f"{run.path} has no teacher; run the command again to prepare it")
        self.benchmark, self.objective = run_benchmark(run), run_objective(run)
        self.device, self.stages = torch.device(record.device), card.stages
        torch.set_num_threads(record.threads)
        reset_peak_memory(self.device)
        self.teacher = load_network(card_network(card), self.benchmark.inputs, run.teacher_weights)
        self.evaluate = trial_scores(run, self.teacher, self.benchmark, self.objective, self.device)
