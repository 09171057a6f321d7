"""A run folder in which one trial waits."""

from pathlib import Path
from typing import Any

import pytest
import torch
from run_folders import empty_run

from dfkd_tune.records import RunFolder, TrialRecord, now, write_json, write_record
from dfkd_tune.sweeps import resolve_experiment
from trainables import TeacherConfig, copy_teacher, prepare_teacher, student_size


@pytest.fixture
def run(tiny: dict[str, Any], storage: Path) -> RunFolder:
    """A run folder with a teacher and one waiting trial."""
    resolved = resolve_experiment(tiny, "tiny")
    run = empty_run(storage / "run", session="mine")
    write_json(run.experiment_file, resolved.record())
    teacher = prepare_teacher(
        resolved.benchmark,
        TeacherConfig.model_validate(tiny["teacher"]),
        storage / "teachers",
        device=torch.device("cpu"),
    )
    copy_teacher(teacher, run.teacher_card_file, run.teacher_weights)
    folder = run.trial_folder("t0000")
    folder.set_status("running", reason="waiting to start")
    write_record(
        folder.trial_file,
        TrialRecord(
            trial="t0000",
            number=0,
            origin="recipe",
            parameters={},
            configuration=resolved.base.model_dump(mode="json"),
            student_size=student_size(resolved.base.student, resolved.benchmark.inputs),
            total_student_steps=36,
            threads=1,
            device="cpu",
            created=now(),
        ),
    )
    return run
