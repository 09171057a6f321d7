"""The commands that people type; they parse, call and print."""

from dfkd_tune.cli._main import main

__all__ = ["main"]
