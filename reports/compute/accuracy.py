"""Relative accuracy and agreement on images that the choice has not seen, and how sure they are."""

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np

from dfkd_tune.records import HeldOutAgreement, TestOutcome

RESAMPLES = 10_000
BOOTSTRAP_SEED = 20_240_229
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A number with the bounds of its interval, all in the number's unit.

    Args:
        value: the number itself.
        low: lower bound.
        high: upper bound.
    """

    value: float
    low: float
    high: float


def relative_accuracy_interval(
    outcome: TestOutcome,
    resamples: int = RESAMPLES,
    seed: int = BOOTSTRAP_SEED,
    level: float = LEVEL,
) -> Interval | None:
    """Relative accuracy with a percentile interval of the paired bootstrap.

    Student and teacher met the same images, so whole images are drawn again: a multinomial draw of
    the four paired outcomes. The interval covers the finite test split; it does not cover what
    another seed of the distillation would give.

    Args:
        outcome: the paired counts on the test split.
        resamples: how many times the images are drawn again, at least 1.
        seed: of the draws; the same counts give the same interval.
        level: coverage, in (0, 1).

    Returns:
        Percent; None where the teacher classifies no image rightly or there are no images.
    """
    counts = np.array(
        [outcome.both_correct, outcome.student_only, outcome.teacher_only, outcome.neither]
    )
    images = int(counts.sum())
    teacher_correct = outcome.both_correct + outcome.teacher_only
    if images == 0 or teacher_correct == 0:
        return None
    draws = np.random.default_rng(seed).multinomial(images, counts / images, size=resamples)
    student = draws[:, 0] + draws[:, 1]
    teacher = draws[:, 0] + draws[:, 2]
    ratios = 100 * student[teacher > 0] / teacher[teacher > 0]
    low, high = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2])
    value = 100 * (outcome.both_correct + outcome.student_only) / teacher_correct
    return Interval(value=float(value), low=float(low), high=float(high))


def agreement_interval(held_out: HeldOutAgreement, level: float = LEVEL) -> Interval | None:
    """Agreement with the teacher and Wilson's interval of a share.

    The interval covers the finite number of images; it does not cover what another seed of the
    distillation would give.

    Args:
        held_out: on how many images student and teacher choose one class.
        level: coverage, in (0, 1).

    Returns:
        Percent; None where the counts contradict each other.

    Source: E. B. Wilson, 1927, doi:10.1080/01621459.1927.10502953.
    """
    images, same = held_out.images, held_out.same
    if not 0 <= same <= images:
        return None
    share = same / images
    z = NormalDist().inv_cdf((1 + level) / 2)
    weight = 1 + z * z / images
    centre = (share + z * z / (2 * images)) / weight
    half = z / weight * sqrt(share * (1 - share) / images + z * z / (4 * images * images))
    return Interval(
        value=100 * share,
        low=100 * min(share, max(0.0, centre - half)),
        high=100 * max(share, min(1.0, centre + half)),
    )
