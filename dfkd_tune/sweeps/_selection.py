"""Choosing by the search objective, then one look at images that the choice has not seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from rich.console import Console
from torch import Tensor, nn

from dfkd_tune.benchmarks import Benchmark
from dfkd_tune.classifiers import file_sha256
from dfkd_tune.distillation import DistillationConfig
from dfkd_tune.errors import RunFolderError
from dfkd_tune.evaluation import (
    class_results,
    held_out_agreement,
    paired_outcome,
    predict_logits,
    predict_stored,
)
from dfkd_tune.records import (
    COST_WORDS,
    FEWEST_TRIALS,
    ClassResults,
    CostName,
    HeldOutAgreement,
    ParetoPoint,
    ParetoSet,
    RunFolder,
    SelectionRecord,
    TestOutcome,
    TrialFolder,
    now,
    pareto_points,
    synthetic_agreement,
    trial_cost,
    write_record,
)
from dfkd_tune.sweeps._epochs import epoch_progress
from dfkd_tune.sweeps._preparation import best_device
from trainables import (
    SearchObjective,
    card_network,
    load_audit,
    load_network,
    run_objective,
    score_on_pool,
)

TIES = "agreement with the teacher, then fewer parameters, then the earlier trial"


SYNTHETIC_WORDS = (
    "mean of the agreements with the teacher on the audit set and on the synthetic images of all "
    "other complete trials, own left out"
)


def selection_rule(
    objective: SearchObjective, *, pooled: bool, against: CostName | None = None
) -> str:
    """The rule of selection in words.

    Args:
        objective: of the search.
        pooled: whether the students' answers on one another's images have a part in it.
        against: the cost that the search weighs; so that the choice is one that no trial surpasses.
    """
    ties = [] if against is None else [f"lower cost ({COST_WORDS[against]})"]
    ties += ["the search objective"] if pooled else []
    decides = (
        f"highest {SYNTHETIC_WORDS}, at the last epoch"
        if pooled
        else f"highest {objective.words} at the last epoch among complete trials"
    )
    return f"{decides}; ties by {', then '.join([*ties, TIES])}"


def run_against(run: RunFolder) -> CostName | None:
    """The cost that a run's search weighs its objective against; None for none.

    Raises:
        RunFolderError: if the experiment cannot be read.
    """
    known: CostName | None = run.experiment().get("search", {}).get("against")
    return known


def ensure_pool(run: RunFolder, benchmark: Benchmark, console: Console) -> None:
    """Score the complete trials on one another's images, unless that was done for these already.

    Args:
        run: the run; nothing is done for one with fewer than three complete trials.
        benchmark: its input.
        console: where to show how it goes.
    """
    complete = [f for f in run.trial_folders() if f.status().state == "complete"]
    folders = [f for f in complete if f.kept_images.is_file() and f.student_weights.is_file()]
    card = run.teacher_card()
    if card is None or len(folders) < FEWEST_TRIALS:
        return
    before = run.pool()
    students = tuple(file_sha256(folder.student_weights) for folder in folders)
    if before is not None and before.students == students:
        return
    teacher = load_network(card_network(card), benchmark.inputs, run.teacher_weights)
    with epoch_progress(console) as show:
        pool = score_on_pool(
            folders,
            teacher,
            benchmark.inputs,
            device=best_device(),
            progress=lambda done, count: show(
                done, count, f"scoring the students on one another's images, {done} of {count}"
            ),
        )
    write_record(run.pool_file, pool)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The trial that the rule of selection chooses.

    Args:
        folder: of the trial.
        candidates: complete trials that were compared.
        synthetic_agreement: what decided, where synthetic images did.
        point: what decided and the cost; None where the search weighs none, or it is not known.
    """

    folder: TrialFolder
    candidates: int
    synthetic_agreement: float | None
    point: ParetoPoint | None


def _synthetic_agreement(run: RunFolder, trials: Sequence[TrialFolder]) -> Mapping[str, float]:
    """What decides by trial; empty where the pool does not hold every one of these trials."""
    pool = run.pool()
    if pool is None or set(pool.trials) != {folder.name for folder in trials}:
        return {}
    audit = {folder.name: folder.epochs()[-1].value for folder in trials}
    return synthetic_agreement(pool, {t: value for t, value in audit.items() if value is not None})


