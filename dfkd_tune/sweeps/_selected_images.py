"""After the choice: what the selected trial's images are like, and where its student looks."""

from rich.console import Console

from dfkd_tune.benchmarks import Benchmark
from dfkd_tune.errors import DiskFullError, RunFolderError
from dfkd_tune.records import RunFolder, SelectedImagesRecord
from dfkd_tune.sweeps._preparation import best_device
from trainables import look_at_selected


def ensure_selected_images(run: RunFolder, benchmark: Benchmark, console: Console) -> None:
    """Look at the selected trial, unless that was done for this student already.

    No test image is looked at, so it can be done at any time, also for a run from before there
    was such a record. Where there is no space it is given up, as other pictures are.

    Args:
        run: the run; nothing is done for one without a selection.
        benchmark: its input, and its validation images where it has any.
        console: where to say that it was given up.
    """
    selection = run.selection()
    if selection is None:
        return
    before = _known(run)
    if before is not None and before.student_sha256 == selection.student_sha256:
        return
    try:
        look_at_selected(run, benchmark, selection.trial, selection.student_sha256, best_device())
    except DiskFullError as error:
        console.print(f"no pictures of {selection.trial}: {error}", highlight=False, soft_wrap=True)


def _known(run: RunFolder) -> SelectedImagesRecord | None:
    """What was recorded; None also where it is damaged or its pictures are not all there."""
    try:
        record = run.selected_images()
    except RunFolderError:
        return None
    if record is None:
        return None
    named = (record.attention, record.real_attention, record.closest)
    there = all((run.selected_path / each.file).is_file() for each in named if each is not None)
    return record if there else None
