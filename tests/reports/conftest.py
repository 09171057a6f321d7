"""Run folders as the records describe them, made without Ray and torch."""

import io
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from PIL import Image

from dfkd_tune.records import (
    AttentionImage,
    AttentionRecord,
    AuditCard,
    ClassResults,
    ClosestPair,
    Confusion,
    DuplicateMeasure,
    EpochRecord,
    ErrorRecord,
    HeldOutAgreement,
    NetworkSize,
    RestoreRecord,
    RunFolder,
    RunRecord,
    Seconds,
    SelectedImagesRecord,
    SelectionRecord,
    SessionRecord,
    SplitScore,
    StatusRecord,
    TeacherCard,
    TestOutcome,
    TrialRecord,
    append_record,
    write_bytes_atomically,
    write_json,
    write_record,
)
from reports import summary_schema

START = datetime(2025, 3, 4, 9, 30, tzinfo=UTC)


def moment(minutes: float) -> str:
    return (START + timedelta(minutes=minutes)).isoformat(timespec="milliseconds")


COUNTS = {
    "labelled": {"train": 1000, "validation": 300, "test": 450},
    "unlabelled": {"validation": 251, "test": 250},
    "none": {},
}


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One trial to write: its values by epoch and how it ended.

    `beside`: validation accuracies by epoch, where the search objective is another. `variant` and
    `test`: in a comparison. `signs`: of collapse, by epoch. `size`: parameters of the student.
    """

    values: tuple[float, ...] = ()
    beside: tuple[float, ...] = ()
    state: str = "complete"
    total_epochs: int = 10
    steps_per_epoch: int = 50
    origin: str = "sampler"
    parameters: dict[str, Any] = field(default_factory=dict)
    architecture: str = "cnn"
    width: float = 0.5
    latency_ms: float | None = None
    size: int = 23_456
    reason: str = ""
    error: ErrorRecord | None = None
    restores: tuple[RestoreRecord, ...] = ()
    images: tuple[int, ...] = ()
    weights: bytes | None = None
    variant: str = ""
    test: TestOutcome | None = None
    signs: dict[int, tuple[str, ...]] = field(default_factory=dict)


@dataclass
class RunMaker:
    """Writes run folders below one path."""

    path: Path

    def __call__(
        self,
        trials: list[Spec] | None = None,
        *,
        name: str = "digits",
        kind: str = "sweep",
        state: str = "complete",
        message: str = "",
        planned: int | None = None,
        teacher: bool = True,
        objective: str = "val_real",
        against: str | None = None,
        data: str = "labelled",
        selection: SelectionRecord | None = None,
        command: str = "dfkd-tune sweep digits.yaml",
        comparison: dict[str, Any] | None = None,
    ) -> RunFolder:
        folder = RunFolder(self.path / name)
        folder.path.mkdir(parents=True)
        run = RunRecord(
            kind=kind,  # type: ignore[arg-type]
            name=name,
            state=state,  # type: ignore[arg-type]
            experiment_hash="e" * 64,
            created=moment(0),
            updated=moment(240),
            session="s1",
            message=message,
        )
        write_record(folder.run_file, run)
        experiment: dict[str, Any] = {
            "benchmark": "digits",
            "method": "cgdd",
            "seed": 3,
            "data": data,
            "data_counts": COUNTS[data],
            "search": {"objective": objective, "against": against},
        }
        if comparison is not None:
            experiment["comparison"] = comparison
        if planned is not None:
            experiment["search"]["trials"] = planned
        write_json(folder.experiment_file, experiment)
        append_record(folder.sessions_file, session_record(command))
        if teacher:
            write_record(folder.teacher_card_file, teacher_card(data))
        if objective == "data_free":
            write_record(folder.audit_card_file, audit_card())
        for number, spec in enumerate(trials or []):
            self.add_trial(folder, number, spec, objective, data)
        if selection is not None:
            write_record(folder.selection_file, selection)
        return folder

    def add_trial(
        self, folder: RunFolder, number: int, spec: Spec, objective: str, data: str
    ) -> None:
        trial = folder.trial_folder(f"t{number:04d}")
        record = TrialRecord(
            trial=trial.name,
            number=number,
            origin=spec.origin,  # type: ignore[arg-type]
            parameters=spec.parameters,
            configuration={
                "student": {"architecture": spec.architecture, "width": spec.width},
                "seed": 3,
                **spec.parameters,
            },
            student_size=NetworkSize(
                parameters=spec.size, macs=1_234_567, latency_ms=spec.latency_ms
            ),
            total_student_steps=spec.total_epochs * spec.steps_per_epoch,
            threads=1,
            device="cpu",
            variant=spec.variant,
            created=moment(number),
        )
        write_record(trial.trial_file, record)
        if spec.test is not None:
            write_record(trial.test_file, spec.test)
        trial.metrics_file.touch()
        for epoch in range(1, len(spec.values) + 1):
            record_of_epoch = epoch_record(spec, number, epoch, objective, data)
            append_record(trial.metrics_file, record_of_epoch)
        status = StatusRecord(
            state=spec.state,  # type: ignore[arg-type]
            reason=spec.reason,
            error=spec.error,
            restores=spec.restores,
            updated=moment(10 * number + len(spec.values)),
        )
        write_record(trial.status_file, status)
        for epoch in spec.images:
            trial.images.mkdir(exist_ok=True)
            (trial.images / f"epoch_{epoch:06d}.png").write_bytes(png(epoch))
        if spec.weights is not None:
            trial.student_weights.write_bytes(spec.weights)


def scores(spec: Spec, epoch: int, objective: str, data: str) -> dict[str, float]:
    """What an epoch's evaluation gives, by what the run has of real images."""
    value = spec.values[epoch - 1]
    found: dict[str, float] = {}
    if data == "labelled":
        found["accuracy"] = spec.beside[epoch - 1] if spec.beside else value
    if data != "none":
        agreement = value if objective == "unlabelled_real" else min(1.0, value + 0.01)
        found |= {"agreement": agreement, "kl": 0.3}
    if objective == "data_free":
        found |= {"audit_agreement": value, "audit_kl": 0.2}
    return found


