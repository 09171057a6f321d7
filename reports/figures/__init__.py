"""Figures: plotly figures of computed numbers, each with a summary in one line.

The colours here are those of the light theme and a fallback. A trace names its role in
`meta.role`; the page's script gives each role the colour of the theme that is shown, and does the
same for text and grid. Shapes and dashes tell the roles apart without colour.
"""

from reports.figures.aggregate import profile_figure
from reports.figures.base import Figure
from reports.figures.baseline import baseline_figure
from reports.figures.choice import choice_figure
from reports.figures.classes import classes_figure
from reports.figures.comparison import comparison_figure
from reports.figures.search import curves_figure, history_figure
from reports.figures.side_by_side import side_by_side_figure
from reports.figures.trade_off import trade_off_figure
from reports.figures.training import (
    entropy_figure,
    losses_figure,
    time_figure,
    watch_figure,
)
from reports.figures.utilisation import utilisation_figure
from reports.figures.variety import balance_figure

__all__ = [
    "Figure",
    "balance_figure",
    "baseline_figure",
    "choice_figure",
    "classes_figure",
    "comparison_figure",
    "curves_figure",
    "entropy_figure",
    "history_figure",
    "losses_figure",
    "profile_figure",
    "side_by_side_figure",
    "time_figure",
    "trade_off_figure",
    "utilisation_figure",
    "watch_figure",
]
