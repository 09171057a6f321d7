"""Which stage of the student goes with which stage of the teacher."""

from collections.abc import Sequence
from typing import Literal, TypeVar

from dfkd_tune.errors import UsageError

StageChoice = tuple[int, ...] | Literal["all"]
Item = TypeVar("Item")


def paired_stages(
    teacher: Sequence[Item], student: Sequence[Item], chosen: StageChoice, key: str
) -> list[tuple[Item, Item]]:
    """Pair stages, or what belongs to them, from the deepest up.

    Args:
        teacher: one item per stage, largest resolution first.
        student: the same of the student; the networks may have different numbers of stages.
        chosen: indices of pairs, from 0, or all.
        key: setting that is named where an index does not exist.

    Raises:
        UsageError: if `chosen` names a stage that the networks do not share, or they share none.
    """
    count = min(len(teacher), len(student))
    if count == 0:
        raise UsageError(
            f"{key} goes with networks that have feature maps, and one of these has none; set the "
            f"weight of {key.removesuffix('.stages')} to 0"
        )
    pairs = list(zip(teacher[-count:], student[-count:], strict=True))
    if chosen == "all":
        return pairs
    beyond = [index for index in chosen if not 0 <= index < count]
    if beyond:
        raise UsageError(
            f"{key} names {beyond}, and the networks share {count} stages; give indices from 0 to "
            f"{count - 1}"
        )
    return [pairs[index] for index in chosen]
