"""All search spaces, by name."""

from dfkd_tune.errors import unknown_name
from search_spaces._methods import METHOD_SPACES, SPACE_OVER_METHODS
from search_spaces._space import SearchSpace

SPACES: dict[str, SearchSpace] = {
    space.name: space for space in (*METHOD_SPACES, SPACE_OVER_METHODS)
}


def get_space(name: str) -> SearchSpace:
    """Find a search space by name.

    Raises:
        UnknownNameError: if there is none of that name.
    """
    if name not in SPACES:
        raise unknown_name("search space", name, SPACES)
    return SPACES[name]
