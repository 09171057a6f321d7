"""What mattered in a search: read from run folders, and shown on the page."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from dfkd_tune.records import Parent, write_json, write_record
from reports import collect_run, write_report
from reports.compute.dimensions import Dimension, searched_dimensions
from reports.compute.mattered import Mattered, what_mattered
from reports.figures.axes import dimension_axis, place_on, value_axis
from reports.figures.mattered import MatteredFigures, mattered_figures
from search_spaces import get_space

Maker = Any

RATE, SIZE, WEIGHT, KIND = (
    "student_optimiser.learning_rate",
    "generator.label_embedding_size",
    "generator_objective.adversarial.weight",
    "generator.conditioning",
)
SPACE = get_space("cgdd").with_ranges({"student.architecture": "resnet8"})


def number(key: str, low: float, high: float, **more: Any) -> dict[str, Any]:
    entry = {"key": key, "range": "", "condition": "", "source": "", "kind": "float", "log": True}
    limits = {"limits": {"ge": 0.0}}
    return {**entry, "low": low, "high": high, "choices": None, "switch": False, **limits, **more}


STATED = [
    {**number(KIND, 0, 0, kind="choice", log=False), "choices": ["embed_concat", "one_hot"]},
    number(SIZE, 16, 256, kind="int", condition=f"{KIND} is embed_concat"),
    number(WEIGHT, 0.05, 5, switch=True),
    number(RATE, 1e-3, 0.3),
    {**number("student.width", 0, 0, kind="choice", log=False), "choices": [0.5]},
]


def parameters_of(index: int) -> dict[str, Any]:
    random = np.random.default_rng(index)
    concat = index % 2 == 0
    rate = 0.29 if index == 9 else float(10 ** random.uniform(-3, -0.7))
    return {
        KIND: "embed_concat" if concat else "one_hot",
        **({SIZE: int(random.integers(16, 257))} if concat else {}),
        f"{WEIGHT}?": "on" if index % 3 else "off",
        **({WEIGHT: float(10 ** random.uniform(-1.3, 0.7))} if index % 3 else {}),
        RATE: rate,
        "student.width": 0.5,
    }


def value_of(parameters: dict[str, Any]) -> float:
    """Best at the highest rate, and with the term switched off."""
    off = parameters[f"{WEIGHT}?"] == "off"
    return round(0.5 + 0.15 * (np.log10(parameters[RATE]) + 3) + 0.04 * off, 4)


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """A smaller forest: which one is the most important is known, and it takes less time."""
    monkeypatch.setattr("reports.compute.importance.TREES", 40)


@pytest.fixture
def make_search(make_run: Maker, spec: Any) -> Any:
    """Writes a search of so many complete trials and four stopped ones."""

    def make(complete: int, *, dimensions: Any = STATED, ranges: Any = None, **more: Any) -> Any:
        specs = []
        for index in range(complete):
            parameters = parameters_of(index)
            specs.append(spec(values=(0.1, value_of(parameters)), parameters=parameters))
        for index in range(complete, complete + 4):
            parameters = parameters_of(index)
            specs.append(spec(values=(0.2,), state="stopped", parameters=parameters))
        folder = make_run(specs, **more)
        experiment = json.loads(folder.experiment_file.read_text())
        changed = {**experiment, "dimensions": dimensions, "space": {"ranges": ranges or {}}}
        write_json(folder.experiment_file, changed)
        return folder

    return make


def mattered(folder: Any) -> Mattered:
    found = what_mattered(collect_run(folder.path))
    assert found is not None
    return found


def figures(folder: Any) -> MatteredFigures:
    found = mattered_figures(mattered(folder), "validation accuracy")
    assert found is not None
    return found


def section(path: Path) -> str:
    page = path.read_text(encoding="utf-8")
    return page.split('<section class="mattered"')[1].split("</section>")[0]


# Dimensions


@pytest.mark.parametrize("name", ["cgdd", "dfkd_fgvc", "methods"])
def test_dimensions_are_read_as_the_space_has_them_and_from_words_of_older_runs(
    make_run: Maker, name: str
) -> None:
    folder = make_run()
    space = get_space(name)

    def read(entries: list[dict[str, Any]]) -> tuple[Dimension, ...]:
        write_json(folder.experiment_file, {"dimensions": entries})
        return searched_dimensions(collect_run(folder.path))

    now = read([dimension.as_json() for dimension in space.dimensions])
    assert len(now) == len(space.dimensions)
    for found, dimension in zip(now, space.dimensions, strict=True):
        assert found.name == dimension.name
        assert found.numeric == (dimension.kind != "choice")
        assert found.switch == dimension.switch
        assert found.condition == dimension.condition_text()
        if found.numeric:
            assert (found.low, found.high) == (dimension.low, dimension.high)
            assert found.whole == (dimension.kind == "int")
            middle = found.value_at(0.5)
            assert dimension.scaled(middle) == pytest.approx(0.5)
            assert found.scaled(middle) == pytest.approx(0.5)
        else:
            assert found.choices == tuple(str(choice) for choice in dimension.choices)
    words = ("key", "range", "condition", "source")
    older = read([{key: d.as_json()[key] for key in words} for d in space.dimensions])
    for found, before in zip(now, older, strict=True):
        assert before.limits == {}
        for field in ("name", "low", "high", "log", "choices", "switch", "condition"):
            assert getattr(before, field) == getattr(found, field)


def test_whole_numbers_of_an_older_run_are_known_by_its_trials(make_run: Maker, spec: Any) -> None:
    sizes = [{"size": 16, "rate": 1.0}, {"size": 24, "rate": 2.0}, {}]
    folder = make_run([spec(values=(0.5,), parameters=each) for each in sizes])
    ranges = {"size": "16 .. 256 (log)", "rate": "1 .. 3", "unknown": "1 .. 3"}
    stated = [{"key": key, "range": words} for key, words in ranges.items()]
    write_json(folder.experiment_file, {"dimensions": stated})
    found = mattered(folder)
    dimensions = searched_dimensions(collect_run(folder.path))
    assert [dimension.whole for dimension in dimensions] == [True, False, False]
    # One decade less is 1.6, which is no whole number.
    assert "    size: {low: 1, high: 256}" in found.next_ranges


@pytest.mark.parametrize(
    "recorded",
    [None, "much", [], ["much"], [number("a", 3, 3)], [number("a", 0, 3)], [number("a", 1, None)]],  # type: ignore[arg-type]
)
def test_dimensions_that_cannot_be_read_are_none(make_search: Any, recorded: Any) -> None:
    folder = make_search(2, dimensions=recorded)
    assert searched_dimensions(collect_run(folder.path)) == ()
    page = section(write_report([folder.path]).html)
    assert "Importance is not given: the run folder does not say what was searched" in page
    assert "<svg" not in page


# Numbers


def test_a_search_of_enough_trials(make_search: Any) -> None:
    found = mattered(make_search(24))
    assert found.why_not == ""
    assert found.importance is not None
    assert found.importance.trials == 24
    assert found.importance.rows[0].dimension.name == RATE
    assert found.dimensions[0].name == RATE
    assert found.same == ("student.width",)
    assert (found.complete, found.early, len(found.trials)) == (24, 4, 28)
    values = [trial.value for trial in found.ranked]
    assert values == sorted(values, reverse=True)
    assert [trial.rank for trial in found.trials] == [*range(1, 25), None, None, None, None]
    assert [trial.trial for trial in found.trials if trial.best] == [found.best]
    at = {d.name: place for d, place in zip(found.dimensions, found.trials[0].places, strict=True)}
    assert at[RATE] == parameters_of(int(found.trials[0].trial[1:]))[RATE]


def test_early_trials_stand_at_their_own_last_value_and_teach_nothing(make_search: Any) -> None:
    found = mattered(make_search(19))
    assert found.importance is None
    assert "this run has 19." in found.why_not
    assert {t.value for t in found.trials if t.rank is None} == {0.2}


def test_children_of_other_trials_teach_nothing(make_search: Any) -> None:
    folder = make_search(20)
    child = folder.trial_folder("t0003")
    parent = Parent(trial="t0001", epoch=1, student_steps=50, place_of="t0002")
    write_record(child.trial_file, child.trial().model_copy(update={"parent": parent}))
    found = mattered(folder)
    assert found.complete == 20
    assert "this run has 19." in found.why_not


def test_the_selected_trial_is_the_one_that_is_marked(
    make_search: Any, make_selection: Any
) -> None:
    folder = make_search(8, selection=make_selection("t0002"))
    found = mattered(folder)
    assert (found.best, found.called) == ("t0002", "selected")
    assert [t.trial for t in found.trials if t.best] == ["t0002"]
    assert found.trials[0].trial != "t0002"
    page = section(write_report([folder.path]).html)
    assert "</svg>selected, t0002</li>" in page
    assert "The selected one is drawn boldest." in page
    assert mattered(make_search(8, name="other")).called == "best"


@pytest.mark.parametrize("kind", ["distill", "comparison"])
def test_what_is_no_search_has_none(make_run: Maker, spec: Any, kind: str) -> None:
    folder = make_run([spec(values=(0.5,))], kind=kind)
    assert what_mattered(collect_run(folder.path)) is None
    assert "What mattered" not in write_report([folder.path]).html.read_text(encoding="utf-8")


def test_very_many_trials_are_drawn_in_part(
    make_search: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reports.compute.mattered.MOST_COMPLETE", 14)
    monkeypatch.setattr("reports.compute.mattered.MOST_EARLY", 12)
    folder = make_search(24)
    found = mattered(folder)
    assert [t.rank for t in found.ranked] == [*range(1, 11), 11, 15, 20, 24]
    assert "Drawn are 18 of 28 trials" in section(write_report([folder.path]).html)


def test_lines_to_copy_suit_the_space(make_search: Any) -> None:
    folder = make_search(24, ranges={RATE: {"high": 0.3}})
    found = mattered(folder)
    assert [(edge.dimension.name, edge.side) for edge in found.edges][-1] == (RATE, "high")
    ranges = yaml.safe_load(found.next_ranges)["space"]["ranges"]
    assert ranges[RATE] == {"low": 0.001, "high": 3}
    wider = {d.name: d for d in SPACE.with_ranges(ranges).dimensions}[RATE]
    assert (wider.low, wider.high) == (0.001, 3)


# Drawings


def test_places_on_axes() -> None:
    weight = Dimension(name=WEIGHT, low=0.01, high=100.0, log=True, switch=True)
    axis = dimension_axis(weight, ["off", 1.0, None], room=46)
    assert axis.numbers is not None
    start, end, *_ = axis.numbers
    assert place_on(axis, weight, 1.0) == pytest.approx((start + end) / 2, abs=0.1)
    assert place_on(axis, weight, 0.01) == start
    # Beyond the range: at its nearer end.
    assert place_on(axis, weight, 1000.0) == end
    assert place_on(axis, weight, None) < place_on(axis, weight, "off") < start
    assert [t.text for t in axis.ticks] == ["not used", "off", "0.01", "1", "100"]
    assert [t.at for t in axis.ticks] == sorted(t.at for t in axis.ticks)
    # Nothing stands apart where nothing is off or not used.
    assert [t.text for t in dimension_axis(weight, [1.0], room=46).ticks] == ["0.01", "1", "100"]


def test_letters_stand_for_choices_that_do_not_fit() -> None:
    kind = Dimension(name=KIND, choices=("embed_concat", "one_hot_concat"))
    places = ["embed_concat", "of another version"]
    axis = dimension_axis(kind, places, room=23)
    assert [t.text for t in axis.ticks] == ["a", "b", "c"]
    assert axis.letters == "a: embed_concat, b: one_hot_concat, c: of another version"
    assert place_on(axis, kind, "of another version") == axis.ticks[2].at
    wide = dimension_axis(kind, ["embed_concat"], room=60)
    assert [t.text for t in wide.ticks] == list(kind.choices)
    assert wide.letters == ""


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ((0.12, 0.93), ("0", "25", "50", "75", "100")),
        ((0.911, 0.928), ("91", "91.5", "92", "92.5", "93")),
        ((0.5, 0.5), ("50", "50.1")),
        ((0.0, 1.0), ("0", "25", "50", "75", "100")),
    ],
)
def test_the_axis_of_the_objective_goes_from_round_to_round(
    values: tuple[float, ...], texts: tuple[str, ...]
) -> None:
    axis = value_axis(values, "accuracy")
    assert [t.text.split("\N{NO-BREAK SPACE}")[0] for t in axis.ticks] == list(texts)
    assert all(4 <= axis.height(value) <= 96 for value in values)


def test_marks_of_slices_are_the_trials(make_search: Any) -> None:
    drawn = figures(make_search(24))
    assert drawn.slices[0].x.name == RATE
    for each in drawn.slices:
        roles = [mark.role for mark in each.marks]
        assert (roles.count("complete"), roles.count("early"), roles.count("best")) == (23, 4, 1)
        assert roles[-1] == "best"
        assert all(0 <= mark.x <= 100 and 0 <= mark.y <= 100 for mark in each.marks)
    rate = drawn.slices[0]
    assert rate.x.log
    # The best has the highest rate, so it is the farthest up and right of the complete ones.
    complete = [mark for mark in rate.marks if mark.role != "early"]
    assert max(complete, key=lambda mark: mark.y).role == "best"
    size = next(each for each in drawn.slices if each.x.name == SIZE)
    unused = next(tick.at for tick in size.x.ticks if tick.place == "not used")
    assert sum(mark.x == unused for mark in size.marks) == 14


def test_lines_pass_where_their_trials_lie(make_search: Any) -> None:
    folder = make_search(24)
    drawn, found = figures(folder), mattered(folder)
    assert drawn.lines is not None
    assert [axis.name for axis in drawn.lines.axes] == [
        "validation accuracy",
        *(dimension.name for dimension in found.dimensions),
    ]
    assert len(drawn.lines.lines) == 24
    assert sum(line.role == "other" for line in drawn.lines.lines) == 14
    assert drawn.lines.lines[-1].role == "best"
    best = drawn.lines.lines[-1]
    assert best.at[1] == place_on(
        drawn.lines.axes[1], found.dimensions[0], found.trials[0].places[0]
    )
    assert best.points.split()[1] == f"{10 * best.at[1]:.0f},150"
    # Lines through one choice keep close to it.
    kind = next(i for i, axis in enumerate(drawn.lines.axes) if axis.name == KIND)
    stops = [tick.at for tick in drawn.lines.axes[kind].ticks]
    assert all(
        min(abs(line.at[kind] - stop) for stop in stops) <= 1.5 for line in drawn.lines.lines
    )


def test_the_contour_covers_its_drawing(make_search: Any) -> None:
    contour = figures(make_search(24)).contour
    assert contour is not None
    assert RATE in {contour.x.name, contour.y.name}
    assert sum(cell.width * cell.height for cell in contour.cells) == pytest.approx(1e4, rel=1e-3)
    assert {cell.band for cell in contour.cells} >= {0, len(contour.bands) - 1}
    assert len(contour.rows) == len(contour.columns) == 5
    heights = [at for at, _ in contour.rows]
    assert heights == sorted(heights, reverse=True)
    assert contour.bands[0].low <= min(min(values) for _, values in contour.rows)
    assert contour.bands[-1].high >= max(max(values) for _, values in contour.rows) - 1e-9


# The page


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def tags(page: str, name: str, css: str = "") -> list[dict[str, str | None]]:
    parser = _Tags()
    parser.feed(page)
    return [a for tag, a in parser.found if tag == name and css in (a.get("class") or "")]


def test_page_with_enough_trials(make_search: Any) -> None:
    folder = make_search(24)
    files = write_report([folder.path])
    page = section(files.html)
    found = mattered(folder)
    assert found.importance is not None
    for row in found.importance.rows:
        assert row.dimension.name in re.sub("<wbr>", "", page)
    assert f"R² = {found.importance.skill.value:.2f}" in page
    bars = page.split('<table class="importance">')[1].split("</table>")[0]
    assert bars.count("<tr>") == 1 + len(found.importance.rows)
    assert len(tags(page, "polyline")) == 24
    assert len(tags(page, "polyline", "best")) == 1
    assert len(tags(page, "div", "axis")) == 1 + len(found.dimensions)
    assert len(tags(page, "rect", "band-")) > 20
    # Four slices of 23 complete trials, and the contour's; a mark of each kind in the key.
    assert len(tags(page, "circle", "early")) == 4 * 4 + 1
    assert found.next_ranges.replace("'", "&#39;") in page
    twin = page.split("The numbers behind the marks and lines")[1].split("<tbody>")[1]
    assert twin.split("</tbody>")[0].count('<th scope="row">') == 28
    first = files.html.read_bytes()
    assert write_report([folder.path]).html.read_bytes() == first


def test_page_without_enough_trials(make_search: Any) -> None:
    page = section(write_report([make_search(7).path]).html)
    assert "Importance is not given: it takes at least 20 complete trials" in page
    assert "this run has 7." in page
    assert '<table class="importance">' not in page
    assert tags(page, "rect") == []
    # What needs no forest is there all the same.
    assert len(tags(page, "polyline")) == 7
    assert len(tags(page, "circle", "early")) == 4 * 4 + 1
    assert "At the edge of its range" in page
    # Ten best of seven are no choice.
    assert tags(page, "input") == []


def test_page_without_a_complete_trial(make_search: Any, make_run: Maker) -> None:
    page = section(write_report([make_search(0).path]).html)
    assert "this run has 0." in page
    assert len(tags(page, "circle", "early")) == 4 * 4 + 1
    assert tags(page, "polyline") == []
    assert "At the edge of its range" not in page
    empty = section(write_report([make_run(name="empty").path]).html)
    assert "Importance is not given" in empty
    assert "One dimension at a time" not in empty


def test_hostile_names_and_choices_are_escaped(make_run: Maker, spec: Any) -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    specs = [spec(values=(0.1 * i,), parameters={evil: f"{evil}{i % 2}"}) for i in range(4)]
    folder = make_run(specs)
    stated = [{**number(evil, 0, 0, kind="choice"), "choices": [f"{evil}0"]}]
    write_json(folder.experiment_file, {"dimensions": stated})
    page = section(write_report([folder.path]).html)
    assert "<img" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert len(tags(page, "polyline")) == 4
