"""Population based training: its comparisons, and whose place was taken."""

from typing import Any

from pydantic import Field

from dfkd_tune.records._record import Record


class TakeOver(Record):
    """A weak trial's place, taken by a child of a strong one."""

    place_of: str = Field(description="the weak trial, which ends")
    parent: str = Field(description="the strong trial, whose weights the child has")
    child: str = Field(description="name of the new trial")
    epoch: int = Field(description="of the parent, after which the child begins")
    student_steps: int = Field(description="of the parent by then")
    parameters: dict[str, Any] = Field(description="the child's, by key")


class ComparisonRecord(Record):
    """One line of `population.jsonl`: trials compared at equal student steps."""

    student_steps: int
    values: dict[str, float | None] = Field(
        description="of the search objective, by trial; None of one that ended without a result"
    )
    taken: tuple[TakeOver, ...] = ()
    notes: tuple[str, ...] = Field(default=(), description="why a place was not taken, in words")
    session: str
    time: str
