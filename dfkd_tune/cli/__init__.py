"""The commands that people type; they parse, call and print."""

import gc
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; exit with 0 ok, 1 error, 2 usage, 3 failed trials, 130 interrupted."""
    try:
        # Imported here: it takes a moment, in which a Ctrl-C must not end in a traceback.
        from dfkd_tune.cli._main import run_command_line
    except KeyboardInterrupt:
        sys.exit(130)
    status = run_command_line()
    if "torch" not in sys.modules:
        # The end of the process frees its memory; to look for cycles in it first takes half a
        # second. What comes with PyTorch is freed, or Triton says how much of it was not.
        gc.freeze()
    sys.exit(status)
