"""What a sweep needs before its first trial, made with progress: images, teacher, audit set."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from rich.console import Console

from dfkd_tune.benchmarks import Benchmark
from dfkd_tune.classifiers import TrainingProgress
from dfkd_tune.errors import ResourceError
from dfkd_tune.records import RunFolder, copy_file_atomically
from dfkd_tune.sweeps._epochs import epoch_progress
from trainables import (
    AuditConfig,
    Teacher,
    TeacherConfig,
    cached_teacher,
    card_network,
    check_teacher,
    copy_audit,
    load_network,
    prepare_audit,
    prepare_teacher,
    train_teacher,
)


def teacher_cache(storage: Path) -> Path:
    """Where a storage keeps its trained teachers."""
    return storage / "teachers"


def audit_cache(storage: Path) -> Path:
    """Where a storage keeps its audit sets."""
    return storage / "audits"


def best_device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def prepare_images(benchmark: Benchmark, console: Console) -> None:
    """Decode a benchmark's images, showing how it goes, and say what was done with them."""
    for note in benchmark.notes:
        console.print(f"{benchmark.name}: {note}", highlight=False, soft_wrap=True)
    with epoch_progress(console) as show:
        benchmark.prepare(
            lambda done, count: show(done, count, f"decoding images, {done} of {count}")
        )


def teacher_with_progress(
    benchmark: Benchmark, config: TeacherConfig, storage: Path, console: Console
) -> Teacher:
    """Prepare a teacher, showing how its training goes."""
    check_teacher(benchmark, config)
    prepare_images(benchmark, console)
    with epoch_progress(console) as show:

        def say(told: TrainingProgress) -> None:
            text = f"training the teacher, epoch {told.epoch} of {told.epochs}"
            show(told.epoch, told.epochs, f"{text}, loss {told.loss:.3f}")

        return prepare_teacher(
            benchmark, config, teacher_cache(storage), device=best_device(), progress=say
        )


def teacher_on_cluster(
    benchmark: Benchmark,
    config: TeacherConfig,
    storage: Path,
    console: Console,
    resources: Mapping[str, float],
) -> Teacher:
    """Prepare a teacher on the cluster that Ray is connected to, within what a trial gets there.

    Args:
        benchmark: its data, which every node must be able to read.
        config: network, and a weights file or a recipe.
        storage: shared by all nodes.
        console: where to show how it goes.
        resources: of one trial, by Ray's names.

    Raises:
        ResourceError: if the training failed on the cluster.
    """
    check_teacher(benchmark, config)
    prepare_images(benchmark, console)
    cached = cached_teacher(benchmark, config, teacher_cache(storage))
    if cached is not None:
        return cached
    # Ray reads its environment when first imported: not before a search has prepared that.
    from ray import tune

    from dfkd_tune.sweeps._progress import TeacherCallback

    with epoch_progress(console) as show, tempfile.TemporaryDirectory() as scratch:
        results = tune.Tuner(
            tune.with_resources(train_teacher, dict(resources)),
            param_space={
                "benchmark": benchmark.config.model_dump(mode="json"),
                # What was given alone: the rest follows from the benchmark.
                "teacher": config.model_dump(mode="json", exclude_unset=True),
                "cache": str(teacher_cache(storage)),
                "threads": resources["cpu"],
            },
            run_config=tune.RunConfig(
                name="teacher",
                storage_path=scratch,
                verbose=0,
                callbacks=[TeacherCallback(show)],
                failure_config=tune.FailureConfig(max_failures=2),
            ),
        ).fit()
    teacher = cached_teacher(benchmark, config, teacher_cache(storage))
    if teacher is None:
        reason = next((str(error).strip().splitlines()[-1] for error in results.errors), "unknown")
        raise ResourceError(
            f"the teacher could not be trained on the cluster: {reason}; mend that and give the "
            f"same command"
        )
    return teacher


def share_audit(source: RunFolder, run: RunFolder) -> None:
    """Give a run the audit set of another one with the same teacher, unless it has its own."""
    cards = [folder.teacher_card() for folder in (source, run)]
    same = all(cards) and len({card.weights_sha256 for card in cards if card}) == 1
    if run.audit_images.is_file() or not same or not source.audit_images.is_file():
        return
    copy_file_atomically(source.audit_card_file, run.audit_card_file)
    copy_file_atomically(source.audit_images, run.audit_images)


def ensure_audit(
    run: RunFolder, benchmark: Benchmark, config: AuditConfig, storage: Path, console: Console
) -> None:
    """Have the audit set of a run's teacher in its folder; the one it began with stays."""
    card = run.teacher_card()
    if card is None or run.audit_images.is_file():
        return
    teacher = load_network(card_network(card), benchmark.inputs, run.teacher_weights)
    with epoch_progress(console) as show:
        audit = prepare_audit(
            teacher,
            card.weights_sha256,
            benchmark.inputs,
            config,
            audit_cache(storage),
            device=best_device(),
            progress=lambda done, steps: show(
                done, steps, f"making the audit set from the teacher, step {done} of {steps}"
            ),
        )
    copy_audit(audit, run.audit_card_file, run.audit_images)
    console.print(
        f"audit set: {audit.card.images} images made from the teacher alone, which sees "
        f"{100 * audit.card.teacher_accuracy:.1f} % of them as asked",
        highlight=False,
        soft_wrap=True,
    )
