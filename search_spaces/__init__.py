"""What is searched: spaces as data, walked by Optuna define-by-run."""

from search_spaces._dimensions import (
    METHOD_KEY,
    OFF,
    ON,
    Condition,
    Dimension,
    get_key,
    with_values,
)
from search_spaces._perturbation import is_perturbed, perturbed
from search_spaces._registry import SPACES, get_space
from search_spaces._space import SearchSpace
from search_spaces._students import students_for

__all__ = [
    "METHOD_KEY",
    "OFF",
    "ON",
    "SPACES",
    "Condition",
    "Dimension",
    "SearchSpace",
    "get_key",
    "get_space",
    "is_perturbed",
    "perturbed",
    "students_for",
    "with_values",
]