def best_complete_trial(run: RunFolder) -> Choice | None:
    """The trial that the rule chooses; None where none is complete."""
    ranked = ranked_complete_trials(run)
    return ranked[0] if ranked else None


def ranked_complete_trials(run: RunFolder) -> list[Choice]:
    """The complete trials in the order of the rule, the best first."""
    data_free = run_objective(run).name == "data_free"
    # Without data, no real image may decide, not even a tie.
    agreement = "audit_agreement" if data_free else "agreement"
    complete = [f for f in run.trial_folders() if f.status().state == "complete"]
    agreed = _synthetic_agreement(run, complete) if data_free else {}
    against = run_against(run)
    candidates = []
    for folder in complete:
        record, epochs = folder.trial(), folder.epochs()
        last = epochs[-1]
        if last.value is None:
            continue
        decides = agreed.get(folder.name, last.value)
        cost = None if against is None else trial_cost(against, record, epochs)
        rank = (
            decides,
            -(cost or 0.0),
            last.value,
            last.validation.get(agreement, 0.0),
            -record.student_size.parameters,
            -record.number,
        )
        point = None
        if cost is not None:
            point = ParetoPoint(trial=folder.name, value=decides, cost=cost)
        candidates.append((rank, folder, point))
    candidates.sort(key=lambda candidate: candidate[0], reverse=True)
    return [
        Choice(
            folder=folder,
            candidates=len(candidates),
            synthetic_agreement=agreed.get(folder.name),
            point=point,
        )
        for _, folder, point in candidates
    ]


def _pareto_set(run: RunFolder, ranked: Sequence[Choice]) -> ParetoSet | None:
    """The complete trials that no other surpasses; None where the search weighs no cost."""
    against = run_against(run)
    if against is None:
        return None
    points = pareto_points(choice.point for choice in ranked if choice.point is not None)
    return ParetoSet(against=against, points=points)


def select(
    run: RunFolder, benchmark: Benchmark, objective: SearchObjective, session: str
) -> SelectionRecord:
    """Choose a trial, measure it on the images kept apart, and record both.

    With labels these are the test split, for student and teacher; with unlabelled images their
    second half, for the agreement of both; without images there is only the audit set, class by
    class. A student that met them before is not measured again. Under test_peeking every trial
    has met the test split, and all are counted.

    Raises:
        RunFolderError: if no trial is complete.
    """
    ranked = ranked_complete_trials(run)
    card = run.teacher_card()
    if not ranked or card is None:
        raise RunFolderError(f"{run.path} has no complete trial to select")
    chosen = ranked[0]
    folder, candidates = chosen.folder, chosen.candidates
    student_sha256 = file_sha256(folder.student_weights)
    before = run.selection()
    if before is not None and before.student_sha256 == student_sha256:
        if before.trial == folder.name and before.candidates == candidates:
            return before
        test, held_out, classes = before.test, before.held_out, before.classes
        evaluations = before.test_evaluations
    else:
        teacher = _teacher_answers(run, benchmark)
        test, held_out, classes = _measure(folder, benchmark, teacher)
        if benchmark.data == "none":
            classes = _classes_on_audit(run, folder, benchmark)
        evaluations = 0 if before is None else before.test_evaluations
        evaluations += 0 if benchmark.data == "none" else 1
    score = card.scores.get("validation")
    last = folder.epochs()[-1]
    if objective.name == "test_peeking":
        evaluations = sum(bool(each.epochs()) for each in run.trial_folders())
    record = SelectionRecord(
        trial=folder.name,
        rule=selection_rule(
            objective, pooled=chosen.synthetic_agreement is not None, against=run_against(run)
        ),
        synthetic_agreement=chosen.synthetic_agreement,
        pareto_set=_pareto_set(run, ranked),
        objective=objective.name,
        candidates=candidates,
        value=last.value,
        validation=last.validation,
        teacher_validation_accuracy=score.accuracy if score else None,
        student_sha256=student_sha256,
        test=test,
        held_out=held_out,
        classes=classes,
        test_evaluations=evaluations,
        session=session,
        time=now(),
    )
    write_record(run.selection_file, record)
    return record


