"""CMA-ES whose whole state follows from the trials, so that nothing is lost with a process."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.search_space import IntersectionSearchSpace
from optuna.trial import FrozenTrial, TrialState
from typing_extensions import override

Numeric = FloatDistribution | IntDistribution


class RecordedCma(optuna.samplers.BaseSampler):
    """CMA-ES over the numbers that all complete trials have; all else is drawn at random.

    At each proposal, the complete trials are told to a new CMA-ES in their order, a population at a
    time. Optuna's own keeps its state as a pickle beside the trials, which no record may be.

    Args:
        seed: of the proposal.
        startup: complete trials before it learns.

    Source: Hansen, "The CMA Evolution Strategy: A Tutorial" (arXiv 1604.00772); package `cmaes`.
    """

    def __init__(self, seed: int, startup: int) -> None:
        self.seed, self.startup = seed, startup
        self.random = optuna.samplers.RandomSampler(seed=seed)

    @override
    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The numbers that all complete trials have."""
        common = IntersectionSearchSpace().calculate(study)
        return {
            name: known
            for name, known in common.items()
            if isinstance(known, FloatDistribution | IntDistribution) and not known.single()
        }

    @override
    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values for the numbers; none before there are trials enough."""
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        space = {k: d for k, d in search_space.items() if isinstance(d, Numeric)}
        # In one dimension there is no covariance to adapt, and the package refuses it.
        if len(done) < max(1, self.startup) or len(space) < 2:
            return {}
        # It loads SciPy's distributions, and all that other searches wait for is a second.
        import cmaes

        optimiser = cmaes.CMA(
            mean=np.full(len(space), 0.5),
            sigma=1 / 6,
            bounds=np.tile([0.0, 1.0], (len(space), 1)),
            seed=self.seed,
        )
        sign = -1 if study.direction == optuna.study.StudyDirection.MAXIMIZE else 1
        told = [(_to_unit(each.params, space), sign * float(each.value or 0.0)) for each in done]
        size = optimiser.population_size
        for first in range(0, len(told) - size + 1, size):
            optimiser.tell(told[first : first + size])
        return _from_unit(optimiser.ask(), space)

    @override
    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """What is no number of all trials, at random."""
        return self.random.sample_independent(study, trial, param_name, param_distribution)


def _to_unit(params: Mapping[str, Any], space: Mapping[str, Numeric]) -> NDArray[np.float64]:
    """Each value's place in its range, from 0 to 1."""
    places = []
    for name, known in space.items():
        low, high, value = (float(v) for v in (known.low, known.high, params[name]))
        if known.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        places.append((value - low) / (high - low))
    return np.asarray(places, np.float64)


def _from_unit(point: NDArray[np.float64], space: Mapping[str, Numeric]) -> dict[str, Any]:
    """The values at a point of the unit cube."""
    values: dict[str, Any] = {}
    for place, (name, known) in zip(np.clip(point, 0, 1), space.items(), strict=True):
        low, high = float(known.low), float(known.high)
        if known.log:
            value = math.exp(math.log(low) + float(place) * (math.log(high) - math.log(low)))
        else:
            value = low + float(place) * (high - low)
        value = min(max(value, low), high)
        values[name] = round(value) if isinstance(known, IntDistribution) else value
    return values
