"""The search objective of a run in words: what its value is called, and where it is measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from dfkd_tune.records import synthetic_agreement
from reports.collect import RunData
from reports.configuration import look_up
from reports.formatting import shorten

LABEL_OBJECTIVE = "val_real"
UNLABELLED_OBJECTIVE = "unlabelled_real"
DATA_FREE_OBJECTIVE = "data_free"
PEEKING_OBJECTIVE = "test_peeking"

AUDIT_SCORE = "audit_agreement"
"""Of an epoch: agreement with the teacher on the audit set."""

DataKind = Literal["labelled", "unlabelled", "none"]
USUAL_DATA: dict[str, DataKind] = {
    UNLABELLED_OBJECTIVE: "unlabelled",
    DATA_FREE_OBJECTIVE: "none",
}


@dataclass(frozen=True, kw_only=True)
class ObjectiveWords:
    """The words for a search objective.

    Args:
        name: as recorded, such as `val_real`.
        value: what its value is called, for axes and tables.
        noun: the same in one word, for the heads of narrow columns.
        explained: the same with where it is measured, for sentences.
    """

    name: str
    value: str
    noun: str
    explained: str


def objective_name(run: RunData) -> str:
    """The name of a run's search objective: of the selection, else of the experiment."""
    if run.selection is not None:
        return run.selection.objective
    name = look_up(run.experiment, "search.objective")
    return name if isinstance(name, str) else LABEL_OBJECTIVE


def data_kind(run: RunData) -> DataKind:
    """What there is of real images in a run: labelled, unlabelled or none.

    Where the experiment does not tell, the selection, the teacher's scores or the objective do.
    """
    recorded = look_up(run.experiment, "data")
    for kind in ("labelled", "unlabelled", "none"):
        if recorded == kind:
            return kind
    if run.selection is not None and run.selection.test is not None:
        return "labelled"
    if run.selection is not None and run.selection.held_out is not None:
        return "unlabelled"
    if run.teacher is not None and run.teacher.scores:
        return "labelled"
    return USUAL_DATA.get(objective_name(run), "labelled")


def objective_words(run: RunData) -> ObjectiveWords:
    """The words for a run's search objective; an unknown one is shown by its name."""
    name = objective_name(run)
    if name == LABEL_OBJECTIVE:
        return ObjectiveWords(
            name=name,
            value="validation accuracy",
            noun="accuracy",
            explained="accuracy on the validation split",
        )
    if name == UNLABELLED_OBJECTIVE:
        labelled = data_kind(run) == "labelled"
        where = "the validation images" if labelled else "unlabelled images"
        value = f"agreement with the teacher on {where}"
        explained = f"{value}, without their labels" if labelled else value
        return ObjectiveWords(name=name, value=value, noun="agreement", explained=explained)
    if name == DATA_FREE_OBJECTIVE:
        return ObjectiveWords(
            name=name,
            value="agreement with the teacher on the audit set",
            noun="agreement",
            explained="agreement with the teacher on an audit set made from the teacher alone",
        )
    if name == PEEKING_OBJECTIVE:
        return ObjectiveWords(
            name=name,
            value="test accuracy",
            noun="accuracy",
            explained="accuracy on the test split itself",
        )
    short = shorten(name)
    return ObjectiveWords(name=name, value=short, noun="value", explained=short)


def choice_words(run: RunData) -> str:
    """What the last choice among complete trials was made by, with where it is measured."""
    if run.selection is not None and run.selection.synthetic_agreement is not None:
        return (
            "the mean agreement with the teacher on the audit set and on the synthetic images of "
            "the other trials"
        )
    if by_pool(run):
        return "agreement with the teacher on the synthetic images of the other trials"
    return objective_words(run).explained


def by_pool(run: RunData) -> bool:
    """Whether the students' answers on one another's images had a part in the choice."""
    return decisive_agreement(run) is not None


def decisive_agreement(run: RunData) -> float | None:
    """What the selected trial was chosen by, where that is not the search objective; a fraction.

    Of older runs it is the agreement on the other trials' images alone.
    """
    if run.selection is None:
        return None
    mean = run.selection.synthetic_agreement
    return run.selection.pool_agreement if mean is None else mean


def synthetic_scores(run: RunData) -> Mapping[str, float]:
    """Mean agreement on the audit set and on the other trials' images, by trial that has both."""
    if run.pool is None:
        return {}
    last = {trial.name: trial.evaluated[-1].validation for trial in run.trials if trial.evaluated}
    audit = {name: scores[AUDIT_SCORE] for name, scores in last.items() if AUDIT_SCORE in scores}
    return synthetic_agreement(run.pool, audit)