def epoch_record(spec: Spec, number: int, epoch: int, objective: str, data: str) -> EpochRecord:
    progress = epoch / spec.total_epochs
    seconds = Seconds(synthesis=2.0, student=1.0, evaluation=0.25, total=3.5)
    return EpochRecord(
        epoch=epoch,
        total_epochs=spec.total_epochs,
        stage="alternating",
        student_steps=epoch * spec.steps_per_epoch,
        generator_steps=epoch * 20,
        value=spec.values[epoch - 1],
        validation=scores(spec, epoch, objective, data),
        losses={
            "generator/bn_statistics": 1.6 * math.exp(-2 * progress) + 0.2,
            "generator/preset_label": 0.9 * math.exp(-4 * progress) + 0.05,
            "student/kd": 1.2 * math.exp(-3 * progress) + 0.1 + 0.02 * math.sin(epoch),
        },
        learning_rates={"generator": 0.001, "student": 0.1 * (1 - progress)},
        class_entropy=2.302 - 0.9 * math.exp(-5 * progress),
        feature_distance=1.25 - 0.5 * progress,
        kept_agreement=0.4 + 0.5 * progress,
        collapse_signs=spec.signs.get(epoch, ()),
        seconds=seconds,
        images_per_second=1200.0,
        peak_memory_mib=310.0 + number,
        session="s1",
        time=moment(10 * number + epoch),
    )


def session_record(command: str = "dfkd-tune sweep digits.yaml") -> SessionRecord:
    return SessionRecord(
        session="s1",
        started=moment(0),
        command=command,
        resumed=False,
        environment={
            "python": "3.11.7",
            "platform": "Linux-6.1-x86_64",
            "packages": {"torch": "2.11.0", "ray": "2.60.0", "optuna": "5.0.0"},
            "hardware": {"cpu": "a processor", "cpu_cores": 2, "memory_gib": 8, "gpus": []},
            "git_commit": "0123abc",
        },
    )


def teacher_card(data: str = "labelled") -> TeacherCard:
    labelled = data == "labelled"
    return TeacherCard(
        benchmark="digits",
        architecture="cnn",
        width=1.0,
        parameters=93_322,
        source="trained" if labelled else "file",
        origin="dfkd-tune teacher digits" if labelled else "teacher.pt",
        recipe_hash="r" * 64,
        weights_sha256="f" * 64,
        data_hash="d" * 64 if labelled else "",
        scores={
            "train": SplitScore(accuracy=1.0, correct=1000, images=1000),
            "validation": SplitScore(accuracy=0.98, correct=294, images=300),
        }
        if labelled
        else {},
        seconds=12.5,
        created=moment(-5),
    )


def audit_card() -> AuditCard:
    return AuditCard(
        images=600,
        sha256="0123456789abcdef" * 4,
        teacher_sha256="f" * 64,
        inversions=[{"bn_statistics": 1.0, "steps": 200}],
        teacher_accuracy=0.975,
        class_entropy=2.3,
        seconds=41.0,
        created=moment(-3),
    )


OUTCOME = TestOutcome(images=450, both_correct=409, student_only=4, teacher_only=31, neither=6)


def kind_of_selection(objective: str, data: str) -> dict[str, Any]:
    """What a selection holds under a search objective and a kind of data."""
    return {
        "rule": f"highest value of {objective} at the last epoch among complete trials",
        "objective": objective,
        "value": 0.93,
        "validation": {},
        "teacher_validation_accuracy": 0.98 if data == "labelled" else None,
        "test": OUTCOME if data == "labelled" else None,
        "held_out": HeldOutAgreement(images=250, same=234) if data == "unlabelled" else None,
        "test_evaluations": 0 if data == "none" else 1,
    }


