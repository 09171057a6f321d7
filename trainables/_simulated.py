"""A trial that trains nothing: its values come from recorded learning curves."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dfkd_tune.distillation import DistillationConfig
from dfkd_tune.records import EpochRecord, RunFolder, Seconds, append_record, now
from trainables._curves import CurveModel, read_curves
from trainables._ray import BUDGET, VALUE
from trainables._trials import SupersededError


def seconds_per_epoch(run: RunFolder, name: str, model: CurveModel) -> float:
    """How long each epoch of a simulated trial would take."""
    record = run.trial_folder(name).trial()
    schedule = DistillationConfig.model_validate(record.configuration).schedule
    return model.seconds(record.parameters) / schedule.total_epochs


def simulate_trial(
    run: RunFolder, name: str, *, session: str, model: CurveModel
) -> Iterator[EpochRecord]:
    """Record a trial of a run folder as if it were trained, going on after its last epoch.

    Args:
        run: the run folder.
        name: the trial.
        session: the start of the command that this process belongs to.
        model: gives its values.

    Yields:
        Every epoch once it is recorded; the last one with the trial complete.

    Raises:
        SupersededError: if another start of the command took the folder over.
    """
    folder = run.trial_folder(name)
    record = folder.trial()
    schedule = DistillationConfig.model_validate(record.configuration).schedule
    seconds = seconds_per_epoch(run, name, model)
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
            value=model.predict(record.parameters, steps / schedule.total_student_steps),
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


def simulated_trial(config: dict[str, Any]) -> None:
    """Run one simulated trial inside Ray Tune.

    Args:
        config: `run`: path of the run folder; `trial`: name; `session`: id; `space`: the search
            space; `curves`: path of recorded curves; `pause`: seconds after each epoch.
    """
    from ray import tune

    run, model = (
        RunFolder(Path(config["run"])),
        CurveModel(config["space"], read_curves(Path(config["curves"]))),
    )
    try:
        for row in simulate_trial(run, config["trial"], session=config["session"], model=model):
            time.sleep(config["pause"])
            if row.student_steps > 0:
                told = {BUDGET: row.student_steps, "epoch": row.epoch, VALUE: row.value}
                tune.report({**told, "lost": False})
    except SupersededError:
        return
