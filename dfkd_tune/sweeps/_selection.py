"""Choosing by the search objective, then one look at images that the choice has not seen."""

from dfkd_tune.benchmarks import Benchmark
from dfkd_tune.classifiers import file_sha256
from dfkd_tune.distillation import DistillationConfig
from dfkd_tune.errors import RunFolderError
from dfkd_tune.evaluation import held_out_agreement, paired_outcome, predict_stored
from dfkd_tune.records import (
    HeldOutAgreement,
    RunFolder,
    SelectionRecord,
    TestOutcome,
    TrialFolder,
    now,
    write_record,
)
from trainables import SearchObjective, card_network, load_network, run_objective

TIES = "ties by agreement with the teacher, then fewer parameters, then the earlier trial"


def selection_rule(objective: SearchObjective) -> str:
    """The rule of selection in words."""
    return f"highest {objective.words} at the last epoch among complete trials; {TIES}"


def best_complete_trial(run: RunFolder) -> tuple[TrialFolder, int] | None:
    """The trial that the rule chooses, and among how many; None where none is complete."""
    # Without data, no real image may decide, not even a tie.
    agreement = "audit_agreement" if run_objective(run).name == "data_free" else "agreement"
    candidates = []
    for folder in run.trial_folders():
        if folder.status().state != "complete":
            continue
        record, last = folder.trial(), folder.epochs()[-1]
        if last.value is None:
            continue
        rank = (
            last.value,
            last.validation.get(agreement, 0.0),
            -record.student_size.parameters,
            -record.number,
        )
        candidates.append((rank, folder))
    if not candidates:
        return None
    return max(candidates, key=lambda candidate: candidate[0])[1], len(candidates)


def select(
    run: RunFolder, benchmark: Benchmark, objective: SearchObjective, session: str
) -> SelectionRecord:
    """Choose a trial, measure it on the images kept apart, and record both.

    With labels these are the test split, for student and teacher; with unlabelled images their
    second half, for the agreement of both; without images there is nothing to measure. A student
    that met them before is not measured again.

    Raises:
        RunFolderError: if no trial is complete.
    """
    chosen = best_complete_trial(run)
    card = run.teacher_card()
    if chosen is None or card is None:
        raise RunFolderError(f"{run.path} has no complete trial to select")
    folder, candidates = chosen
    student_sha256 = file_sha256(folder.student_weights)
    before = run.selection()
    if before is not None and before.student_sha256 == student_sha256:
        if before.trial == folder.name and before.candidates == candidates:
            return before
        test, held_out, evaluations = before.test, before.held_out, before.test_evaluations
    else:
        test, held_out = _measure(run, folder, benchmark)
        evaluations = 0 if before is None else before.test_evaluations
        evaluations += 0 if benchmark.data == "none" else 1
    score = card.scores.get("validation")
    last = folder.epochs()[-1]
    record = SelectionRecord(
        trial=folder.name,
        rule=selection_rule(objective),
        objective=objective.name,
        candidates=candidates,
        value=last.value,
        validation=last.validation,
        teacher_validation_accuracy=score.accuracy if score else None,
        student_sha256=student_sha256,
        test=test,
        held_out=held_out,
        test_evaluations=evaluations,
        session=session,
        time=now(),
    )
    write_record(run.selection_file, record)
    return record


def measure_all(run: RunFolder, benchmark: Benchmark) -> None:
    """Measure every complete trial of a comparison on the test split, once each.

    Nothing is chosen among them, so that none of the figures is picked by the test split.
    """
    for folder in run.trial_folders():
        if folder.status().state != "complete" or folder.test_file.exists():
            continue
        test, _ = _measure(run, folder, benchmark)
        if test is not None:
            write_record(folder.test_file, test)


def _measure(
    run: RunFolder, folder: TrialFolder, benchmark: Benchmark
) -> tuple[TestOutcome | None, HeldOutAgreement | None]:
    card = run.teacher_card()
    if benchmark.data == "none" or card is None:
        return None, None
    config = DistillationConfig.model_validate(folder.trial().configuration)
    student = load_network(config.student, benchmark.inputs, folder.student_weights)
    teacher = load_network(card_network(card), benchmark.inputs, run.teacher_weights)
    images = benchmark.images("test")
    answers = [predict_stored(net, images, benchmark.inputs) for net in (student, teacher)]
    if benchmark.data == "labelled":
        return paired_outcome(answers[0], answers[1], benchmark.load("test").labels), None
    return None, held_out_agreement(answers[0], answers[1])
