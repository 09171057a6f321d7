"""`dashboard`.

It imports what it needs when it is called, so that `--help` need not wait for PyTorch and Ray.
"""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from dfkd_tune.cli._output import make_console


def dashboard(
    run: Annotated[Path, typer.Argument(help="folder of a sweep", show_default=False)],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="to listen on; 0: one that is free")
    ] = 8080,
    host: Annotated[
        str, typer.Option(help="to listen on; 0.0.0.0: whoever reaches this machine sees it")
    ] = "127.0.0.1",
) -> None:
    """Show a sweep's trials in optuna-dashboard, as its records are now, until Ctrl-C."""
    import optuna

    from dfkd_tune.records import RunFolder
    from dfkd_tune.sweeps import dashboard_server, recorded_study

    console = make_console()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = recorded_study(RunFolder.open(run))
    with dashboard_server(study, host, port) as server:
        console.print(
            f"{len(study.trials)} trials at http://{host}:{server.server_port}/ "
            f"(the records as they are now; Ctrl-C ends it)",
            highlight=False,
            soft_wrap=True,
        )
        # Ctrl-C is how it ends.
        with suppress(KeyboardInterrupt):
            server.serve_forever()
