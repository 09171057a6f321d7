"""The figure of several searches side by side: the best so far of each."""

from reports.compute.side_by_side import SideBySide
from reports.figures.base import DASHES, LOSS_COLOURS, Figure, axis_title, empty_figure, plain
from reports.figures.baseline import path_line
from reports.formatting import percent


def side_by_side_figure(found: SideBySide) -> Figure:
    """The best complete trial so far of every run, against the student steps of all its trials.

    Args:
        found: runs of one objective, of which at least one has a complete trial.
    """
    measures = found.columns[0].summary.measures
    figure = empty_figure(
        "student steps of all trials so far", axis_title(f"best {measures} so far")
    )
    for place, column in enumerate(found.columns):
        if column.path.steps:
            colour = place % len(LOSS_COLOURS)
            figure.add_trace(
                path_line(
                    plain(column.name),
                    column.path,
                    f"loss-{colour}",
                    LOSS_COLOURS[colour],
                    DASHES[place % len(DASHES)],
                )
            )
    figure.add_vline(x=found.equal_steps, line={"dash": "dot", "width": 1, "color": "#4D5560"})
    figure.update_layout(showlegend=True)
    told = ", ".join(f"{column.name} {percent(column.best_at_equal)}" for column in found.columns)
    return Figure(
        name="side-by-side",
        figure=figure,
        summary=f"Best {measures} so far of {len(found.columns)} searches. After "
        f"{found.equal_steps:,} student steps, which all have trained: {told}.",
    )
