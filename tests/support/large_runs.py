"""Run folders with many trials and epochs, written quickly, to measure the report by."""

import math
import random
from pathlib import Path

from dfkd_tune.records import (
    EpochRecord,
    NetworkSize,
    RunFolder,
    RunRecord,
    Seconds,
    SelectionRecord,
    SplitScore,
    StatusRecord,
    TeacherCard,
    TestOutcome,
    TrialRecord,
    write_json,
    write_record,
)

STEPS = 80
TERMS = (
    "generator/preset_label",
    "generator/bn_statistics",
    "generator/information_entropy",
    "generator/adversarial",
    "student/kd",
    "student/preset_label",
)
WIDTHS = (0.25, 0.5, 1.0)
WEIGHTS = (
    *(f"generator_objective.{name}.weight" for name in "abcde"),
    *(f"student_objective.{name}.weight" for name in "fghij"),
)


def write_large_run(path: Path, trials: int, epochs: int, *, seed: int = 0) -> RunFolder:
    """Write a finished sweep in which every tenth trial trained its whole budget, as ASHA has it.

    Every trial has `epochs` epochs, each with as many numbers and digits as a real one has; those
    that were stopped had a larger budget.

    Args:
        path: of the run folder; made here.
        trials: how many.
        epochs: of each trial.
        seed: of all numbers.
    """
    numbers = random.Random(seed)
    folder = RunFolder(path)
    folder.path.mkdir(parents=True)
    write_record(
        folder.run_file,
        RunRecord(
            kind="sweep",
            name=path.name,
            state="complete",
            experiment_hash="e" * 64,
            created=_time(0),
            updated=_time(trials),
            session="s1",
        ),
    )
    write_json(
        folder.experiment_file,
        {
            "benchmark": "digits",
            "method": "cgdd",
            "data": "labelled",
            "data_counts": {"train": 1000, "validation": 300, "test": 450},
            "search": {"objective": "val_real", "trials": trials},
            "dimensions": [
                {"key": key, "range": "0 .. 1", "kind": "float", "low": 0.0, "high": 1.0}
                | {"condition": "", "log": False, "switch": False, "limits": {}}
                for key in WEIGHTS
            ],
        },
    )
    write_record(folder.teacher_card_file, _teacher())
    best = ("", 0.0)
    for number in range(trials):
        complete = number % 10 == 0
        end = 0.5 + 0.45 * numbers.random()
        name = _write_trial(folder, number, epochs, end, complete, numbers)
        if complete and end > best[1]:
            best = (name, end)
    write_record(folder.selection_file, _selection(best[0], trials))
    return folder


def _write_trial(
    folder: RunFolder,
    number: int,
    epochs: int,
    end: float,
    complete: bool,
    numbers: random.Random,
) -> str:
    trial = folder.path / "trials" / f"t{number:04d}"
    trial.mkdir(parents=True)
    parameters: dict[str, float | str] = {name: numbers.random() for name in WEIGHTS}
    # Two of them have to do with how good a trial is.
    parameters[WEIGHTS[0]], parameters[WEIGHTS[5]] = round(end, 3), round(1 - end, 2)
    parameters |= {f"generator_objective.{name}.weight?": "on" for name in "abcde"}
    width = WIDTHS[number % 3]
    record = TrialRecord(
        trial=trial.name,
        number=number,
        origin="sampler" if number else "recipe",
        parameters=parameters,
        configuration={
            "method": "cgdd",
            "student": {"architecture": "convnet", "width": width},
            "settings": parameters,
            "seed": 0,
        },
        student_size=NetworkSize(
            parameters=int(100_000 * width), macs=1_234_567, latency_ms=0.2 + width
        ),
        total_student_steps=STEPS * epochs * (1 if complete else 3),
        threads=1,
        device="cpu",
        created=_time(number),
    )
    (trial / "trial.json").write_text(record.model_dump_json(indent=2))
    status = StatusRecord(
        state="complete" if complete else "stopped",
        reason="" if complete else "below the best half at this rung",
        updated=_time(number + 1),
    )
    (trial / "status.json").write_text(status.model_dump_json(indent=2))
    total = epochs * (1 if complete else 3)
    first, later = _template(total, begins=True), _template(total, begins=False)
    draw = numbers.random
    lines, now = [], 0.0
    for epoch in range(1, epochs + 1):
        share = epoch / epochs
        value = 0.1 + (end - 0.1) * (1 - math.exp(-6 * share)) / (1 - math.exp(-6))
        value = end if epoch == epochs else value * (0.98 + 0.04 * draw())
        template = first if epoch == 1 else later
        measured = [draw() for _ in range(template.count("%s") - 5)]
        # All that an epoch takes, which is the last but one, and when it has ended.
        measured[-2] = sum(measured[-5:-2])
        now += measured[-2]
        lines.append(
            template
            % (
                epoch,
                STEPS * epoch,
                2 * STEPS * epoch,
                *(repr(value) for _ in range(2)),
                *(repr(each) for each in (value + 0.01, draw())),
                *map(repr, measured),
                _time(number, now),
            )
        )
    (trial / "metrics.jsonl").write_text("".join(lines))
    return trial.name


def _template(total_epochs: int, *, begins: bool) -> str:
    """A line of an epoch as the records write it, with places for its numbers.

    A generator begins alone: its first epoch has no loss of the student.
    """
    record = EpochRecord(
        epoch=1,
        total_epochs=total_epochs,
        stage="generator" if begins else "alternating",
        student_steps=1,
        generator_steps=1,
        value=1.0,
        validation={"accuracy": 1.0, "agreement": 1.0, "kl": 1.0},
        losses={name: 1.0 for name in TERMS if not begins or name.startswith("generator/")},
        learning_rates={"generator": 1.0, "student": 1.0},
        class_entropy=1.0,
        feature_distance=1.0,
        kept_agreement=None if begins else 1.0,
        seconds=Seconds(synthesis=1.0, student=1.0, evaluation=1.0, total=1.0),
        images_per_second=1.0,
        peak_memory_mib=512.0,
        session="s1",
        node="machine",
        time="%s",
    )
    text = record.model_dump_json().replace(":1.0", ":%s")
    for name in ("epoch", "student_steps", "generator_steps"):
        text = text.replace(f'"{name}":1,', f'"{name}":%d,', 1)
    return text + "\n"


def _time(minute: float, second: float = 0) -> str:
    minutes, seconds = divmod(int(minute) * 60 + second, 60)
    minutes = int(minutes)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"2025-03-{1 + days:02d}T{hours:02d}:{minutes:02d}:{seconds:06.3f}+00:00"


def _teacher() -> TeacherCard:
    return TeacherCard(
        benchmark="digits",
        architecture="resnet20",
        width=1.0,
        parameters=272_000,
        source="trained",
        origin="dfkd-tune teacher train digits",
        recipe_hash="r" * 64,
        weights_sha256="f" * 64,
        data_hash="d" * 64,
        scores={"validation": SplitScore(accuracy=0.98, correct=294, images=300)},
        seconds=12.5,
        created=_time(0),
    )


def _selection(trial: str, candidates: int) -> SelectionRecord:
    return SelectionRecord(
        trial=trial,
        rule="highest last validation accuracy among complete trials",
        objective="val_real",
        candidates=candidates,
        value=0.93,
        validation={"accuracy": 0.93, "agreement": 0.94, "kl": 0.3},
        teacher_validation_accuracy=0.98,
        student_sha256="a" * 64,
        test=TestOutcome(images=450, both_correct=409, student_only=4, teacher_only=31, neither=6),
        test_evaluations=1,
        session="s1",
        time=_time(0),
    )
