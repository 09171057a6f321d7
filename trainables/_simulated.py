"""A trial that trains nothing: its values come from recorded learning curves."""

from collections.abc import Iterator

from dfkd_tune.checkpoints import CheckpointStore
from dfkd_tune.distillation import DistillationConfig, configuration_hash
from dfkd_tune.records import EpochRecord, RunFolder, Seconds, append_record, now
from trainables._curves import RecordedCurve
from trainables._recording import PAUSED, SupersededError


def simulate_trial(
    run: RunFolder,
    name: str,
    *,
    session: str,
    curve: RecordedCurve,
    until_epoch: int | None = None,
) -> Iterator[EpochRecord]:
    """Record a trial of a run folder as if it were trained, going on after its last epoch.

    Args:
        run: the run folder.
        name: the trial.
        session: the start of the command that this process belongs to.
        curve: that it follows; one that took over the weights of another trial follows it from
            where that was, as if it had been trained so from the start.
        until_epoch: after which it pauses, with a checkpoint; None: it goes on to its end.

    Yields:
        Every epoch once it is recorded; the last one with the trial complete or paused.

    Raises:
        SupersededError: if another start of the command took the folder over.
    """
    folder = run.trial_folder(name)
    record = folder.trial()
    config = DistillationConfig.model_validate(record.configuration)
    schedule = config.schedule
    seconds = curve.seconds / schedule.total_epochs
    folder.set_status("running", reason="simulated")
    per_epoch = schedule.iterations_per_epoch * schedule.student_steps
    inherited = 0 if record.parent is None else record.parent.epoch
    known = max((epoch.epoch for epoch in folder.epochs()), default=inherited)
    for epoch in range(known + 1, schedule.total_epochs + 1):
        if run.run().session != session:
            raise SupersededError(f"{run.path} is owned by another start of the command now")
        steps = max(0, epoch - schedule.generator_epochs) * per_epoch
        row = EpochRecord(
            epoch=epoch,
            total_epochs=schedule.total_epochs,
            stage="alternating" if steps else "generator",
            student_steps=steps,
            generator_steps=epoch,
            value=curve.at(steps / schedule.total_student_steps),
            validation={},
            losses={},
            learning_rates={},
            seconds=Seconds(synthesis=0, student=seconds, evaluation=0, total=seconds),
            images_per_second=0,
            peak_memory_mib=0,
            session=session,
            time=now(),
        )
        append_record(folder.metrics_file, row)
        if epoch == schedule.total_epochs:
            folder.set_status("complete", reason="simulated its whole budget", error=None)
        elif epoch == until_epoch:
            store = CheckpointStore(folder.checkpoints, configuration_hash(config))
            store.save(epoch, {"epoch": epoch})
            folder.set_status("running", reason=PAUSED, paused_at=epoch)
        yield row
        if epoch == until_epoch:
            return
