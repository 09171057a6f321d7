"""The figure of a search beside its random baseline."""

import plotly.graph_objects as go

from reports.compute.baseline import BaselineComparison, SearchPath
from reports.figures.base import Figure, axis_title, empty_figure, rounded


def baseline_figure(found: BaselineComparison, measures: str) -> Figure:
    """The best so far of both, against the student steps of all trials.

    Args:
        found: the comparison.
        measures: what the value is, in words.
    """
    figure = empty_figure(
        "student steps of all trials so far", axis_title(f"best {measures} so far")
    )
    for name, path, role, colour, dash in (
        ("search", found.search, "complete", "#0072B2", "solid"),
        ("random search", found.baseline, "stopped", "#A86400", "dash"),
    ):
        if path.steps:
            figure.add_trace(path_line(name, path, role, colour, dash))
    figure.add_vline(x=found.equal_steps, line={"dash": "dot", "width": 1, "color": "#4D5560"})
    return Figure(name="baseline", figure=figure, summary=found.verdict)


def path_line(name: str, path: SearchPath, role: str, colour: str, dash: str) -> go.Scatter:
    """The best so far of one search, of which at least one trial is complete."""
    # The best so far holds until all is trained.
    x = [*(step.student_steps for step in path.steps), path.student_steps]
    y = [rounded(step.value) for step in path.steps]
    return go.Scatter(
        x=x,
        y=[*y, y[-1]],
        text=[*(step.trial for step in path.steps), path.steps[-1].trial],
        mode="lines+markers",
        name=name,
        line={"shape": "hv", "width": 2.5, "color": colour, "dash": dash},
        marker={"size": 6, "color": colour},
        meta={"role": role},
        hovertemplate=f"{name}, %{{text}}<br>%{{x:,}} student steps: %{{y:.1%}}<extra></extra>",
    )
