"""`simulate`: a search on recorded curves against random search.

It imports what it needs when it is called, so that `--help` need not wait for PyTorch and Ray.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dfkd_tune.cli._output import make_console, percent, print_json, print_table

if TYPE_CHECKING:
    from trainables import RecordedCurve, SearchObjective


def simulate(
    experiment: Annotated[Path, typer.Argument(help="experiment file (YAML)", show_default=False)],
    curves: Annotated[
        list[Path],
        typer.Option(
            help="recorded curves: the folder of a finished run, or a file of --save; may be "
            "given several times",
            show_default=False,
        ),
    ],
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="searches of each kind")] = 20,
    trials: Annotated[
        int | None, typer.Option(min=1, help="of the random search; the file's by default")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=1000, help="trials at once")] = 2,
    save: Annotated[
        Path | None, typer.Option(help="file to keep these curves in (JSON Lines)")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False,
) -> None:
    """Measure on recorded curves how much sooner the search finds what random search finds."""
    import optuna

    from dfkd_tune.cli._experiment import resolved_from
    from dfkd_tune.errors import UsageError
    from dfkd_tune.sweeps import epoch_progress, measure_efficiency
    from trainables import CurveModel, write_curves

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    console = make_console(as_json)
    resolved = resolved_from(experiment, trials=trials)
    if resolved.experiment.search.against is not None:
        raise UsageError(
            f"{experiment}: search.against: how soon a search finds the best is told by one "
            f"number; take it out"
        )
    known = tuple(curve for path in curves for curve in _curves(path, resolved.objective))
    if save is not None:
        write_curves(save, known)
    model = CurveModel(resolved.space, known)
    with epoch_progress(console) as show:
        found = measure_efficiency(
            resolved,
            model,
            range(seeds),
            workers=workers,
            progress=lambda done, count: show(done, count, f"searching, seed {done} of {count}"),
        )
    if as_json:
        print_json({**asdict(found), "curves": len(known), "skill": model.skill})
        return
    rows = [
        [str(each.seed), percent(each.random_best), percent(each.search_best), _share(each.share)]
        for each in found.seeds
    ]
    columns = ["seed", "best of random search", "best of the search", "share of its budget needed"]
    print_table(console, "", columns, rows)
    low, high = found.interval
    console.print(
        f"median share of the budget of {found.trials} random trials: {_share(found.median)} "
        f"(95 % interval {_share(low)} to {_share(high)})",
        highlight=False,
        soft_wrap=True,
    )
    console.print(_trust(len(known), model.skill), highlight=False, soft_wrap=True)


def _curves(path: Path, objective: "SearchObjective") -> Sequence["RecordedCurve"]:
    """The curves of a run folder or a file.

    Raises:
        UsageError: if there is none.
    """
    from dfkd_tune.errors import UsageError
    from dfkd_tune.records import RunFolder
    from trainables import read_curves, recorded_curves

    if not path.is_dir():
        return read_curves(path)
    found = recorded_curves(RunFolder.open(path), objective.key)
    if not found:
        raise UsageError(
            f"{path} has no complete trial with {objective.words} after every epoch, so no curve"
        )
    return found


def _share(value: float) -> str:
    return "not reached" if math.isinf(value) else percent(value)


def _trust(curves: int, skill: float) -> str:
    """How far recorded curves can be trusted, for people."""
    if math.isnan(skill):
        return f"on {curves} recorded curves, too few to say how well they tell of others"
    return (
        f"on {curves} recorded curves; of trials that it has not seen, the model of them ranks the "
        f"last values with Spearman {skill:.2f}"
    )
