"""What every loss term has: settings with a weight, a module that computes it, and its needs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from dfkd_tune.classifiers import NetworkShapes
from dfkd_tune.distillation.terms._step import Step

Need = Literal["teacher_features", "teacher_statistics", "student", "student_features"]


class TermSettings(BaseModel):
    """Settings of a loss term; a weight of 0 leaves the term out entirely."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: float = Field(ge=0, allow_inf_nan=False)


@dataclass(frozen=True, kw_only=True)
class TermContext:
    """What a term may know when it is built.

    Args:
        teacher: shapes of what the teacher's pass gives.
        student: shapes of what the student's pass gives.
        source: random numbers of the run, on the CPU, for terms that draw any.
    """

    teacher: NetworkShapes
    student: NetworkShapes
    source: torch.Generator


class TermModule(nn.Module):
    """A loss term with weights or a memory of its own.

    Its parameters are trained with the network whose objective it belongs to, but for those that
    need no gradient; its buffers are kept in checkpoints.
    """

    can_be_replayed = True
    """Whether it computes on tensors alone: no random numbers, no memory that grows."""

    def forward(self, step: Step) -> Tensor:
        """The unweighted loss of a step, a scalar."""
        # Every term says what it computes.
        raise NotImplementedError

    def synthesised(self, step: Step) -> None:
        """Hear of a batch that a round, or a step of a stream, came to."""


class _FunctionTerm(TermModule):
    """A term that is a function of a step, without weights or memory."""

    def __init__(self, compute: Callable[[Step], Tensor]) -> None:
        super().__init__()
        self.compute = compute

    def forward(self, step: Step) -> Tensor:
        return self.compute(step)


Settings = TypeVar("Settings", bound=TermSettings)


@dataclass(frozen=True, kw_only=True)
class LossTerm:
    """One weighted summand of an objective.

    Args:
        name: as in a configuration and in the records.
        settings: model of its settings.
        build: makes the module that computes it, unweighted.
        needs: passes that must be made for it.
    """

    name: str
    settings: type[TermSettings]
    build: Callable[[TermSettings, TermContext | None], TermModule]
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

    def build(given: TermSettings, _context: TermContext | None) -> TermModule:
        checked = _checked(name, settings, given)
        return _FunctionTerm(lambda step: compute(checked, step))

    return LossTerm(name=name, settings=settings, build=build, needs=frozenset(needs))


def module_term(
    name: str,
    settings: type[Settings],
    make: Callable[[Settings, TermContext | None], TermModule],
    *needs: Need,
) -> LossTerm:
    """Bind a loss term that has weights or a memory to its settings model.

    Args:
        name: as in a configuration.
        settings: model of its settings.
        make: makes its module.
        needs: passes that must be made for it.
    """

    def build(given: TermSettings, context: TermContext | None) -> TermModule:
        return make(_checked(name, settings, given), context)

    return LossTerm(name=name, settings=settings, build=build, needs=frozenset(needs))


def _checked(name: str, settings: type[Settings], given: TermSettings) -> Settings:
    if not isinstance(given, settings):
        raise TypeError(f"loss term {name} got {type(given).__name__}")
    return given


def known(context: TermContext | None) -> TermContext:
    """The context of a term that cannot be built without one."""
    if context is None:
        raise TypeError("this loss term must know the shapes of teacher and student")
    return context
