"""One distillation outside a search: the same trial, without Ray."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dfkd_tune.distillation import DistillationConfig, configuration_hash
from dfkd_tune.errors import (
    CannotRecordError,
    CollapsedError,
    DfkdTuneError,
    DivergedError,
    ResourceError,
    RunFolderError,
)
from dfkd_tune.records import (
    LOST_STATES,
    AuditCard,
    EpochRecord,
    RunFolder,
    TeacherCard,
    TrialFolder,
    TrialRecord,
    now,
    read_record,
    write_record,
)
from dfkd_tune.sweeps._allot_here import allot_here
from dfkd_tune.sweeps._experiment import ResolvedExperiment
from dfkd_tune.sweeps._folder import (
    Resume,
    begin,
    check_resume,
    check_writable,
    owned,
    set_run_state,
)
from dfkd_tune.sweeps._machine import gpu_count
from dfkd_tune.sweeps._selection import best_complete_trial
from trainables import (
    Audit,
    SavingConfig,
    Teacher,
    copy_audit,
    copy_teacher,
    run_trial,
    student_size,
)

TRIAL = "t0000"


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What is to be distilled, and where.

    Args:
        name: of the run folder to write.
        storage: folder that holds it.
        trial: the trial's record.
        experiment: what `experiment.json` will hold.
        identity: hash that the run folder must keep.
        saving: how often to evaluate and save.
        teacher: gives the teacher, training it where it must.
        audit: puts the audit set into the run folder, where the search objective needs one.
        original: the trial of a sweep that this one repeats, if any.
    """

    name: str
    storage: Path
    trial: TrialRecord
    experiment: dict[str, object]
    identity: str
    saving: SavingConfig
    teacher: Callable[[], Teacher]
    audit: Callable[[RunFolder], None] = lambda _run: None
    original: Path | None = None


def assignment_from_experiment(
    resolved: ResolvedExperiment,
    name: str | None,
    teacher: Callable[[], Teacher],
    audit: Callable[[RunFolder], None],
) -> Assignment:
    """Distil the experiment's recipe with its settings; nothing is searched."""
    experiment = resolved.experiment
    allotment = allot_here(resolved)
    return Assignment(
        name=name or f"{experiment.name}-recipe",
        storage=experiment.storage.absolute(),
        trial=TrialRecord(
            trial=TRIAL,
            number=0,
            origin="recipe",
            parameters={},
            configuration=resolved.base.model_dump(mode="json"),
            student_size=student_size(
                resolved.base.student, resolved.benchmark.inputs, threads=allotment.cpus
            ),
            total_student_steps=resolved.base.schedule.total_student_steps,
            threads=allotment.cpus,
            device=allotment.device,
            created=now(),
        ),
        experiment=resolved.record(),
        identity=f"{resolved.identity_hash()}-recipe",
        saving=experiment.saving,
        teacher=teacher,
        audit=audit,
    )


def assignment_from_run(
    run: RunFolder, trial: str | None, name: str | None, storage: Path | None
) -> Assignment:
    """Repeat a trial of a run: the selected one where none is named.

    Raises:
        RunFolderError: if there is no such trial, or none to choose.
    """
    if trial is None:
        selection = run.selection()
        best = best_complete_trial(run)
        if selection is not None:
            trial = selection.trial
        elif best is not None:
            trial = best.folder.name
        else:
            raise RunFolderError(f"{run.path} has no complete trial yet; name one with --trial")
    folder = run.trial_folder(trial)
    if not folder.trial_file.exists():
        known = [f.name for f in run.trial_folders()]
        span = f"it has {known[0]} to {known[-1]}" if known else "it has none"
        raise RunFolderError(f"{run.path} has no trial '{trial}'; {span}")
    record = folder.trial()
    if record.parent is not None:
        raise RunFolderError(
            f"{folder.path} took over the weights of {record.parent.trial} at "
            f"{record.parent.student_steps} student steps, so that its configuration alone does "
            f"not give it again; name a trial without a parent, or put the settings of its "
            f"trial.json into an experiment file to train them from the start"
        )
    if record.device != "cpu" and not gpu_count():
        raise ResourceError(
            f"{folder.path} was distilled on a GPU and this machine has none; repeat it on one "
            f"that has, or distil its experiment here"
        )
    config = DistillationConfig.model_validate(record.configuration)
    experiment = run.experiment()
    card = read_record(run.teacher_card_file, TeacherCard)
    saving = SavingConfig.model_validate(experiment.get("saving", {}))

    return Assignment(
        name=name or f"{run.path.name}-{trial}",
        storage=(storage or run.path.parent).absolute(),
        trial=record.model_copy(
            update={"trial": TRIAL, "number": 0, "origin": "given", "created": now()}
        ),
        experiment=experiment,
        identity=f"{configuration_hash(config)}-{card.weights_sha256[:16]}",
        saving=saving,
        teacher=lambda: Teacher(card=card, weights=run.teacher_weights),
        audit=lambda new: _same_audit(run, new),
        original=folder.path,
    )