def selection_record(trial: str, **changes: Any) -> SelectionRecord:
    values: dict[str, Any] = {
        "trial": trial,
        "rule": "highest last validation accuracy among complete trials",
        "objective": "val_real",
        "candidates": 6,
        "value": 0.93,
        "validation": {"accuracy": 0.93, "agreement": 0.94, "kl": 0.3, "images": 300},
        "teacher_validation_accuracy": 0.98,
        "student_sha256": "a" * 64,
        "test": OUTCOME,
        "test_evaluations": 1,
        "session": "s1",
        "time": moment(239),
    }
    return SelectionRecord(**{**values, **changes})


NAMES = tuple("0123456789")
CLASSES = ClassResults(
    where="test",
    names=NAMES,
    images=(45,) * 10,
    teacher=(45, 44, 45, 43, 44, 45, 44, 43, 44, 43),
    student=(45, 41, 44, 38, 42, 41, 44, 39, 39, 40),
    confusions=(
        Confusion(true=3, predicted=9, student=5, teacher=1),
        Confusion(true=8, predicted=1, student=4, teacher=0),
        Confusion(true=7, predicted=3, student=4, teacher=2),
    ),
)


def selected_images_record(trial: str, **changes: Any) -> SelectedImagesRecord:
    attention = AttentionRecord(
        file="attention_synthetic.png",
        width=80,
        height=32,
        teacher_stage="stage3",
        teacher_size=(4, 4),
        student_stage="stage2",
        student_size=(8, 8),
        images=(
            AttentionImage(image=7, teacher=0, confidence=0.999, student=0, correlation=0.91),
            AttentionImage(image=12, teacher=4, confidence=0.875, student=9, correlation=0.25),
            AttentionImage(image=3, teacher=8, confidence=0.75, student=8, correlation=None),
        ),
    )
    real = [image.model_copy(update={"label": image.teacher}) for image in attention.images]
    values: dict[str, Any] = {
        "trial": trial,
        "student_sha256": "a" * 64,
        "names": NAMES,
        "balance": (12, 0, 20, 4, 16, 8, 0, 10, 6, 4),
        "class_entropy": math.log(8),
        "threshold": 0.01,
        "duplicates": DuplicateMeasure(images=80, median=0.0321, share=0.125),
        "real": DuplicateMeasure(images=80, median=0.0654, share=0.0375),
        "closest": ClosestPair(
            file="closest_pair.png", width=80, height=32, images=(4, 66), distance=0.00123
        ),
        "attention": attention,
        "real_attention": attention.model_copy(
            update={"file": "attention_real.png", "images": tuple(real)}
        ),
        "seconds": 1.5,
        "time": moment(240),
    }
    return SelectedImagesRecord(**{**values, **changes})


def add_selected_images(folder: RunFolder, trial: str, **changes: Any) -> None:
    """Write what a look at the selected trial gives, with its pictures."""
    write_record(folder.selected_images_file, selected_images_record(trial, **changes))
    for seed, name in enumerate(("attention_synthetic", "attention_real", "closest_pair")):
        write_bytes_atomically(folder.selected_path / f"{name}.png", png(seed))


