"""From a run folder back to its experiment, so that a run needs no file to go on."""

from dataclasses import replace

from dfkd_tune.errors import RunFolderError
from dfkd_tune.records import RunFolder
from dfkd_tune.sweeps._experiment import ResolvedExperiment, resolve_experiment
from dfkd_tune.sweeps._experiment_file import override


def experiment_of_run(
    run: RunFolder, *, trials: int, beside: str | None = None
) -> ResolvedExperiment:
    """The experiment of a sweep, checked whole again.

    Args:
        run: its folder, where it is now.
        trials: in all, so that the same call goes on where it was ended.
        beside: name of another run beside it, for which the experiment is: one that confirms its
            best, or its random baseline. It begins from no other sweep.

    Raises:
        RunFolderError: if the folder is of no sweep, has more trials than that, or does not hold
            the experiment as written.
        ExperimentError: if what it names is not there any more.
    """
    experiment = run.experiment()
    kind, written = run.run().kind, experiment.get("written")
    if kind != "sweep":
        raise RunFolderError(
            f"{run.path} holds a {kind}, and this needs a sweep; give the folder of one"
        )
    if not isinstance(written, dict):
        raise RunFolderError(
            f"{run.experiment_file} does not hold the experiment as written; go on by `dfkd-tune "
            f"sweep` with its file and more --trials"
        )
    known = len(run.founders())
    if trials < known:
        raise RunFolderError(
            f"{run.path} has {known} trials already, and --trials is {trials}; give how many there "
            f"are to be in all"
        )
    raw = override(
        written,
        {
            "name": beside or run.path.name,
            "storage": str(run.path.absolute().parent),
            # As it was found then: its paths are whole.
            "benchmark": experiment["benchmark_config"],
            "search.trials": trials,
            "search.warm_start": None if beside is None else [],
        },
    )
    resolved = resolve_experiment(raw, str(run.experiment_file))
    sweep = experiment.get("baseline_of")
    if beside is None and sweep:
        return replace(resolved, baseline_of=run.path.absolute().parent / sweep)
    return resolved