def _same_audit(run: RunFolder, new: RunFolder) -> None:
    """Score the repetition on the audit set of the original, where that has one."""
    if run.audit_card_file.exists():
        card = read_record(run.audit_card_file, AuditCard)
        audit = Audit(card=card, images=run.audit_images)
        copy_audit(audit, new.audit_card_file, new.audit_images)


def run_distillation(
    assignment: Assignment,
    *,
    command: str,
    resume: Resume = "auto",
    on_epoch: Callable[[EpochRecord], None],
) -> RunFolder:
    """Distil, or go on with it.

    Args:
        assignment: what and where.
        command: as typed, for the records.
        resume: whether to go on with a run of the same name.
        on_epoch: told after each epoch.

    Raises:
        DivergedError: if training became non-finite.
        CollapsedError: if the synthesis collapsed and that is to end a trial.
        DfkdTuneError: for whatever a person must mend first.
    """
    check_writable(assignment.storage)
    path = assignment.storage / assignment.name
    check_resume(path, assignment.identity, "distill", resume)
    teacher = assignment.teacher()
    with owned(path):
        run, session = begin(
            path,
            assignment.experiment,
            "distill",
            command,
            identity=assignment.identity,
            name=assignment.name,
        )
        copy_teacher(teacher, run.teacher_card_file, run.teacher_weights)
        assignment.audit(run)
        trial = run.trial_folder(TRIAL)
        if not trial.trial_file.exists():
            trial.set_status("running", reason="waiting to start")
            write_record(trial.trial_file, assignment.trial)
        status = trial.status()
        if status.state == "complete":
            set_run_state(run, "complete", "one trial")
            return run
        if status.state in LOST_STATES:
            set_run_state(run, "complete", status.reason)
            raise DfkdTuneError(f"{trial.path} had {status.state} already: {status.reason}")
        try:
            run_trial(run, TRIAL, session=session, saving=assignment.saving, on_epoch=on_epoch)
        except KeyboardInterrupt:
            trial.set_status("interrupted", reason="goes on when the command is given again")
            set_run_state(run, "interrupted", "ended by a person; the same command goes on")
            raise
        except (DivergedError, CollapsedError) as error:
            set_run_state(run, "complete", str(error))
            raise
        except CannotRecordError as error:
            with suppress(CannotRecordError):
                set_run_state(run, "interrupted", str(error))
            raise
        except Exception as error:
            trial.set_status("failed", reason=f"{type(error).__name__}: {error}")
            set_run_state(run, "failed", f"{type(error).__name__}: {error}")
            raise
        set_run_state(run, "complete", "one trial")
        return run


def first_difference(run: RunFolder, original: Path) -> str | None:
    """Compare a repeated trial's metrics with the original's, digit for digit.

    Args:
        run: the repetition.
        original: folder of the trial that was repeated.

    Returns:
        What differs first; None where every metric of every epoch of the original is equal.
    """
    repeated = {epoch.epoch: epoch for epoch in run.trial_folder(TRIAL).epochs()}
    for epoch in TrialFolder(original).epochs():
        other = repeated.get(epoch.epoch)
        if other is None:
            return f"epoch {epoch.epoch} is missing"
        for field in ("student_steps", "losses", "value", "validation", "class_entropy"):
            before, after = getattr(epoch, field), getattr(other, field)
            if before != after:
                return f"epoch {epoch.epoch}, {field}: {before} became {after}"
    return None
