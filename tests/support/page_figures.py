"""The figures in a report's page, and their numbers beside those that are expected."""

import base64
import html
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from page_text import numbers
from traced_page import Near

FIGURE = re.compile(r'class="figure-data" data-for="(.+)-plot-(.+?)">(.*?)</script>')
DIGITS = 6
"""That a figure keeps of a number."""

STYLE_OF_TRACES = frozenset(
    {"connectgaps", "hoverinfo", "hovertemplate", "line", "marker", "meta", "mode", "name"}
    | {"opacity", "orientation", "showlegend", "textposition", "type", "width"}
)
STYLE = (
    r"(bargap|barmode|height|hovermode|paper_bgcolor|plot_bgcolor|showlegend|uirevision"
    r"|(font|hoverlabel|legend|margin|template)\..+"
    r"|[xy]axis\.(automargin|autorange|categoryorder|dtick|gridcolor|linecolor|m..allowed|rangemode"
    r"|showgrid|showline|tickangle|tickfont\.size|tickformat|tickmode|ticks|title\.standoff"
    r"|type|zeroline))"
)
Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Drawn:
    """One figure as it is in the page."""

    place: str
    name: str
    traces: list[dict[str, Any]]
    layout: dict[str, Any]

    def trace(self, name: str) -> dict[str, Any]:
        (found,) = [trace for trace in self.traces if trace.get("name") == name]
        return found

    @property
    def x_title(self) -> str:
        return str(self.layout["xaxis"]["title"]["text"])


@dataclass(frozen=True)
class Expected:
    """What a figure must hold.

    Args:
        traces: their numbers and texts, by the name of the trace or its place, such as `#0`.
        layout: likewise of what is drawn beside them, such as `yaxis.ticktext`.
    """

    traces: Mapping[str, Fields]
    layout: Fields


def read_figures(page: str) -> list[Drawn]:
    """All figures of a page, in order."""
    found = []
    for place, name, text in FIGURE.findall(page):
        content = json.loads(text)
        assert set(content) == {"data", "layout"}
        found.append(Drawn(place, name, content["data"], content["layout"]))
    assert len(found) == page.count('class="figure-data"')
    return found


def written(text: str) -> str:
    """A text as plotly reads it."""
    return html.escape(text)


def columns(rows: Sequence[tuple[Any, ...]], *names: str) -> dict[str, Any]:
    """Rows of numbers and texts as the fields of a trace."""
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def compare_figure(drawn: Drawn, expected: Expected) -> None:
    """Fail where a figure holds another number than expected, or one that is not expected."""
    names = [trace.get("name", f"#{place}") for place, trace in enumerate(drawn.traces)]
    assert sorted(names) == sorted(expected.traces), (drawn.name, names)
    for name, trace in zip(names, drawn.traces, strict=True):
        where = f"{drawn.name}, {name}"
        _compare_fields(_data(trace), expected.traces[name], where)
        _check_template(trace, where)
    _compare_fields(_beside(drawn.layout), expected.layout, f"{drawn.name}, beside the data")


def _compare_fields(found: Fields, expected: Fields, where: str) -> None:
    assert sorted(found) == sorted(expected), (where, sorted(found), sorted(expected))
    for key, value in expected.items():
        _compare(found[key], value, f"{where}, {key}")


def _data(trace: Fields) -> dict[str, Any]:
    """All of a trace that is a number or a text about one."""
    found = {key: _decoded(value) for key, value in trace.items() if key not in STYLE_OF_TRACES}
    for key in ("error_x", "error_y"):
        if key in found:
            found[key] = found[key]["array"]
    return found


def _decoded(value: Any) -> Any:
    """An array, which plotly may have packed."""
    if not isinstance(value, dict) or "bdata" not in value:
        return value
    array = np.frombuffer(base64.b64decode(value["bdata"]), value["dtype"])
    shape = value.get("shape", str(len(array)))
    return array.reshape([int(size) for size in shape.split(",")]).tolist()


def _check_template(trace: Fields, where: str) -> None:
    """What is told on hovering is of the data: the words around it have no number of their own."""
    template = trace.get("hovertemplate", "")
    words = re.sub(r"%\{[^}]*\}|<[^>]*>", " ", template)
    assert numbers(words) in ([], numbers(trace.get("name", ""))), (where, template)
    told = re.findall(r"%\{(\w+)", template)
    assert set(told) <= {"x", "y", "text", "customdata"} & set(trace), (where, template)


def _beside(layout: Fields) -> dict[str, Any]:
    """All of a layout that is no style and no text without a number."""
    return {
        path: value
        for path, value in _leaves(layout, "")
        if not re.fullmatch(STYLE, path)
        and not (path.endswith(".title.text") and not numbers(str(value)))
    }


def _leaves(layout: Fields, above: str) -> Iterator[tuple[str, Any]]:
    for key, value in layout.items():
        path = f"{above}{key}"
        if path == "shapes":
            # Lines across the whole of one axis: where they stand on the other.
            assert {(s["xref"], s["yref"], s["y0"], s["y1"]) for s in value} == {
                ("x", "y domain", 0, 1)
            }
            yield path, [(shape["x0"], shape["x1"]) for shape in value]
        elif isinstance(value, dict):
            yield from _leaves(value, f"{path}.")
        else:
            yield path, _decoded(value)


def _compare(found: Any, expected: Any, where: str) -> None:
    if isinstance(expected, list | tuple):
        assert len(found) == len(expected), (where, found, expected)
        for place, (one, other) in enumerate(zip(found, expected, strict=True)):
            _compare(one, other, f"{where}[{place}]")
    elif isinstance(expected, Near):
        assert abs(found - expected.value) <= expected.within, (where, found, expected)
    elif isinstance(expected, str) or expected is None:
        text = found.replace("\N{NO-BREAK SPACE}", " ") if isinstance(found, str) else found
        assert text == expected, (where, found, expected)
    else:
        near = math.isclose(found, expected, rel_tol=0.51 * 10 ** (1 - DIGITS), abs_tol=1e-12)
        assert near, (where, found, expected)


Tracer = Callable[[Any, Drawn], Expected]


def trace_figures(
    figures: list[Drawn], place: str, of: Any, tracers: Mapping[str, Tracer]
) -> list[str]:
    """Compare the figures of one place of a page; fails where one has no tracer.

    Args:
        figures: of the page.
        place: start of their ids, such as `run-1`.
        of: the files that they are traced to.
        tracers: what each must hold, by name.

    Returns:
        The names of the figures that were compared.
    """
    names = []
    for drawn in figures:
        if drawn.place == place:
            assert drawn.name in tracers, f"nothing traces the figure {drawn.name}"
            compare_figure(drawn, tracers[drawn.name](of, drawn))
            names.append(drawn.name)
    return names
