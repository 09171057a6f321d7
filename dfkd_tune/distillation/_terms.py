"""What every loss term has: settings with a weight, a function of a step, and its needs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from dfkd_tune.distillation._step import Step

Need = Literal["teacher_features", "teacher_statistics", "student", "student_features"]


class TermSettings(BaseModel):
    """Settings of a loss term; a weight of 0 leaves the term out entirely."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: float = Field(ge=0, allow_inf_nan=False)


Settings = TypeVar("Settings", bound=TermSettings)


@dataclass(frozen=True, kw_only=True)
class LossTerm:
    """One weighted summand of an objective.

    Args:
        name: as in a configuration and in the records.
        settings: model of its settings.
        compute: unweighted loss of a step, a scalar.
        needs: passes that must be made for it.
    """

    name: str
    settings: type[TermSettings]
    compute: Callable[[TermSettings, Step], Tensor]
    needs: frozenset[Need] = frozenset()


def loss_term(
    name: str,
    settings: type[Settings],
    compute: Callable[[Settings, Step], Tensor],
    *needs: Need,
) -> LossTerm:
    """Bind a typed loss function to its settings model.

    Args:
        name: as in a configuration.
        settings: model of its settings.
        compute: unweighted loss of a step.
        needs: passes that must be made for it.
    """

    def checked(given: TermSettings, step: Step) -> Tensor:
        if not isinstance(given, settings):
            raise TypeError(f"loss term {name} got {type(given).__name__}")
        return compute(given, step)

    return LossTerm(name=name, settings=settings, compute=checked, needs=frozenset(needs))
