"""A trial that trains nothing: its values come from recorded learning curves."""

from collections.abc import Iterator

from dfkd_tune.distillation import DistillationConfig
from dfkd_tune.records import EpochRecord, RunFolder, Seconds, append_record, now
from trainables._curves import RecordedCurve
from trainables._trials import SupersededError


def simulate_trial(
    run: RunFolder, name: str, *, session: str, curve: RecordedCurve
) -> Iterator[EpochRecord]:
    """Record a trial of a run folder as if it were trained, going on after its last epoch.

    Args:
        run: the run folder.
        name: the trial.
        session: the start of the command that this process belongs to.
        curve: that it follows.

    Yields:
        Every epoch once it is recorded; the last one with the trial complete.

    Raises:
        SupersededError: if another start of the command took the folder over.
    """
    folder = run.trial_folder(name)
    schedule = DistillationConfig.model_validate(folder.trial().configuration).schedule
    seconds = curve.seconds / schedule.total_epochs
    folder.set_status("running", reason="simulated")
    per_epoch = schedule.iterations_per_epoch * schedule.student_steps
    for epoch in range(len(folder.epochs()) + 1, schedule.total_epochs + 1):
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
        yield row
