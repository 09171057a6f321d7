"""The view of several runs together: their matrix, and their methods over benchmarks."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from reports.compute.aggregate import LEVELS, Aggregate, aggregate
from reports.compute.matrix import Matrix, matrix
from reports.compute.side_by_side import SideBySide
from reports.figures import Figure, profile_figure, side_by_side_figure
from reports.view import RunView


@dataclass(frozen=True, kw_only=True)
class SuiteView:
    """All that the page shows of several runs together.

    Args:
        anchor: start of all ids in the page.
        matrix: benchmarks by methods.
        aggregates: the methods over benchmarks; empty with fewer than two.
        levels: relative accuracies at which the profile is told, percent.
        figures: by name.
    """

    anchor: str
    matrix: Matrix
    aggregates: tuple[Aggregate, ...]
    levels: tuple[int, ...]
    figures: Mapping[str, Figure]

    def as_json(self) -> dict[str, Any]:
        """What `summary.json` holds of them."""
        return {
            "matrix": self.matrix.as_json(),
            "aggregate": [
                {
                    **{key: value for key, value in asdict(each).items() if key != "profile"},
                    "profile": {
                        str(level): share
                        for level, share in zip(self.levels, each.profile, strict=False)
                    },
                }
                for each in self.aggregates
            ],
        }


@dataclass(frozen=True, kw_only=True)
class SideView:
    """All that the page shows of sweeps side by side.

    Args:
        anchor: start of all ids in the page.
        found: the sweeps.
        figures: by name.
    """

    anchor: str
    found: SideBySide
    figures: Mapping[str, Figure]

    def as_json(self) -> dict[str, Any]:
        """What `summary.json` holds of them."""
        content = asdict(self.found)
        content["columns"] = [
            {key: value for key, value in each.items() if key != "summary"}
            for each in content["columns"]
        ]
        return {"compare": content}


def view_sides(found: SideBySide) -> SideView:
    """Draw what sweeps side by side have found.

    Args:
        found: the sweeps.
    """
    drawn = found.one_objective and any(column.path.steps for column in found.columns)
    figures = [side_by_side_figure(found)] if drawn else []
    return SideView(
        anchor="sides", found=found, figures={figure.name: figure for figure in figures}
    )


def view_suite(views: Sequence[RunView]) -> SuiteView:
    """Compute everything that the page shows of several runs together.

    Args:
        views: of the runs.
    """
    found = matrix([(view.anchor, view.data) for view in views])
    aggregates = aggregate(found)
    figures = [profile_figure(aggregates)] if aggregates else []
    return SuiteView(
        anchor="suite",
        matrix=found,
        aggregates=aggregates,
        levels=LEVELS,
        figures={figure.name: figure for figure in figures},
    )
