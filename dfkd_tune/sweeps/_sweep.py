"""A sweep from start to verdict; the same call goes on where an earlier one was ended."""

import shutil
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Literal

import optuna
from rich.console import Console

from dfkd_tune.classifiers import file_sha256
from dfkd_tune.errors import CannotRecordError, RunFolderError
from dfkd_tune.records import FINAL_STATES, RunFolder
from dfkd_tune.sweeps._allot_here import allot_here, check_device
from dfkd_tune.sweeps._cluster import alive_nodes, allot_on_nodes, check_nodes, say_if_busy
from dfkd_tune.sweeps._experiment import ResolvedExperiment, seconds
from dfkd_tune.sweeps._folder import (
    Resume,
    begin,
    check_resume,
    check_writable,
    owned,
    set_run_state,
)
from dfkd_tune.sweeps._given import Comparison
from dfkd_tune.sweeps._gpu_probe import share_gpus
from dfkd_tune.sweeps._machine import Allotment, larger_share, usable_cpus
from dfkd_tune.sweeps._preparation import (
    ensure_audit,
    prepare_images,
    share_audit,
    teacher_on_cluster,
    teacher_with_progress,
)
from dfkd_tune.sweeps._ray import ray_cluster
from dfkd_tune.sweeps._selected_images import ensure_selected_images
from dfkd_tune.sweeps._selection import (
    best_complete_trial,
    ensure_pool,
    measure_all,
    select,
    select_confirmed,
)
from trainables import Teacher, copy_teacher, teacher_hash

if TYPE_CHECKING:
    from dfkd_tune.sweeps._stopping import Until

Ending = Literal["complete", "interrupted"]


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """How a sweep ended.

    Args:
        run: its folder.
        ending: complete, or interrupted by a person.
        failed: trials that failed.
        unfinished: trials that would go on if the command were given again.
    """

    run: RunFolder
    ending: Ending
    failed: int
    unfinished: int

    @property
    def exit_code(self) -> int:
        """0 all well, 3 some trials failed, 130 interrupted."""
        if self.ending == "interrupted":
            return 130
        return 3 if self.failed else 0


def run_sweep(
    resolved: ResolvedExperiment,
    *,
    command: str,
    console: Console,
    address: str | None = None,
    resume: Resume = "auto",
    retry_failed: bool = False,
    comparison: Comparison | None = None,
) -> SweepResult:
    """Run a sweep or a comparison, or go on with it.

    Args:
        resolved: the checked experiment.
        command: as typed, for the records.
        console: where to show progress.
        address: of a Ray cluster; a local one is started where None.
        resume: whether to go on with a run of the same name.
        retry_failed: also try failed trials again.
        comparison: trials to run in place of a search.

    Raises:
        DfkdTuneError: for whatever a person must mend first.
    """
    experiment = resolved.experiment
    storage = experiment.storage.absolute()
    path = storage / experiment.name
    if address in (None, "local"):
        # Before anything is written or started: a request that cannot be met.
        allot_here(resolved)
    check_writable(storage)
    kind: Literal["sweep", "comparison"] = "sweep"
    identity, record = resolved.identity_hash(), resolved.record()
    if comparison is not None:
        kind, record = "comparison", {**record, "comparison": comparison.record()}
        identity = f"{identity}-{comparison.identity_hash()}"
    check_resume(path, identity, kind, resume)
    teacher = _own_teacher(RunFolder(path), resolved)
    source = comparison.source if comparison is not None else resolved.baseline_of
    if teacher is None and source is not None:
        # What is confirmed, or compared with, was searched with this one.
        teacher = _own_teacher(RunFolder(source), resolved)
    if teacher is None:
        teacher = _prepared_teacher(resolved, console, address)
        _check_same_teacher(RunFolder(path), teacher)
    else:
        prepare_images(resolved.benchmark, console)
    # An interrupt is caught from here on: the start of Ray, too, swallows one now and then.
    with owned(path), _interruptible() as interrupted:
        run, session = begin(
            path,
            record,
            kind,
            command,
            identity=identity,
            name=experiment.name,
        )
        if teacher.weights != run.teacher_weights:
            copy_teacher(teacher, run.teacher_card_file, run.teacher_weights)
        score = teacher.card.scores.get("validation")
        accuracy = score.accuracy if score else None
        known = (
            "no labels to measure it by"
            if accuracy is None
            else f"{100 * accuracy:.1f} % on validation"
        )
        console.print(
            f"teacher {teacher.card.architecture} x {teacher.card.width:g}: {known}",
            highlight=False,
            soft_wrap=True,
        )
        if resolved.objective.name == "data_free":
            audit, cache = experiment.search.audit, experiment.kept_in
            if source is not None:
                share_audit(RunFolder(source), run)
            ensure_audit(run, resolved.benchmark, audit, cache, console)
        try:
            work = _Work(
                run=run,
                resolved=resolved,
                comparison=comparison,
                session=session,
                console=console,
                teacher_accuracy=accuracy,
                interrupted=interrupted,
            )
            ending = _search(work, address, retry_failed)
            return _conclude(work, ending)
        except CannotRecordError as error:
            # Nobody reads Ray's scratch any more, and a state needs little space. Where that cannot
            # be written either, a report finds the run killed.
            shutil.rmtree(run.ray_path, ignore_errors=True)
            with suppress(CannotRecordError):
                _mark_interrupted(run)
                set_run_state(run, "interrupted", str(error))
            raise
        except KeyboardInterrupt:
            _mark_interrupted(run)
            set_run_state(run, "interrupted", "ended by a person; the same command goes on")
            raise
        except BaseException as error:
            set_run_state(run, "failed", f"{type(error).__name__}: {error}")
            raise


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What the parts of a running sweep share."""

    run: RunFolder
    resolved: ResolvedExperiment
    comparison: Comparison | None
    session: str
    console: Console
    teacher_accuracy: float | None
    interrupted: threading.Event

    @property
    def trials(self) -> int:
        """How many trials there are to be."""
        if self.comparison is not None:
            return len(self.comparison.trials)
        return self.resolved.experiment.search.trials


def _prepared_teacher(
    resolved: ResolvedExperiment, console: Console, address: str | None
) -> Teacher:
    """Train the teacher here, or on the cluster where there is one."""
    experiment = resolved.experiment
    cache = experiment.kept_in
    if address in (None, "local") or experiment.teacher.weights is not None:
        return teacher_with_progress(resolved.benchmark, experiment.teacher, cache, console)
    with ray_cluster(address, usable_cpus()):
        allotment = allot_on_nodes(experiment.resources, alive_nodes())
        check_nodes(cache, resolved.benchmark, console)
        return teacher_on_cluster(
            resolved.benchmark, experiment.teacher, cache, console, teacher_resources(allotment)
        )


def teacher_resources(allotment: Allotment) -> dict[str, float]:
    """What the training of the teacher gets, by Ray's names: as much as a trial."""
    resources: dict[str, float] = {"cpu": allotment.cpus}
    if allotment.gpus:
        resources["gpu"] = allotment.gpus
    return resources


