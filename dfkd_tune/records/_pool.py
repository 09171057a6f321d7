"""How every student of a sweep does on the images of the other trials."""

import math
from collections.abc import Mapping, Sequence

from pydantic import Field

from dfkd_tune.records._record import SCHEMA_VERSION, Record

FEWEST_TRIALS = 3
"""With fewer, no two students can be compared on images that neither was trained on."""


class PoolRecord(Record):
    """`pool.json`: every complete trial's student on every complete trial's own synthetic images.

    A student is scored on the images of the other trials alone: on its own, a collapsed synthesis
    looks perfect. Rows are students, columns the trials whose images they are.
    """

    schema_version: int = SCHEMA_VERSION
    trials: tuple[str, ...] = Field(description="names, in the order of rows and columns")
    students: tuple[str, ...] = Field(description="SHA-256 of each student's weights")
    images: tuple[int, ...] = Field(description="of each trial")
    class_entropy: tuple[float, ...] = Field(
        description="of the teacher's mean prediction on each trial's images, nats; what they "
        "weigh follows from it"
    )
    agreement: tuple[tuple[float, ...], ...] = Field(
        description="fraction of images on which student and teacher choose one class"
    )
    kl: tuple[tuple[float, ...], ...] = Field(description="KL(teacher || student), nats")
    ensemble: tuple[tuple[float, ...], ...] = Field(
        description="fraction of images on which the student and the mean prediction of all other "
        "students choose one class"
    )
    seconds: float
    time: str

    def scores(self, matrix: Sequence[Sequence[float]]) -> dict[str, float]:
        """One number for each trial of one of the matrices, its own images left out.

        Every column is compared with its mean over the students that may be scored on it, so that
        nobody gains by having made the hardest images; the mean of all is added again. Columns
        weigh by how many classes they show beyond one, e to their class entropy less 1: images of
        one class tell nothing, and those of two classes among a hundred hardly more.

        Args:
            matrix: `agreement`, `kl` or `ensemble`.

        Returns:
            Scores by trial; none with fewer than three trials.
        """
        count = len(self.trials)
        if count < FEWEST_TRIALS:
            return {}
        # A sweep in which all collapsed has no weight at all: then all weigh the same.
        weights = [math.expm1(entropy) for entropy in self.class_entropy]
        if sum(weights) <= 0:
            weights = [1.0] * count
        means = [
            sum(matrix[row][column] for row in range(count) if row != column) / (count - 1)
            for column in range(count)
        ]
        level = sum(w * mean for w, mean in zip(weights, means, strict=True)) / sum(weights)
        scores = {}
        for row, name in enumerate(self.trials):
            others = [column for column in range(count) if column != row]
            total = sum(weights[column] for column in others)
            if total <= 0:
                scores[name] = level
                continue
            gains = sum(weights[c] * (matrix[row][c] - means[c]) for c in others)
            scores[name] = level + gains / total
        return scores


def synthetic_agreement(pool: PoolRecord, audit: Mapping[str, float]) -> dict[str, float]:
    """The mean of a student's agreements with the teacher on two kinds of synthetic images.

    On those of the other trials, and on an audit set that none of them made: what flatters a
    student on one kind does not on the other.

    Args:
        pool: of a run's complete trials.
        audit: agreement on the audit set by trial, fractions.

    Returns:
        Fractions by trial; of those alone that have both.
    """
    pooled = pool.scores(pool.agreement)
    return {name: (pooled[name] + audit[name]) / 2 for name in pooled if name in audit}
