"""Methods: named recipes over the one loop."""

from dfkd_tune.distillation.methods._method import Method, method_service
from dfkd_tune.distillation.methods._registry import METHODS, get_method
from dfkd_tune.distillation.methods._variants import FULL, Variant, ablation_of

__all__ = [
    "FULL",
    "METHODS",
    "Method",
    "Variant",
    "ablation_of",
    "get_method",
    "method_service",
]