def png(seed: int, columns: int = 10, rows: int = 4, side: int = 8) -> bytes:
    """A grid of blobs that grow clearer with the seed."""
    generator = np.random.default_rng(seed)
    grid = generator.normal(128, 40, (rows * side, columns * side))
    y, x = np.mgrid[0 : rows * side, 0 : columns * side]
    wave = np.sin(x * (1 + x // side) / 7) * np.cos(y / 3)
    pixels = np.clip(grid + min(seed, 60) * wave, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def curve(end: float, epochs: int, total: int, speed: float = 4.0) -> tuple[float, ...]:
    """Accuracies that rise towards `end` and wobble a little."""
    return tuple(
        round(
            0.1
            + (end - 0.1) * (1 - math.exp(-speed * epoch / total))
            + 0.008 * math.sin(2.3 * epoch),
            4,
        )
        for epoch in range(1, epochs + 1)
    )


def realistic_specs() -> list[Spec]:
    """Twelve trials: complete, stopped at two rungs, diverged, failed and running ones."""
    total = 40
    specs = []
    for number in range(12):
        generator = np.random.default_rng(number)
        end = 0.72 + 0.24 * generator.random()
        parameters = {
            "generator.lr": float(10 ** generator.uniform(-4, -2)),
            "kd.temperature": float(generator.uniform(1, 20)),
            "kd.weight": float(generator.uniform(0.1, 2)),
            "student.width": [0.25, 0.5, 1.0][number % 3],
            "bn_statistics.weight": float(10 ** generator.uniform(-2, 1)),
        }
        state, epochs = "complete", total
        if number in {3, 5, 8, 10}:
            state, epochs, end = "stopped", (10 if number % 2 else 20), end - 0.3
        if number == 6:
            state, epochs = "diverged", 7
        if number == 9:
            state, epochs = "failed", 13
        specs.append(
            Spec(
                values=curve(end, epochs, total, 3 + 3 * float(generator.random())),
                state=state,
                total_epochs=total,
                origin="recipe" if number < 2 else "sampler",
                parameters=parameters,
                width=parameters["student.width"],
                reason={
                    "stopped": "below the best half at this rung",
                    "diverged": "generator/preset_label became non-finite in epoch 8",
                    "failed": "the process ended",
                }.get(state, ""),
                error=ErrorRecord(
                    type="RuntimeError",
                    message="[enforce fail] not enough memory: you tried to allocate 8 GiB",
                    traceback="Traceback (most recent call last):\n"
                    '  File "loop.py", line 81, in distil\n'
                    "    loss.backward()\n"
                    "RuntimeError: [enforce fail] not enough memory",
                )
                if state == "failed"
                else None,
                restores=(
                    RestoreRecord(session="s2", time=moment(95), from_epoch=20, note="resumed"),
                )
                if number == 4
                else (),
                images=(1, 5, 10, 15, 20, 25, 30, 35, 40) if state == "complete" else (1, 5),
                weights=b"weights of %d" % number if state == "complete" else None,
            )
        )
    return specs


def closed(schema: Any) -> Any:
    """A schema that allows no property which it does not declare."""
    if isinstance(schema, dict):
        inner = {key: closed(value) for key, value in schema.items()}
        return {**inner, "additionalProperties": False} if "properties" in schema else inner
    return [closed(item) for item in schema] if isinstance(schema, list) else schema


@pytest.fixture(scope="session")
def summary_validator() -> Draft202012Validator:
    """Checks a `summary.json`: what the published schema declares, and nothing else."""
    schema = summary_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(closed(schema))


@pytest.fixture(autouse=True)
def _every_summary_is_as_published(
    tmp_path: Path, summary_validator: Draft202012Validator
) -> Iterator[None]:
    """Whatever report a test writes: its summary is as the schema says."""
    yield
    for file in tmp_path.rglob("summary.json"):
        problems = [
            error.message for error in summary_validator.iter_errors(json.loads(file.read_text()))
        ]
        assert problems == []


@pytest.fixture
def make_run(tmp_path: Path) -> RunMaker:
    """Writes run folders from trial specifications."""
    return RunMaker(tmp_path)


@pytest.fixture
def spec() -> type[Spec]:
    """A trial to write."""
    return Spec


@pytest.fixture
def make_selection() -> Callable[..., SelectionRecord]:
    """Makes a selection record of a trial."""
    return selection_record


@pytest.fixture
def realistic(make_run: RunMaker) -> RunFolder:
    """A complete sweep of twelve trials with a selection."""
    specs = realistic_specs()
    ends = {i: s.values[-1] for i, s in enumerate(specs) if s.state == "complete"}
    best = max(ends, key=lambda number: ends[number])
    name = f"t{best:04d}"
    folder = make_run(specs, planned=12, selection=selection_record(name, classes=CLASSES))
    add_selected_images(folder, name)
    return folder


@pytest.fixture
def look() -> Callable[..., None]:
    """Adds the record of a look at the selected trial to a run."""
    return add_selected_images


@pytest.fixture
def make_kind(make_run: RunMaker) -> Callable[..., RunFolder]:
    """Writes a complete sweep of a search objective on a kind of data; t0003 is selected."""

    def make(objective: str, data: str, *, selected: bool = True, **changes: Any) -> RunFolder:
        ends = ((0.90, 0.85), (0.80, 0.88), (0.70, 0.80), (0.93, 0.86), (0.60, 0.70))
        specs = [
            Spec(
                values=(*curve(end, 9, 10), end),
                beside=(*curve(accuracy, 9, 10), accuracy) if objective != "val_real" else (),
                architecture="resnet18",
                latency_ms=1.234 + number,
                origin="recipe" if number == 0 else "sampler",
                parameters={"kd.weight": 0.5 + number},
                images=(1, 5, 10),
            )
            for number, (end, accuracy) in enumerate(ends)
        ]
        specs.append(Spec(values=(0.2, 0.25), state="stopped", reason="below the others"))
        found = {**kind_of_selection(objective, data), "candidates": len(ends), **changes}
        return make_run(
            specs,
            name=f"{objective}-{data}",
            planned=len(specs),
            objective=objective,
            data=data,
            selection=selection_record("t0003", **found) if selected else None,
        )

    return make
