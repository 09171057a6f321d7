"""The yardsticks of a finished run: its student's network, trained on the real images."""

from rich.console import Console

from dfkd_tune.classifiers import TrainingProgress
from dfkd_tune.distillation import DistillationConfig
from dfkd_tune.errors import RunFolderError, UsageError
from dfkd_tune.records import RunFolder, YardsticksRecord, now, write_record
from dfkd_tune.sweeps._epochs import epoch_progress
from dfkd_tune.sweeps._folder import check_writable, owned
from dfkd_tune.sweeps._preparation import best_device
from trainables import (
    YARDSTICKS,
    Teacher,
    Yardstick,
    prepare_yardstick,
    run_benchmark,
    yardstick_recipe,
)


def measure_yardsticks(run: RunFolder, console: Console) -> YardsticksRecord:
    """Train the selected student's network on the real images, alone and by ordinary distillation.

    Both have the training of the teacher, and are kept in the storage's cache, so that the same
    command goes on where it was ended.

    Args:
        run: complete, on labelled data.
        console: where to show how it goes.

    Raises:
        RunFolderError: if the run has selected no student yet.
        UsageError: if its data have no labels.
    """
    selection, card = run.selection(), run.teacher_card()
    if selection is None or card is None:
        raise RunFolderError(
            f"{run.path} has no selected student yet; let the sweep end, then measure it"
        )
    benchmark = run_benchmark(run)
    if benchmark.data != "labelled":
        raise UsageError(
            f"{run.path} has no labelled images, so nothing can be trained on them; yardsticks "
            f"need benchmark.labelled or a benchmark of ours"
        )
    record = run.trial_folder(selection.trial).trial()
    student = DistillationConfig.model_validate(record.configuration).student
    teacher = Teacher(card=card, weights=run.teacher_weights)
    recipe = yardstick_recipe(teacher, benchmark)
    cache = run.path.parent / "yardsticks"
    check_writable(cache)
    made: dict[Yardstick, Teacher] = {}
    with owned(run.path), epoch_progress(console) as show:
        for kind, words in YARDSTICKS.items():

            def say(told: TrainingProgress, words: str = words) -> None:
                text = f"{words}, epoch {told.epoch} of {told.epochs}"
                show(told.epoch, told.epochs, f"{text}, loss {told.loss:.3f}")

            made[kind] = prepare_yardstick(
                kind, benchmark, student, teacher, recipe, cache, device=best_device(), progress=say
            )
        found = YardsticksRecord(
            trial=selection.trial, real=made["real"].card, kd=made["kd"].card, time=now()
        )
        write_record(run.yardsticks_file, found)
    return found