def _own_teacher(run: RunFolder, resolved: ResolvedExperiment) -> Teacher | None:
    """The teacher that a run has already: all its trials must have the same one.

    Raises:
        RunFolderError: if the experiment's teacher is another one by now.
    """
    card = run.teacher_card()
    if card is None:
        return None
    if card.recipe_hash != teacher_hash(resolved.benchmark, resolved.experiment.teacher):
        raise RunFolderError(
            f"the teacher has changed since {run.path} was begun (its weights file, or its data); "
            f"put the old one back, or choose another --name"
        )
    if not run.teacher_weights.is_file() or file_sha256(run.teacher_weights) != card.weights_sha256:
        return None
    return Teacher(card=card, weights=run.teacher_weights)


def _check_same_teacher(run: RunFolder, teacher: Teacher) -> None:
    """Refuse to go on with a run whose teacher was lost and came out otherwise this time."""
    card = run.teacher_card()
    if card is not None and card.weights_sha256 != teacher.card.weights_sha256:
        raise RunFolderError(
            f"the teacher's weights in {run.path} are damaged, and training it again gave other "
            f"weights; put {run.teacher_weights} back from a copy, or choose another --name"
        )


def _mark_interrupted(run: RunFolder) -> None:
    for folder in run.trial_folders():
        if folder.status().state not in FINAL_STATES:
            folder.set_status("interrupted", reason="goes on when the sweep is resumed")


def _drop_checkpoints(run: RunFolder) -> None:
    """Remove the states from which no trial can go on any more; a failed one may be tried again."""
    for folder in run.trial_folders():
        if folder.status().state in FINAL_STATES - {"failed"}:
            shutil.rmtree(folder.checkpoints, ignore_errors=True)


def _conclude(work: _Work, ending: Ending) -> SweepResult:
    run, resolved = work.run, work.resolved
    _mark_interrupted(run)
    states = [folder.status().state for folder in run.trial_folders()]
    if ending == "interrupted":
        set_run_state(run, "interrupted", "ended by a person; the same command goes on")
    else:
        message = f"{len(states)} trials"
        if states.count("interrupted"):
            message += ", the time budget used up"
        if work.comparison is not None:
            # None is chosen by the test split, so all may meet it.
            measure_all(run, resolved.benchmark, work.console)
            if work.comparison.what == "confirmation":
                select_confirmed(run, resolved.objective, work.comparison.seeds, work.session)
        elif best_complete_trial(run) is None:
            message += "; none complete, so none selected"
        else:
            ensure_pool(run, resolved.benchmark, work.console)
            select(run, resolved.benchmark, resolved.objective, work.session)
        ensure_selected_images(run, resolved.benchmark, work.console)
        _drop_checkpoints(run)
        set_run_state(run, "complete", message)
    return SweepResult(
        run=run,
        ending=ending,
        failed=states.count("failed"),
        unfinished=states.count("interrupted"),
    )


