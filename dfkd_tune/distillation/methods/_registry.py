"""All methods, by name."""

from dfkd_tune.distillation.methods import _recipes as recipes
from dfkd_tune.distillation.methods._method import Method
from dfkd_tune.errors import unknown_name

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        recipes.CGDD,
        recipes.CGDD_V4,
        recipes.DFKD_FGVC,
        recipes.ZSKD,
        recipes.ZSKT,
        recipes.DAFL,
        recipes.DFAD,
        recipes.ADI,
        recipes.DFQ,
        recipes.MAD,
        recipes.CMI,
        recipes.PRE_DFKD,
        recipes.FAST,
        recipes.NAYER,
    )
}


def get_method(name: str) -> Method:
    """Find a method by name.

    Raises:
        UnknownNameError: if there is none of that name.
    """
    if name not in METHODS:
        raise unknown_name("method", name, METHODS)
    return METHODS[name]
