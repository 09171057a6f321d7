"""dfkd-tune: search for the best data-free knowledge distillation of an image classifier."""

__version__ = "0.1.0"
__all__ = ["__version__"]
