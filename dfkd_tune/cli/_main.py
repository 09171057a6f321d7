"""The command line's root: errors become one line and an exit code."""

import sys
import traceback
from collections.abc import MutableMapping
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup
from typer.exceptions import Abort, TyperException
from typer.main import get_group

from dfkd_tune import __version__
from dfkd_tune.cli import _compare, _dashboard, _export, _inspect, _simulate, _suite, _sweep
from dfkd_tune.errors import DfkdTuneError

INTERRUPTED = 130

app = typer.Typer(
    name="dfkd-tune",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Search for the best data-free distillation of an image classifier.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dfkd-tune {__version__}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option(help="show the traceback of an error")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="show the version")
    ] = False,
) -> None:
    """Search for the best data-free distillation of an image classifier."""


class _TeacherGroup(TyperGroup):
    """`teacher`, whose commands are imported when it is called: they load PyTorch, for seconds."""

    def list_commands(self, ctx: Any) -> list[str]:
        self.commands = _teacher_commands()
        return super().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        self.commands = _teacher_commands()
        return super().get_command(ctx, cmd_name)


def _teacher_commands() -> MutableMapping[str, Any]:
    from dfkd_tune.cli import _teacher

    return get_group(_teacher.app).commands


app.command()(_sweep.sweep)
app.command()(_sweep.extend)
app.command()(_sweep.baseline)
app.command()(_sweep.distill)
app.command()(_suite.suite)
app.command()(_compare.ablate)
app.command()(_compare.compare)
app.command()(_compare.confirm)
app.command()(_compare.yardsticks)
app.command()(_simulate.simulate)
app.add_typer(
    typer.Typer(cls=_TeacherGroup, no_args_is_help=True),
    name="teacher",
    help="Train, evaluate or inspect a teacher.",
)
app.command()(_inspect.report)
app.command()(_export.export)
app.command()(_inspect.status)
app.command()(_dashboard.dashboard)
app.command("list")(_inspect.list_)
app.command()(_inspect.show)
app.command()(_inspect.doctor)


def run_command_line() -> int:
    """Run what was typed, with `--debug` welcome anywhere in the line.

    Returns:
        The exit code.
    """
    debug = "--debug" in sys.argv[1:]
    if debug:
        sys.argv = [sys.argv[0], *(arg for arg in sys.argv[1:] if arg != "--debug")]
    return run(debug)


def run(debug: bool) -> int:
    """Run what `sys.argv` asks for.

    Args:
        debug: show tracebacks.

    Returns:
        The exit code.
    """
    errors = Console(stderr=True)

    def say(message: str) -> None:
        if debug:
            traceback.print_exc()
        errors.print("error:", style="bold red", end=" ")
        errors.print(message, highlight=False, markup=False, soft_wrap=True)

    try:
        result = app(standalone_mode=False)
    except DfkdTuneError as error:
        say(str(error))
        return error.exit_code
    except Abort:
        return INTERRUPTED
    except TyperException as error:
        # Without a command, typer has printed the help and says nothing more.
        if error.format_message():
            say(error.format_message())
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        first_line = (str(error).splitlines() or [""])[0]
        say(
            f"unexpected {type(error).__name__}: {first_line}; this is a defect in dfkd-tune: "
            f"run the command with --debug and report what it shows"
        )
        return 1
    return result if isinstance(result, int) else 0
