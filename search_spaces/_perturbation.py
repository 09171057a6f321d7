"""Changes of a point on the way, for population based training.

Source: Jaderberg et al., "Population Based Training of Neural Networks" (arXiv 1711.09846).
"""

import random
from collections.abc import Mapping
from typing import Any

from search_spaces._dimensions import Dimension
from search_spaces._space import SearchSpace

FACTORS = (0.8, 1.2)
REDRAWN = 0.25
"""How often a value is drawn anew from its range. Both as in the paper's experiments."""


def is_perturbed(dimension: Dimension) -> bool:
    """Whether a child's value may differ from its parent's: loss weights and learning rates."""
    return dimension.kind == "float" and dimension.key.endswith((".weight", "learning_rate"))


def perturbed(
    space: SearchSpace, parameters: Mapping[str, Any], source: random.Random
) -> dict[str, Any]:
    """A child's parameters: its parent's, with loss weights that are on and rates changed.

    Everything else stays, so that the parent's weights fit the child's networks.

    Args:
        space: of both.
        parameters: of the parent.
        source: of random numbers.
    """
    changed = dict(parameters)
    for dimension in space.dimensions:
        value = parameters.get(dimension.name)
        if is_perturbed(dimension) and isinstance(value, int | float):
            changed[dimension.name] = _perturbed_number(dimension, float(value), source)
    return changed


def _perturbed_number(dimension: Dimension, value: float, source: random.Random) -> float:
    low, high = dimension.low, dimension.high
    if source.random() < REDRAWN:
        place = source.random()
        value = low * (high / low) ** place if dimension.log else low + (high - low) * place
    else:
        value *= source.choice(FACTORS)
    return min(high, max(low, value))
