"""Run folders made by hand, for tests of what is read from them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dfkd_tune.records import (
    EpochRecord,
    RunFolder,
    RunRecord,
    Seconds,
    TrialFolder,
    TrialState,
    append_record,
    now,
    write_record,
)

START = datetime(2026, 1, 1, tzinfo=UTC)


def empty_run(path: Path, session: str = "s") -> RunFolder:
    """A run folder without trials."""
    run = RunFolder(path)
    write_record(
        run.run_file,
        RunRecord(
            kind="sweep",
            name=path.name,
            state="running",
            experiment_hash="h",
            created=now(),
            updated=now(),
            session=session,
        ),
    )
    return run


def add_epochs(
    folder: TrialFolder, values: Sequence[float], steps_per_epoch: int, begins_at: float = 0.0
) -> None:
    """Record epochs with these values of the search objective, one second apart."""
    known = len(folder.epochs())
    for index, value in enumerate(values, start=known + 1):
        append_record(
            folder.metrics_file,
            EpochRecord(
                epoch=index,
                total_epochs=99,
                stage="alternating",
                student_steps=index * steps_per_epoch,
                generator_steps=index,
                value=value,
                validation={"accuracy": value, "agreement": value, "kl": 1.0},
                losses={},
                learning_rates={},
                seconds=Seconds(synthesis=0, student=0, evaluation=0, total=1),
                images_per_second=1,
                peak_memory_mib=1,
                session="s",
                time=(START + timedelta(seconds=begins_at + index)).isoformat(
                    timespec="milliseconds"
                ),
            ),
        )


def end(folder: TrialFolder, state: TrialState) -> None:
    """Give a trial a state."""
    folder.set_status(state, reason="by a test")
