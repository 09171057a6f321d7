"""Render: from views of runs to one self-contained HTML page."""

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from dfkd_tune import __version__
from reports import formatting
from reports.compute.limits import SHOWN_ROWS, some
from reports.compute.verdict import STATES
from reports.figures import Figure
from reports.suite import SideView, SuiteView
from reports.view import RunView, pretty_json

FILTERS = (
    formatting.percent,
    formatting.relative,
    formatting.whole,
    formatting.quantity,
    formatting.duration,
    formatting.memory,
    formatting.milliseconds,
    formatting.cost,
    formatting.number,
    formatting.signed,
    formatting.exact,
    formatting.setting,
    formatting.shorten,
    formatting.breakable,
    formatting.inline,
    formatting.moment,
    formatting.sentence,
    pretty_json,
    some,
)


def render_page(
    views: Sequence[RunView], suite: SuiteView | None = None, side: SideView | None = None
) -> str:
    """Render the report.

    The page opens from a file without a network: style, script, figures and images are inside. It
    holds no time of its own making, so that the same records give the same page.

    Args:
        views: of the runs, at least one.
        suite: of all runs together; None for a single one.
        side: of the runs side by side; None where that was not asked for.

    Returns:
        The HTML text.
    """
    return (
        _environment()
        .get_template("page.html")
        .render(
            views=views,
            suite=suite,
            side=side,
            states=STATES,
            shown_rows=SHOWN_ROWS,
            style=Markup(_resource("report.css") + _resource("mattered.css")),
            script=Markup(_resource("report.js") + _resource("brush.js")),
            plotly_js=Markup(get_plotlyjs()),
            version=__version__,
        )
    )


def figure_data(figure: Figure) -> Markup:
    """A figure as JSON that is safe inside a script element."""
    content = json.loads(figure.figure.to_json())
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update({each.__name__: each for each in FILTERS})
    environment.globals.update(figure_data=figure_data, plural=formatting.plural)
    return environment


def _resource(name: str) -> str:
    return files("reports").joinpath("templates", name).read_text(encoding="utf-8")
