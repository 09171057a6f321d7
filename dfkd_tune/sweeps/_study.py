"""The Optuna study of a run folder's trials, and the samplers that propose from it.

The study lives in memory and is rebuilt from the records at each start: there is no second store
that could disagree with them after a crash.
"""

import hashlib
import math
import warnings
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState as OptunaState
from typing_extensions import override

from dfkd_tune.errors import RunFolderError
from dfkd_tune.records import (
    FINAL_STATES,
    LOST_STATES,
    CostName,
    RunFolder,
    TrialFolder,
    trial_cost,
)
from dfkd_tune.sweeps._cma import RecordedCma
from dfkd_tune.sweeps._experiment_config import SamplerName
from dfkd_tune.sweeps._nsga2 import RecordedNsga2
from search_spaces import SearchSpace


def sampler_for(
    kind: SamplerName,
    seed: int,
    number: int,
    startup: int,
) -> optuna.samplers.BaseSampler:
    """A sampler for one proposal: the same for a seed, a number and a history, also on resume.

    Args:
        kind: as in an experiment file.
        seed: of the search.
        number: of the trial that is proposed.
        startup: trials drawn at random before the sampler learns; of nsga2 a generation.
    """
    digest = hashlib.sha256(f"{seed}/{number}".encode()).digest()
    own_seed = int.from_bytes(digest[:4], "big") >> 1
    # The points of a grid are given: nothing is left to draw.
    if kind in ("random", "grid"):
        return optuna.samplers.RandomSampler(seed=own_seed)
    with warnings.catch_warnings():
        # `group` keeps conditional dimensions apart; it and the Gaussian process are marked so.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if kind == "gp":
            return optuna.samplers.GPSampler(seed=own_seed, n_startup_trials=startup)
        if kind == "cmaes":
            return RecordedCma(own_seed, startup)
        if kind == "nsga2":
            return RecordedNsga2(own_seed, startup)
        return optuna.samplers.TPESampler(
            seed=own_seed, n_startup_trials=startup, multivariate=True, group=True
        )


class BareTrials(optuna.storages.InMemoryStorage):
    """Keeps nothing that samplers note beside trials, since no record holds it.

    Of a running trial, TPE and the Gaussian process note also the values that it was never asked
    for. After a restart they would propose otherwise.
    """

    @override
    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """See the class."""


def rebuild_study(
    run: RunFolder, space: SearchSpace, against: CostName | None = None
) -> tuple[optuna.Study, dict[str, optuna.Trial]]:
    """Make the Optuna study of a run folder's trials, numbers equal to theirs.

    Complete trials are COMPLETE with their last value, and their cost where there is one. Stopped
    ones are PRUNED with their intermediate values, which Optuna has no place for beside a cost;
    diverged and collapsed ones are PRUNED without, which ranks them last. Failed ones are FAIL.
    Unfinished ones are RUNNING with their parameters.

    Args:
        run: the run folder.
        space: that its trials were drawn from.
        against: the cost that is minimised beside the search objective; None for none.

    Returns:
        The study, and the unfinished trials by name.
    """
    live: dict[str, optuna.Trial] = {}
    directions = [StudyDirection.MAXIMIZE]
    if against is not None:
        directions.append(StudyDirection.MINIMIZE)
    study = optuna.create_study(directions=directions, storage=BareTrials())
    distributions = space.distributions()
    for folder in run.trial_folders():
        record, state = folder.trial(), folder.status().state
        if state not in FINAL_STATES:
            study.enqueue_trial(record.parameters)
            live[folder.name] = study.ask()
            space.ask(live[folder.name])
            continue
        optuna_state = {
            "complete": OptunaState.COMPLETE,
            "stopped": OptunaState.PRUNED,
            "diverged": OptunaState.PRUNED,
            "collapsed": OptunaState.PRUNED,
            "failed": OptunaState.FAIL,
        }[state]
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna_state,
                params=record.parameters,
                distributions={key: distributions[key] for key in record.parameters},
                values=end_values(folder, against) if state == "complete" else None,
                intermediate_values={}
                if state in LOST_STATES or against is not None
                else intermediate_values(folder),
            )
        )
    return study, live


def end_values(folder: TrialFolder, against: CostName | None) -> list[float]:
    """What Optuna hears of a complete trial: its last value, and its cost where there is one.

    The cost comes as its logarithm: samplers measure distances, and half the parameters are as far
    from a large student as from a small one.

    Raises:
        RunFolderError: if the cost was not recorded.
    """
    values = intermediate_values(folder)
    last = values[max(values)]
    if against is None:
        return [last]
    cost = trial_cost(against, folder.trial(), folder.epochs())
    if cost is None or cost <= 0:
        raise RunFolderError(
            f"{folder.path} records no {against}, against which this search weighs its trials; "
            f"begin a new run"
        )
    return [last, math.log10(cost)]


def intermediate_values(folder: TrialFolder) -> dict[int, float]:
    """A trial's value of the search objective by student steps."""
    return {
        epoch.student_steps: epoch.value
        for epoch in folder.epochs()
        if epoch.value is not None and epoch.student_steps > 0
    }
