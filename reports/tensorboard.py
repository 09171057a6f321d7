"""TensorBoard event files of a run: its records once more, in TensorBoard's own form."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from PIL import Image

from dfkd_tune.errors import StorageError, UsageError
from dfkd_tune.records import EpochRecord, write_bytes_atomically
from reports.collect import RunData, TrialData, collect_run

WRITTEN_BY = ".dfkd-tune"


@dataclass(frozen=True, kw_only=True)
class EventFiles:
    """What was exported.

    Args:
        folder: of the run's event files; TensorBoard's `--logdir` is this one or the one above.
        trials: with an event file each.
        epochs: of all trials together.
    """

    folder: Path
    trials: int
    epochs: int


def export_tensorboard(run: Path, output: Path) -> EventFiles:
    """Write the records of a run as TensorBoard event files, one per trial.

    May be done at any time and again: the same records give the same bytes, and new epochs are
    added at the end of a file, where a running TensorBoard finds them.

    Args:
        run: the run folder, which is only read.
        output: folder to write to; the files come to lie in `output/<run>/<trial>/`.

    Raises:
        RunFolderError: if the path is no run folder of a known version.
        UsageError: if the output would lie in the run folder.
        StorageError: if the output cannot be written.
    """
    data = collect_run(run)
    folder = output / data.run.name
    if run.resolve() in (folder.resolve(), *folder.resolve().parents):
        raise UsageError(
            f"{folder} lies in the run folder itself, which holds records only; "
            f"give another folder to export to"
        )
    name = f"events.out.tfevents.{int(_seconds(data.run.created))}{WRITTEN_BY}"
    written = []
    for trial in data.trials:
        written.append(folder / trial.name / name)
        _replace_or_extend(written[-1], _event_file(data, trial))
    # Of an earlier run of this name.
    for old in set(folder.glob(f"*/events.out.tfevents.*{WRITTEN_BY}")) - set(written):
        old.unlink(missing_ok=True)
    epochs = sum(len(trial.epochs) for trial in data.trials)
    return EventFiles(folder=folder, trials=len(written), epochs=epochs)


def _replace_or_extend(path: Path, content: bytes) -> None:
    """Make a file hold this; by adding to it where it holds the beginning already."""
    try:
        old = path.read_bytes() if path.exists() else b""
        if old and content.startswith(old):
            with path.open("ab") as file:
                file.write(content[len(old) :])
            return
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error
    write_bytes_atomically(path, content)


def _event_file(run: RunData, trial: TrialData) -> bytes:
    # It loads PyTorch, for which no other report should wait.
    from tensorboardX import RecordWriter
    from tensorboardX.proto.event_pb2 import Event

    began = _seconds(run.run.created)
    with tempfile.TemporaryDirectory(prefix="dfkd-events-") as folder:
        path = Path(folder) / "events"
        writer = RecordWriter(str(path))
        writer.write(Event(wall_time=began, file_version="brain.Event:2").SerializeToString())
        for summary, epoch in _summaries(trial):
            moment = began if epoch is None else _seconds(epoch.time)
            step = 0 if epoch is None else epoch.epoch
            event = Event(wall_time=moment, step=step, summary=summary)
            # A mapping within would come in any order.
            writer.write(event.SerializeToString(deterministic=True))
        writer.close()
        return path.read_bytes()


def _summaries(trial: TrialData) -> Iterator[tuple[Any, EpochRecord | None]]:
    """What is shown of a trial, in the order of time; None in place of an epoch: of it all."""
    from tensorboardX import summary

    known = {} if trial.trial is None else trial.trial.parameters
    experiment, beginning, ending = summary.hparams(dict(known), {"value": 0.0})
    if known:
        yield experiment, None
        yield beginning, None
    for epoch in trial.epochs:
        for tag, value in scalars(epoch).items():
            yield summary.scalar(tag, value), epoch
        picture = trial.image_grids.get(epoch.epoch)
        if picture is not None:
            yield _image(picture), epoch
    if known and trial.state == "complete":
        yield ending, trial.epochs[-1] if trial.epochs else None


def scalars(epoch: EpochRecord) -> dict[str, float]:
    """The numbers of an epoch by tag, such as `validation/accuracy`; those that it has."""
    found: dict[str, float | None] = {
        "value": epoch.value,
        "student_steps": epoch.student_steps,
        "generator_steps": epoch.generator_steps,
        "class_entropy": epoch.class_entropy,
        "feature_distance": epoch.feature_distance,
        "kept_agreement": epoch.kept_agreement,
        "images_per_second": epoch.images_per_second,
        "peak_memory_mib": epoch.peak_memory_mib,
    }
    groups = {
        "validation": epoch.validation,
        "losses": epoch.losses,
        "learning_rates": epoch.learning_rates,
        "seconds": epoch.seconds.model_dump(),
    }
    for group, values in groups.items():
        found |= {f"{group}/{name}": value for name, value in values.items()}
    return {tag: float(value) for tag, value in found.items() if value is not None}


def _image(path: Path) -> Any:
    from tensorboardX.proto.summary_pb2 import Summary

    with Image.open(path) as image:
        width, height, channels = *image.size, len(image.getbands())
    picture = Summary.Image(
        width=width,
        height=height,
        colorspace=channels,
        encoded_image_string=path.read_bytes(),
    )
    return Summary(value=[Summary.Value(tag="synthetic_images", image=picture)])


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