def _search(work: _Work, address: str | None, retry_failed: bool) -> Ending:
    run, experiment = work.run, work.resolved.experiment
    if retry_failed:
        taken = run.places_taken()
        for folder in run.trial_folders():
            if folder.status().state == "failed" and folder.name not in taken:
                folder.set_status("running", reason="failed, to be tried again", error=None)
    done = [f for f in run.trial_folders() if f.status().state in FINAL_STATES]
    if len(done) >= work.trials and len(done) == len(run.trial_folders()):
        work.console.print("all trials have ended already", highlight=False)
        return "complete"
    with ray_cluster(address, usable_cpus()):
        # Imported once the environment that Ray reads is set.
        from dfkd_tune.sweeps._recorded_trials import short_of_memory
        from dfkd_tune.sweeps._stopping import Until

        nodes = alive_nodes()
        allotment = allot_on_nodes(experiment.resources, nodes)
        check_device(work.resolved, allotment)
        check_nodes(
            run.ray_path, work.resolved.benchmark, work.console, weights=run.teacher_weights
        )
        allotment = share_gpus(
            run,
            work.resolved,
            work.comparison,
            nodes,
            allotment,
            work.console,
            work.interrupted,
        )
        say_if_busy(allotment, work.console)
        until = Until(work.interrupted, seconds(experiment.search.time_budget))
        if not work.interrupted.is_set():
            _tune(work, allotment, until)
        larger, short = larger_share(allotment), short_of_memory(run)
        if larger is not None and short and not until.stop_all():
            work.console.print(
                f"{', '.join(short)} ran out of GPU memory: once more, {larger}",
                highlight=False,
                soft_wrap=True,
            )
            _tune(work, larger, until, larger=True)
        if until.storage_problem:
            raise CannotRecordError(until.storage_problem)
    return "interrupted" if work.interrupted.is_set() else "complete"


def _tune(work: _Work, allotment: Allotment, until: "Until", *, larger: bool = False) -> None:
    # Imported once the environment that Ray reads is set.
    from ray import tune

    from dfkd_tune.sweeps._population import PopulationSearch
    from dfkd_tune.sweeps._progress import ProgressCallback, SweepProgress
    from dfkd_tune.sweeps._recorded_trials import RecordedTrials, settle
    from dfkd_tune.sweeps._scheduler import RecordedScheduler, make_scheduler
    from dfkd_tune.sweeps._search import GivenTrials, RecordedSearch
    from trainables import distil_trial, requested_resources

    run, resolved, experiment = work.run, work.resolved, work.resolved.experiment
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    search: RecordedTrials
    if work.comparison is not None:
        # Every given trial trains its whole budget.
        scheduler = None
        given, steps = (
            work.comparison.trials,
            [trial.configuration.schedule.total_student_steps for trial in work.comparison.trials],
        )
        search = GivenTrials(run, resolved, work.session, allotment, given, larger=larger)
        budget = max(steps)
    else:
        scheduler = make_scheduler(resolved)
        budget = resolved.base.schedule.total_student_steps
        if isinstance(scheduler, RecordedScheduler):
            for name in scheduler.replay(run):
                settle(run.trial_folder(name), experiment.search.scheduler.name)
        if experiment.search.scheduler.name == "pbt":
            search = PopulationSearch(run, resolved, work.session, allotment)
        else:
            search = RecordedSearch(run, resolved, work.session, allotment, larger=larger)
        if isinstance(scheduler, RecordedScheduler):
            scheduler.stop_member = search.stop_member
    progress = SweepProgress.of(
        run,
        max(work.trials, len(run.founders())),
        budget,
        allotment.max_concurrent,
        work.teacher_accuracy if resolved.objective.name == "val_real" else None,
    )
    callback = ProgressCallback(progress, run, work.console)
    shutil.rmtree(run.ray_path, ignore_errors=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuner = tune.Tuner(
            tune.with_resources(distil_trial, requested_resources),
            tune_config=tune.TuneConfig(
                search_alg=search,
                scheduler=scheduler,
                num_samples=-1,
                max_concurrent_trials=allotment.max_concurrent,
                # A new process costs seconds of imports. A trial leaves no state in its process
                # but, on a GPU, memory: there each has its own.
                reuse_actors=allotment.device == "cpu",
            ),
            run_config=tune.RunConfig(
                name="ray",
                storage_path=str(run.path),
                stop=until,
                verbose=0,
                callbacks=[callback],
                failure_config=tune.FailureConfig(max_failures=experiment.resources.retries),
            ),
        )
        with callback.shown():
            tuner.fit()


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into an event; the second one interrupts as usual."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.getsignal(signal.SIGINT)

    def handle(_signum: int, _frame: FrameType | None) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, handle)
    terminate = signal.signal(signal.SIGTERM, handle)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGTERM, terminate)
