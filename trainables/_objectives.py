"""Search objectives: what a trial is scored by while it trains, and on which images."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from dfkd_tune.benchmarks import Benchmark, DataKind
from dfkd_tune.evaluation import (
    fidelity_scores,
    predict_logits,
    predict_stored,
    split_score,
    student_scores,
)
from dfkd_tune.records import RunFolder
from trainables._audit import load_audit

ObjectiveName = Literal["val_real", "unlabelled_real", "data_free", "test_peeking"]
OBJECTIVE_NAMES: tuple[ObjectiveName, ...] = get_args(ObjectiveName)


@dataclass(frozen=True, kw_only=True)
class SearchObjective:
    """A search objective.

    Args:
        name: as in an experiment file.
        key: of the score that is maximised, within an epoch's scores.
        words: what it measures.
        needs: real images that it cannot do without.
    """

    name: ObjectiveName
    key: str
    words: str
    needs: tuple[DataKind, ...]


SEARCH_OBJECTIVES: dict[ObjectiveName, SearchObjective] = {
    objective.name: objective
    for objective in (
        SearchObjective(
            name="val_real",
            key="accuracy",
            words="accuracy on the validation split (real, labelled images)",
            needs=("labelled",),
        ),
        SearchObjective(
            name="unlabelled_real",
            key="agreement",
            words="agreement with the teacher on real images, whose labels are not used",
            needs=("labelled", "unlabelled"),
        ),
        SearchObjective(
            name="data_free",
            key="audit_agreement",
            words="agreement with the teacher on an audit set made from the teacher alone",
            needs=("labelled", "unlabelled", "none"),
        ),
        SearchObjective(
            name="test_peeking",
            key="test_accuracy",
            words="accuracy on the test split, which then measures nothing that it has not chosen",
            needs=("labelled",),
        ),
    )
}

MOST_PLACED = 2**28
"""Bytes of images that a trial keeps on its device; more stay on the host until they are scored."""

USUAL_OBJECTIVE: Mapping[DataKind, ObjectiveName] = {
    "labelled": "val_real",
    "unlabelled": "unlabelled_real",
    "none": "data_free",
}


def _placed(images: Tensor, device: torch.device) -> Tensor:
    """Images on the device that scores them after every epoch, where they are few."""
    few = images.numel() * images.element_size() <= MOST_PLACED
    return images.to(device) if few else images


def trial_scores(
    run: RunFolder,
    teacher: nn.Module,
    benchmark: Benchmark,
    objective: SearchObjective,
    device: torch.device,
) -> Callable[[nn.Module], Mapping[str, float]]:
    """Make the evaluation of a search: every score that the objective and the data allow.

    Args:
        run: whose audit set is used, where the objective needs one.
        teacher: frozen, for evaluation; on any device.
        benchmark: whose validation split, or unlabelled images, are used.
        objective: of the search.
        device: where the student will be.

    Returns:
        A function from a student to its scores.
    """
    parts: list[Callable[[nn.Module], dict[str, float]]] = []
    teacher.to(device)
    if benchmark.data == "labelled":
        data = benchmark.load("validation")
        scored = _placed(data.images, device)
        seen = predict_stored(teacher, scored, benchmark.inputs)
        parts.append(
            lambda student: student_scores(
                predict_stored(student, scored, benchmark.inputs), seen, data.labels
            )
        )
    elif benchmark.data == "unlabelled":
        images = _placed(benchmark.images("validation"), device)
        answers = predict_stored(teacher, images, benchmark.inputs)
        parts.append(
            lambda student: fidelity_scores(
                predict_stored(student, images, benchmark.inputs), answers
            )
        )
    if objective.name == "test_peeking":
        test = benchmark.load("test")
        test_images = _placed(test.images, device)
        parts.append(
            lambda student: {
                "test_accuracy": split_score(
                    predict_stored(student, test_images, benchmark.inputs), test.labels
                ).accuracy
            }
        )
    if objective.name == "data_free":
        audit = _placed(load_audit(run.audit_images), device)
        expected = predict_logits(teacher, audit)
        parts.append(
            lambda student: {
                f"audit_{name}": value
                for name, value in fidelity_scores(predict_logits(student, audit), expected).items()
            }
        )
    return lambda student: {name: value for part in parts for name, value in part(student).items()}
