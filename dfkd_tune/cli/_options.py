"""Options that several commands share."""

from typing import Annotated

import typer

Address = Annotated[
    str | None,
    typer.Option(envvar="RAY_ADDRESS", help="of a Ray cluster; one of our own by default"),
]
