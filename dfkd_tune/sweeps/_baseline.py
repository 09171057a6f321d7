"""The random baseline of a sweep: what chance finds with the same budget."""

from dataclasses import replace
from typing import Any

from dfkd_tune.errors import RunFolderError
from dfkd_tune.records import FINAL_STATES, RunFolder
from dfkd_tune.sweeps._again import experiment_of_run
from dfkd_tune.sweeps._experiment import ResolvedExperiment


def random_baseline(run: RunFolder, name: str | None = None) -> ResolvedExperiment:
    """The experiment of a finished sweep with its points drawn at random.

    Equal are the space, the recipe as the first trial, the objective, the teacher and its audit
    set, the number of trials, the budget of each, the scheduler and the seed. What the sweep knew
    from finished ones is left out, and so are its time budget and PBT, whose trials train alone.

    Args:
        run: the sweep's folder.
        name: of the baseline's run, beside it; the sweep's and `-random` by default.

    Raises:
        RunFolderError: if the folder is of no sweep, of one that has not ended, or of a random one.
    """
    folders = run.trial_folders()
    resolved = experiment_of_run(
        run, trials=max(1, len(run.founders())), beside=name or f"{run.path.name}-random"
    )
    search = resolved.experiment.search
    population = search.scheduler.name == "pbt"
    if search.sampler == "random" and not population:
        raise RunFolderError(
            f"the trials of {run.path} were drawn at random themselves; give the folder of a sweep "
            f"with another sampler"
        )
    unfinished = sum(folder.status().state not in FINAL_STATES for folder in folders)
    if unfinished or not folders:
        what = f"{unfinished} of its {len(folders)} trials" if folders else "all of its trials"
        raise RunFolderError(
            f"{run.path} has {what} still to train; let the sweep end first, so that its budget "
            f"is known"
        )
    changes: dict[str, Any] = {"sampler": "random", "time_budget": None}
    if population:
        # Its founders are drawn at random too; what chance finds is what they come to alone.
        changes["scheduler"] = search.scheduler.model_copy(update={"name": "none"})
    search = search.model_copy(update=changes)
    experiment = resolved.experiment.model_copy(update={"search": search})
    return replace(resolved, experiment=experiment, grid=(), baseline_of=run.path.absolute())
