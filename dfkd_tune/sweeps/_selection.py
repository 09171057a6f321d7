"""Choosing on validation, then one look at the test split."""

from dfkd_tune.benchmarks import Benchmark
from dfkd_tune.classifiers import NetworkConfig, file_sha256
from dfkd_tune.distillation import DistillationConfig
from dfkd_tune.errors import RunFolderError
from dfkd_tune.evaluation import paired_outcome, predict_logits
from dfkd_tune.records import RunFolder, SelectionRecord, TrialFolder, now, write_record
from trainables import load_network

RULE = (
    "highest validation accuracy at the last epoch among complete trials; "
    "ties by agreement with the teacher, then fewer parameters, then the earlier trial"
)


def best_complete_trial(run: RunFolder) -> tuple[TrialFolder, int] | None:
    """The trial that the rule chooses, and among how many; None where none is complete."""
    candidates = []
    for folder in run.trial_folders():
        if folder.status().state != "complete":
            continue
        record, last = folder.trial(), folder.epochs()[-1]
        rank = (
            last.validation["accuracy"],
            last.validation["agreement"],
            -record.student_size.parameters,
            -record.number,
        )
        candidates.append((rank, folder))
    if not candidates:
        return None
    return max(candidates, key=lambda candidate: candidate[0])[1], len(candidates)


def select(run: RunFolder, benchmark: Benchmark, objective: str, session: str) -> SelectionRecord:
    """Choose a trial, measure it and the teacher on the test split, and record both.

    A student that met the test split before is not measured again.

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
        test, evaluations = before.test, before.test_evaluations
    else:
        config = DistillationConfig.model_validate(folder.trial().configuration)
        student = load_network(config.student, benchmark, folder.student_weights)
        teacher = load_network(
            NetworkConfig(architecture=card.architecture, width=card.width),
            benchmark,
            run.teacher_weights,
        )
        data = benchmark.load("test")
        images = data.normalised(benchmark.inputs)
        test = paired_outcome(
            predict_logits(student, images), predict_logits(teacher, images), data.labels
        )
        evaluations = 1 if before is None else before.test_evaluations + 1
    record = SelectionRecord(
        trial=folder.name,
        rule=RULE,
        objective=objective,
        candidates=candidates,
        validation=folder.epochs()[-1].validation,
        teacher_validation_accuracy=card.scores["validation"].accuracy,
        student_sha256=student_sha256,
        test=test,
        test_evaluations=evaluations,
        session=session,
        time=now(),
    )
    write_record(run.selection_file, record)
    return record