def select_confirmed(
    run: RunFolder, objective: SearchObjective, seeds: int, session: str
) -> SelectionRecord | None:
    """Choose among configurations by their mean over seeds, and of the best one a student.

    All have met the test split by then, which decides nothing.

    Args:
        run: of the confirmation.
        objective: of the search.
        seeds: of each configuration; one that has not as many complete is not compared.
        session: this start of the command.

    Returns:
        None where no configuration has all its seeds.
    """
    values: dict[str, dict[str, float]] = {}
    for folder in run.trial_folders():
        if folder.status().state == "complete":
            last = folder.epochs()[-1].value
            if last is not None:
                values.setdefault(folder.trial().variant, {})[folder.name] = last
    whole = {variant: each for variant, each in values.items() if len(each) == seeds}
    card = run.teacher_card()
    if not whole or card is None:
        return None
    # The first of equals is the one that the search had ranked higher.
    variant = max(whole, key=lambda name: fmean(whole[name].values()))
    trial = max(whole[variant], key=lambda name: whole[variant][name])
    folder = run.trial_folder(trial)
    score = card.scores.get("validation")
    record = SelectionRecord(
        trial=trial,
        rule=f"highest mean of {objective.words} over {seeds} fresh seeds among {len(whole)} "
        f"configurations, that of {variant}; of its students the one with the highest value",
        objective=objective.name,
        candidates=len(whole),
        value=whole[variant][trial],
        validation=folder.epochs()[-1].validation,
        teacher_validation_accuracy=score.accuracy if score else None,
        student_sha256=file_sha256(folder.student_weights),
        test=folder.test(),
        test_evaluations=sum(each.test_file.exists() for each in run.trial_folders()),
        session=session,
        time=now(),
    )
    write_record(run.selection_file, record)
    return record


def measure_all(run: RunFolder, benchmark: Benchmark, console: Console) -> None:
    """Measure every complete trial of a comparison on the test split, once each.

    None is chosen by it, so that no figure is picked by the test split.
    """
    folders = [
        folder
        for folder in run.trial_folders()
        if folder.status().state == "complete" and not folder.test_file.exists()
    ]
    if not folders or benchmark.data != "labelled":
        return
    teacher = _teacher_answers(run, benchmark)
    with epoch_progress(console) as show:
        for done, folder in enumerate(folders, start=1):
            test, _, _ = _measure(folder, benchmark, teacher)
            if test is not None:
                write_record(folder.test_file, test)
            text = f"measuring the students on the test split, {done} of {len(folders)}"
            show(done, len(folders), text)


def _teacher_answers(run: RunFolder, benchmark: Benchmark) -> Tensor | None:
    """The teacher's logits on the images kept apart; None without images."""
    card = run.teacher_card()
    if benchmark.data == "none" or card is None:
        return None
    teacher = load_network(card_network(card), benchmark.inputs, run.teacher_weights)
    return predict_stored(teacher, benchmark.images("test"), benchmark.inputs)


def _measure(
    folder: TrialFolder, benchmark: Benchmark, teacher: Tensor | None
) -> tuple[TestOutcome | None, HeldOutAgreement | None, ClassResults | None]:
    if teacher is None:
        return None, None, None
    student = predict_stored(
        _student(folder, benchmark), benchmark.images("test"), benchmark.inputs
    )
    names = benchmark.class_names
    if benchmark.data == "labelled":
        labels = benchmark.load("test").labels
        classes = class_results(student, teacher, labels, names, "test")
        return paired_outcome(student, teacher, labels), None, classes
    classes = class_results(student, teacher, None, names, "held_out")
    return None, held_out_agreement(student, teacher), classes


def _student(folder: TrialFolder, benchmark: Benchmark) -> nn.Module:
    config = DistillationConfig.model_validate(folder.trial().configuration)
    return load_network(config.student, benchmark.inputs, folder.student_weights)


def _classes_on_audit(
    run: RunFolder, folder: TrialFolder, benchmark: Benchmark
) -> ClassResults | None:
    """Class by class on the audit set; None where the run has none."""
    card = run.teacher_card()
    if card is None or not run.audit_images.is_file():
        return None
    images = load_audit(run.audit_images)
    teacher = load_network(card_network(card), benchmark.inputs, run.teacher_weights)
    return class_results(
        predict_logits(_student(folder, benchmark), images),
        predict_logits(teacher, images),
        None,
        benchmark.class_names,
        "audit",
    )
