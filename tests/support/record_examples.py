"""One record of each kind, for tests of how they are written and read."""

from typing import Any

from dfkd_tune.records import (
    AttentionImage,
    AttentionRecord,
    ClassResults,
    ClosestPair,
    Confusion,
    DuplicateMeasure,
    EpochRecord,
    ErrorRecord,
    GpuShareRecord,
    NetworkSize,
    RestoreRecord,
    RunRecord,
    Seconds,
    SelectedImagesRecord,
    SelectionRecord,
    SessionRecord,
    SplitScore,
    StatusRecord,
    StudentNeed,
    TeacherCard,
    TestOutcome,
    Throughput,
    TrialRecord,
)

TIME = "2025-01-02T03:04:05.678+00:00"


def run_record(**changes: Any) -> RunRecord:
    values = {"kind": "sweep", "name": "n", "state": "running", "experiment_hash": "h"}
    return RunRecord(**{**values, "created": TIME, "updated": TIME, "session": "s", **changes})


def epoch_record(epoch: int = 1, **changes: Any) -> EpochRecord:
    values: dict[str, Any] = {
        "epoch": epoch,
        "total_epochs": 9,
        "stage": "alternating",
        "student_steps": 10 * epoch,
        "generator_steps": 2 * epoch,
        "validation": {"accuracy": 0.5},
        "losses": {"student/kd": 0.25},
        "learning_rates": {"student": 0.1},
        "seconds": Seconds(synthesis=1, student=2, evaluation=0.5, total=3.5),
        "images_per_second": 12.5,
        "peak_memory_mib": 300,
        "session": "s",
        "time": TIME,
    }
    return EpochRecord(**{**values, **changes})


TRIAL = TrialRecord(
    trial="t0001",
    number=1,
    origin="sampler",
    parameters={"kd.weight": 0.5, "name": "ä ö"},
    configuration={"a": {"b": [1, 2]}},
    student_size=NetworkSize(parameters=5, macs=7),
    total_student_steps=100,
    threads=1,
    device="cpu",
    created=TIME,
)
CARD = TeacherCard(
    benchmark="digits",
    architecture="resnet8",
    width=1.0,
    parameters=3,
    source="file",
    origin="w.pt",
    recipe_hash="r",
    weights_sha256="w",
    data_hash="d",
    scores={"validation": SplitScore(accuracy=0.5, correct=1, images=2)},
    seconds=1.5,
    created=TIME,
)
OUTCOME = TestOutcome(images=10, both_correct=5, student_only=1, teacher_only=3, neither=1)
CLASSES = ClassResults(
    where="test",
    names=("ä", "b"),
    images=(4, 6),
    student=(3, 3),
    teacher=(4, 4),
    confusions=(Confusion(true=1, predicted=0, student=3, teacher=2),),
)
ATTENTION = AttentionRecord(
    file="attention_real.png",
    width=100,
    height=296,
    teacher_stage="stage2",
    teacher_size=(4, 4),
    student_stage="stage1",
    student_size=(8, 4),
    images=(
        AttentionImage(image=7, label=1, teacher=1, confidence=0.75, student=0, correlation=-0.5),
        AttentionImage(image=9, teacher=0, confidence=0.5, student=0),
    ),
)
SELECTED_IMAGES = SelectedImagesRecord(
    trial="t0001",
    student_sha256="x",
    names=("ä", "b"),
    balance=(1, 2),
    class_entropy=0.5,
    threshold=0.01,
    duplicates=DuplicateMeasure(images=3, median=0.25, share=0.125),
    real=DuplicateMeasure(images=3, median=0.5, share=0),
    closest=ClosestPair(
        file="closest_pair.png", width=198, height=100, images=(0, 2), distance=0.001
    ),
    attention=ATTENTION,
    real_attention=ATTENTION,
    seconds=1.5,
    time=TIME,
)
SELECTION = SelectionRecord(
    trial="t0001",
    rule="best",
    objective="val_real",
    candidates=3,
    validation={"accuracy": 0.5},
    teacher_validation_accuracy=0.9,
    student_sha256="x",
    test=OUTCOME,
    classes=CLASSES,
    test_evaluations=1,
    session="s",
    time=TIME,
)
SESSION = SessionRecord(
    session="s", started=TIME, command="dfkd-tune", resumed=False, environment={"gpus": []}
)
STATUS = StatusRecord(
    state="failed",
    reason="why",
    error=ErrorRecord(type="E", message="m", traceback="a\nb"),
    restores=(RestoreRecord(session="s", time=TIME, from_epoch=3),),
    updated=TIME,
)
GPU_SHARE = GpuShareRecord(
    device="a GPU",
    memory_mib=80_000.5,
    context_mib=400,
    cpus_per_trial=2,
    students=(StudentNeed(architecture="convnet", width=0.5, peak_mib=900),),
    typical=StudentNeed(architecture="convnet", width=0.5, peak_mib=900),
    throughputs=(
        Throughput(trials=1, steps_per_second=50.5),
        Throughput(trials=2, steps_per_second=0, out_of_memory=True),
    ),
    trials=1,
    seconds=61.5,
    time=TIME,
)
