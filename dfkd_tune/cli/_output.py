"""How results are shown. Loads nothing that takes long: `--help` waits for it."""

import json
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def command_line() -> str:
    """The command as it was typed, quoted for a shell."""
    return shlex.join(["dfkd-tune", *sys.argv[1:]])


def make_console(as_json: bool = False) -> Console:
    """The console for people: standard error where standard output carries JSON.

    Where there is no terminal, lines are 160 wide rather than 80, so that tables stay whole.
    """
    console = Console(stderr=as_json)
    return console if console.is_terminal else Console(stderr=as_json, width=160)


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output, and nothing else."""
    sys.stdout.write(json.dumps(value, indent=2, sort_keys=True, default=str) + "\n")


def print_table(
    console: Console,
    title: str,
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    whole_first: bool = False,
) -> None:
    """Print a table; cells are shown as they are, brackets and all.

    Args:
        console: where to.
        title: above it; none where empty.
        headers: of the columns.
        rows: cells.
        whole_first: never break the first column's cells.
    """
    table = Table(title=title or None, box=None, padding=(0, 2, 0, 0), title_justify="left")
    for index, header in enumerate(headers):
        table.add_column(header, overflow="fold", no_wrap=whole_first and index == 0)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def percent(fraction: float | None) -> str:
    """A fraction as percent; a dash where there is none."""
    return "-" if fraction is None else f"{100 * fraction:.1f} %"


def say_how_to_go_on(console: Console) -> None:
    """Show the command again, which goes on where it was ended."""
    console.print(f"to go on: {command_line()}", highlight=False, soft_wrap=True, style="bold")


def short(path: Path) -> str:
    """A path as seen from here, where it is below."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
