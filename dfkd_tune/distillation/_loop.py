"""The data-free loop: a teacher in, a student out. It knows no Ray and no data."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch import nn

from dfkd_tune.distillation._collapse import CollapseSigns
from dfkd_tune.distillation._config import DistillationConfig, shared_part
from dfkd_tune.distillation._distillation import Distillation, Member
from dfkd_tune.distillation._progress import Evaluate, Progress, Stage, State
from dfkd_tune.errors import CheckpointError
from dfkd_tune.inputs import InputSpecification


def distil(
    config: DistillationConfig,
    teacher: nn.Module,
    inputs: InputSpecification,
    *,
    device: torch.device | None = None,
    evaluate: Evaluate | None = None,
    evaluate_every: int = 1,
    report: Callable[[Progress], None] = lambda _progress: None,
    restore: State | None = None,
    teacher_stages: tuple[str, ...] = (),
) -> nn.Module:
    """Distil a student from a teacher without any real image.

    Deterministic for a seed on one kind of CPU with one number of threads; a run that goes on from
    a state ends in the same weights, bit for bit, as one never interrupted.

    Args:
        config: method, student, generator and schedule.
        teacher: the frozen classifier; used in evaluation mode, given back unchanged.
        inputs: shape, normalisation and classes of its input.
        device: where to compute; the CPU by default.
        evaluate: scores the student; owned by the caller.
        evaluate_every: epochs between evaluations; the last epoch is always evaluated.
        report: told after each epoch; may raise to end the run.
        restore: state of an earlier run of the same configuration, from `Progress.state`.
        teacher_stages: modules whose outputs are its stages; found by themselves where empty.

    Returns:
        The student, in evaluation mode.

    Raises:
        DivergedError: if a loss or weight became non-finite.
        CollapsedError: if the synthesis collapsed and `collapse.stop` is set.
        CheckpointError: if `restore` does not fit the configuration.
        UsageError: if the teacher cannot serve the method.
    """

    def leave(_member: Member, error: Exception) -> None:
        raise error

    run = Distillation(
        [config], teacher, inputs, device or torch.device("cpu"), teacher_stages, leave
    )
    try:
        if restore is not None:
            run.load([restore])
        _train(run, evaluate, evaluate_every, lambda _index, progress: report(progress))
        return run.taps[0].network.eval()
    finally:
        run.close()


def distil_together(
    configs: Sequence[DistillationConfig],
    teacher: nn.Module,
    inputs: InputSpecification,
    *,
    device: torch.device | None = None,
    evaluate: Evaluate | None = None,
    evaluate_every: int = 1,
    report: Callable[[int, Progress], None] = lambda _index, _progress: None,
    left: Callable[[int, Exception], None] = lambda _index, _error: None,
    stopped: Callable[[], Collection[int]] = lambda: (),
    restore: Sequence[State] | None = None,
    teacher_stages: tuple[str, ...] = (),
) -> list[nn.Module]:
    """Distil several students at once, which share the images and the teacher's answers.

    Each ends as `distil` with its configuration ends, to rounding: its state after an epoch is the
    same, and either can go on from the other's.

    Args:
        configs: one of each student, all with the same `shared_part`.
        teacher: as for `distil`.
        inputs: as for `distil`.
        device: as for `distil`.
        evaluate: as for `distil`.
        evaluate_every: as for `distil`.
        report: told after each epoch of each student, by its index; may raise to end that one.
        left: told of a student that an error has ended; may raise to end them all.
        stopped: asked after each epoch of all which students are to train no further.
        restore: states of earlier runs, one of each student, all after the same epoch.
        teacher_stages: as for `distil`.

    Returns:
        The students, in evaluation mode; those that left as they were.

    Raises:
        ValueError: if the configurations do not share what they must.
        CheckpointError: if the states do not fit, or are of different epochs.
    """
    parts = {shared_part(config) for config in configs}
    if len(configs) > 1 and (len(parts) > 1 or None in parts):
        raise ValueError("students that share images must have the same shared part")
    if restore is not None and len({state["epoch"] for state in restore}) > 1:
        raise CheckpointError("students that share images must go on from the same epoch")
    run = Distillation(
        configs,
        teacher,
        inputs,
        device or torch.device("cpu"),
        teacher_stages,
        lambda member, error: left(member.index, error),
    )
    try:
        if restore is not None:
            run.load(restore)
        _train(run, evaluate, evaluate_every, report, stopped)
        return [taps.network.eval() for taps in run.taps]
    finally:
        run.close()


def _train(
    run: Distillation,
    evaluate: Evaluate | None,
    evaluate_every: int,
    report: Callable[[int, Progress], None],
    stopped: Callable[[], Collection[int]] = lambda: (),
) -> None:
    """Train what is left of the budget, while any student is left."""
    began = time.perf_counter()
    total = run.schedule.total_epochs
    while run.members and run.epoch < total:
        stage, images = run.train_epoch()
        due = run.epoch == total or run.epoch % evaluate_every == 0
        looked: list[tuple[Member, CollapseSigns, Mapping[str, float]]] = []
        own: dict[int, float] = {}
        for member in tuple(run.members):
            with run.surviving(member):
                looking = time.perf_counter()
                signs = run.look(member, stage, images)
                validation: Mapping[str, float] = {}
                if evaluate is not None and due:
                    network = member.student.network.eval()
                    with member.meter.timing("evaluation"), torch.no_grad():
                        validation = dict(evaluate(network))
                own[member.index] = member.meter.seconds["student"]
                own[member.index] += time.perf_counter() - looking
                looked.append((member, signs, validation))
        ended = time.perf_counter()
        # What is done for all counts for each in equal parts.
        shared = (ended - began - sum(own.values())) / max(1, len(looked))
        began = ended
        for member, signs, validation in looked:
            with run.surviving(member):
                seconds = _seconds(run, member, len(looked), own[member.index] + shared)
                report(member.index, _progress(run, member, stage, signs, validation, seconds))
                member.watch.check(signs, run.epoch)
        gone = stopped()
        run.members = [member for member in run.members if member.index not in gone]


def _seconds(run: Distillation, member: Member, sharing: int, total: float) -> dict[str, float]:
    shared, own = run.meter.seconds, member.meter.seconds
    return {**{name: shared[name] / sharing + own[name] for name in shared}, "total": total}


def _progress(
    run: Distillation,
    member: Member,
    stage: Stage,
    signs: CollapseSigns,
    validation: Mapping[str, float],
    seconds: Mapping[str, float],
) -> Progress:
    return Progress(
        epoch=run.epoch,
        stage=stage,
        student_steps=member.student.steps,
        generator_steps=run.synthesis.steps,
        losses=run.losses(member),
        learning_rates={
            "generator": run.synthesis.learning_rate,
            "student": member.student.learning_rate,
        },
        class_entropy=run.meter.class_entropy(),
        validation=validation,
        seconds=seconds,
        images=run.meter.images,
        collapse=signs,
        student=member.student.network,
        generator=run.generator,
        pictures=run.pictures,
        kept=member.watch.images,
        state=lambda: run.state(member),
    )
