"""NSGA-II whose generations follow from the trials, so that nothing is lost with a process."""

from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState
from typing_extensions import override

FEWEST_PARENTS = 2
"""A child has two of them."""

REDRAWS = 20


class RecordedNsga2(optuna.samplers.NSGAIISampler):
    """Optuna's NSGA-II, with the complete trials in their order cut into generations.

    Optuna's own notes a trial's generation when it is proposed, and each generation's parents in
    the study, beside the trials, which no record may be. Here both are found anew at each proposal.

    Numbers and choices that not all complete trials have are drawn at random.

    Args:
        seed: of the proposal, for which alone the sampler is made.
        population: complete trials of a generation; the first is drawn at random.

    Source: Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II" (IEEE
    Transactions on Evolutionary Computation, 2002).
    """

    def __init__(self, seed: int, population: int) -> None:
        super().__init__(population_size=population, seed=seed)
        self.size = population
        self.parents: dict[int, list[FrozenTrial]] = {0: []}

    @override
    def get_trial_generation(self, study: optuna.Study, trial: FrozenTrial) -> int:
        """The generation of a trial that is proposed now."""
        return len(_complete(study)) // self.size

    @override
    def get_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        """The complete trials of a generation."""
        first = generation * self.size
        return _complete(study)[first : first + self.size]

    @override
    def get_parent_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        """The best of all generations before one, by dominance and then by crowding."""
        for each in range(len(self.parents), generation + 1):
            chosen = self.select_parent(study, each)
            # In one order, since the parents of a child are drawn by their places.
            self.parents[each] = sorted(chosen, key=lambda trial: trial.number)
        return self.parents[generation]

    @override
    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A child of two parents, drawn again where it is a trial already: that would end alike."""
        others = [t.params for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        child = super().sample_relative(study, trial, search_space)
        for _ in range(REDRAWS):
            if child not in others:
                break
            child = super().sample_relative(study, trial, search_space)
        return child


def _complete(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
