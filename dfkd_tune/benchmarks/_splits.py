"""Splits by a hashed rule: the same on every machine and with every library version."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np


def split_by_hash(
    labels: Sequence[int], fractions: Mapping[str, float], salt: str
) -> dict[str, list[int]]:
    """Divide examples into splits, class by class, in the order of a hash of their index.

    Args:
        labels: class of each example.
        fractions: share of each split in (0, 1]; the first split named takes what rounding leaves.
        salt: text that fixes the order; another salt gives another split.

    Returns:
        Ascending indices by split name; the splits are disjoint and cover all examples.
    """
    if not np.isclose(sum(fractions.values()), 1.0):
        raise ValueError(f"fractions {dict(fractions)} must sum to 1")
    first, *others = fractions
    result: dict[str, list[int]] = {name: [] for name in fractions}
    for label in sorted(set(labels)):
        members = [index for index, value in enumerate(labels) if value == label]
        members.sort(key=lambda index: hashlib.sha256(f"{salt}/{index}".encode()).hexdigest())
        start = 0
        for name in others:
            count = round(fractions[name] * len(members))
            result[name] += members[start : start + count]
            start += count
        result[first] += members[start:]
    return {name: sorted(indices) for name, indices in result.items()}
