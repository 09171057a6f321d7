"""Splits by a hashed rule: the same on every machine and with every library version."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np


def split_by_hash(
    labels: Sequence[int],
    fractions: Mapping[str, float],
    salt: str,
    names: Sequence[str] | None = None,
) -> dict[str, list[int]]:
    """Divide examples into splits, class by class, in the order of a hash of their names.

    Args:
        labels: class of each example.
        fractions: share of each split in (0, 1]; the first split named takes what rounding leaves.
        salt: text that fixes the order; another salt gives another split.
        names: a stable name of each example; its index by default.

    Returns:
        Ascending indices by split name; the splits are disjoint and cover all examples.
    """
    if not np.isclose(sum(fractions.values()), 1.0):
        raise ValueError(f"fractions {dict(fractions)} must sum to 1")
    first, *others = fractions
    members: dict[int, list[int]] = {}
    for index, label in enumerate(labels):
        members.setdefault(label, []).append(index)

    def place(index: int) -> str:
        name = index if names is None else names[index]
        return hashlib.sha256(f"{salt}/{name}".encode()).hexdigest()

    result: dict[str, list[int]] = {name: [] for name in fractions}
    for label in sorted(members):
        ordered = sorted(members[label], key=place)
        start = 0
        for name in others:
            count = round(fractions[name] * len(ordered))
            result[name] += ordered[start : start + count]
            start += count
        result[first] += ordered[start:]
    return {name: sorted(indices) for name, indices in result.items()}
