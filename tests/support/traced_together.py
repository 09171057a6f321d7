"""Traces the sections of several runs: headline, matrix, aggregate, side by side."""

import csv
from collections.abc import Callable
from itertools import groupby
from statistics import fmean

import numpy as np
from page_figures import Drawn, Expected
from page_text import Element
from traced_comparison import confirmed, mean_interval, outcomes, planned, share, variants
from traced_page import (
    DASH,
    Files,
    Near,
    Page,
    bootstrap,
    clock,
    parts,
    percent,
    quantity,
    ratio,
)
from traced_search import PUBLISHED, best_so_far

LEVELS = (50, 60, 70, 80, 85, 90, 95, 98, 100)
"""Shown of a performance profile."""


def trace_headlines(page: Page, runs: list[Files], section: Element) -> None:
    rows = parts(parts(section, "tbody")[0], "tr")
    for row, files in zip(rows, runs, strict=True):
        name, run, teacher, student, relative, value, trials, seconds = row.within_cells
        page.text(name, files.experiment["benchmark"])
        page.text(run, files.run["name"])
        score = files.teacher["scores"]["validation"]
        card = f"{files.teacher['architecture']} {files.teacher['width']:g}"
        page.text(teacher, card, percent(score["correct"] / score["images"]))
        if files.run["kind"] == "sweep":
            size = quantity(files.best.record["student_size"]["parameters"])
            page.text(student, files.best.student, files.best.name, size)
            test = files.selection["test"]
            page.text(relative, f"{ratio(test):.1f}", *bootstrap(test))
            page.text(value, percent(files.best.values[-1]))
        else:
            page.text(student, confirmed(files)[0].record["variant"], str(len(variants(files))))
        page.text(trials, f"{files.finished} {planned(files)}")
        page.text(seconds, f"{sum(trial.seconds for trial in files.trials):,.1f}")


def _cells(runs: list[Files]) -> dict[tuple[str, str], list[Files]]:
    def place(files: Files) -> tuple[str, str]:
        return files.experiment["benchmark"], files.experiment["method"]

    return {key: list(of) for key, of in groupby(sorted(runs, key=place), key=place)}


def _used(runs: list[Files]) -> tuple[list[dict[str, int]], str]:
    """The outcomes of a cell, and what there are several of."""
    fresh = [files for files in runs if files.run["kind"] == "comparison"]
    found = [test for files in fresh or runs for test in outcomes(files)]
    return found, "seeds" if fresh else "searches"


def _cell_interval(tests: list[dict[str, int]]) -> tuple[str | Near, str | Near]:
    if len(tests) == 1:
        return bootstrap(tests[0])
    low, high = mean_interval([ratio(test) for test in tests])
    return f"{low:.1f}", f"{high:.1f}"


def _trials(runs: list[Files]) -> tuple[int, int]:
    """Finished and planned trials; of a confirmation, those of its configuration."""
    finished = planned = 0
    for files in runs:
        one = files.run["kind"] == "sweep"
        finished += files.finished if one else len(confirmed(files))
        planned += files.planned if one else files.experiment["comparison"]["seeds"]
    return finished, planned


def trace_matrix(page: Page, runs: list[Files], section: Element) -> None:
    cells = _cells(runs)
    benchmarks = list(dict.fromkeys(files.experiment["benchmark"] for files in runs))
    methods = list(dict.fromkeys(files.experiment["method"] for files in runs))
    (matrix,), (ratios,) = parts(section, "table", "matrix"), parts(section, "table", "ratios")
    notes: list[dict[str, str]] = []
    assert [cell.own for cell in parts(matrix, "tr")[0].within_cells[1:]] == methods
    for benchmark, body in zip(benchmarks, parts(matrix, "tbody"), strict=True):
        ours, theirs = parts(body, "tr")
        name, *found = ours.within_cells
        teacher = runs[0].teacher
        page.text(name, benchmark, f"{teacher['architecture']} {teacher['width']:g}")
        for cell, method in zip(found, methods, strict=True):
            _trace_cell(page, cell, cells.get((benchmark, method), []))
        for cell, method in zip(theirs.within_cells[1:], methods, strict=True):
            row = _published(benchmark, method)
            if row not in notes:
                notes.append(row)
            relative = 100 * float(row["student_accuracy"]) / float(row["teacher_accuracy"])
            teacher_accuracy = f"{float(row['teacher_accuracy']):.1f}"
            page.text(cell, f"{relative:.1f} {notes.index(row) + 1}", teacher_accuracy)
    for item, row in zip(parts(section, "li"), notes, strict=True):
        told = " ".join(row[key] for key in ("benchmark", "source", "teacher", "student"))
        page.text(item, told, str(runs[0].trials[0].epochs[-1]["total_epochs"]))
    rows = parts(parts(ratios, "tbody")[0], "tr")
    places = [(benchmark, method) for benchmark in benchmarks for method in methods]
    run = [place for place in places if place in cells]
    for row, place in zip(rows, run, strict=True):
        _trace_ratios(page, row, place, cells[place])


def _trace_cell(page: Page, cell: Element, runs: list[Files]) -> None:
    if not runs:
        assert cell.own == "not run"
        return
    tests, several = _used(runs)
    mean = fmean(ratio(test) for test in tests)
    finished, _ = _trials(runs)
    page.text(cell, f"{mean:.1f}", *_cell_interval(tests), f"{len(tests)} {finished}")
    assert len(tests) == 1 or several in cell.own


def _published(benchmark: str, method: str) -> dict[str, str]:
    """The figure of a method for ResNet-34 and ResNet-18, of data-free methods."""
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        return next(
            row
            for row in csv.DictReader(file)
            if row["benchmark"] == benchmark
            and row["method"].lower() == method
            and (row["teacher"], row["student"]) == ("resnet34", "resnet18")
        )


def _trace_ratios(page: Page, row: Element, place: tuple[str, str], runs: list[Files]) -> None:
    cells = row.within_cells
    page.text(cells[0], place[0])
    tests, _ = _used(runs)
    finished, planned = _trials(runs)
    expected = (
        runs[0].trials[0].student,
        f"{100 * fmean(share(test, 'student') for test in tests):.1f}",
        f"{100 * fmean(share(test, 'teacher') for test in tests):.1f}",
        f"{fmean(ratio(test) for test in tests):.1f}",
        "",
        "",
        str(len(tests)),
        f"{finished} {planned}",
    )
    for cell, text in zip(cells[2:-1], expected, strict=True):
        page.text(cell, text)
    assert cells[-1].own == ", ".join(files.run["name"] for files in runs)


def trace_aggregate(page: Page, runs: list[Files], section: Element) -> None:
    cells = _cells(runs)
    methods = list(dict.fromkeys(files.experiment["method"] for files in runs))
    everywhere = len({files.experiment["benchmark"] for files in runs})
    totals, profile = parts(section, "table")
    page.text(parts(section, "figcaption")[0], *(_half(_tasks(cells, m)) for m in methods))
    rows = zip(methods, parts(totals, "tr")[1:], parts(profile, "tr")[1:], strict=True)
    heads = parts(profile, "tr")[0].within_cells[1:]
    for head, level in zip(heads, LEVELS, strict=True):
        assert head.own == f"{level} %"
        page.claimed.add(head)
    for method, total, line in rows:
        tasks = _tasks(cells, method)
        scores = sorted(score for task in tasks for score in task)
        name, benchmarks, count, mean, within, _, lowest = total.within_cells
        assert name.own == method
        page.text(benchmarks, f"{len(tasks)} {everywhere}")
        page.text(count, str(len(scores)))
        page.text(lowest, f"{scores[0]:.1f}")
        if len(tasks) < 2:
            assert (mean.own, within.own) == ("not enough", DASH)
            page.claimed |= set(total.within_cells)
        else:
            # Of other numbers of seeds: over the means of the two benchmarks, which leave no
            # quarter out, and which drawn again are either mean or both.
            means = [fmean(task) for task in tasks]
            assert len(means) == 2
            assert len({len(task) for task in tasks}) > 1
            page.text(mean, f"{fmean(means):.1f}")
            page.text(within, f"{min(means):.1f} {max(means):.1f}")
        for cell, level in zip(line.within_cells[1:], LEVELS, strict=True):
            page.text(cell, percent(sum(score >= level for score in scores) / len(scores)))
    (source,) = parts(section, "p", "note")
    assert source.own.startswith("Agarwal et al.")
    page.text(source, "2021")
    page.claimed.add(parts(section, "p")[0])


def _tasks(cells: dict[tuple[str, str], list[Files]], method: str) -> list[list[float]]:
    return [
        [ratio(test) for test in _used(runs)[0]] for (_, of), runs in cells.items() if of == method
    ]


def _half(tasks: list[list[float]]) -> str:
    """The highest score that at least half of the runs have."""
    scores = [score for task in tasks for score in task]
    reached = [s for s in scores if sum(other >= s for other in scores) >= len(scores) / 2]
    return f"{max(reached):.1f}"


def trace_side_by_side(page: Page, runs: list[Files], section: Element) -> None:
    first = runs[0]
    paths = [best_so_far(files) for files in runs]
    trained = [sum(trial.steps for trial in files.trials) for files in runs]
    equal = min(trained)
    bests = [max(value for *_, value in path) for path in paths]
    common = min(bests)
    at_equal = [max(v for _, steps, v in path if steps <= equal) for path in paths]
    teacher = f"{first.teacher['architecture']} {first.teacher['width']:g}"
    page.text(parts(section, "p")[0], str(len(runs)), first.experiment["benchmark"], teacher)
    page.text(
        parts(section, "figcaption")[0], f"{len(runs)} {equal:,}", *(percent(v) for v in at_equal)
    )
    came, cost, settings = parts(section, "table")
    for row, files in zip(parts(came, "tr")[1:], runs, strict=True):
        _, _, student, relative, _, accuracy, _ = row.within_cells
        test = files.selection["test"]
        page.text(student, files.best.student)
        page.text(relative, f"{ratio(test):.1f}", *bootstrap(test))
        page.text(accuracy, percent(share(test, "student")))
    tests = [files.selection["test"] for files in runs]
    cells = parts(came, "tr")[2].within_cells
    _trace_difference(page, cells[4], tests, ratio)
    _trace_difference(page, cells[6], tests, lambda test: 100 * share(test, "student"))
    page.text(parts(cost, "caption")[0], f"{equal:,} {percent(common)}")
    page.text(parts(cost, "th")[7], percent(common))
    page.rows(
        cost,
        *(
            (
                files.run["name"],
                f"{files.finished} of {files.planned}",
                str(len(files.of("stopped"))),
                f"{steps:,}",
                clock(sum(trial.seconds for trial in files.trials)),
                f"{percent(best)} validation accuracy",
                percent(then),
                f"{next(at for _, at, value in path if value >= common):,}",
            )
            for files, steps, best, then, path in zip(
                runs, trained, bests, at_equal, paths, strict=True
            )
        ),
    )
    page.rows(settings, ("seed", *(str(files.experiment["seed"]) for files in runs)))


def _trace_difference(
    page: Page,
    cell: Element,
    tests: list[dict[str, int]],
    measure: Callable[[dict[str, int]], float],
) -> None:
    """A difference in points, its interval by drawing the images of both again."""
    random = np.random.default_rng(31)
    names = ("both_correct", "student_only", "teacher_only", "neither")
    drawn: list[list[float]] = []
    for test in tests:
        counts = np.array([test[name] for name in names])
        sets = random.multinomial(test["images"], counts / test["images"], 6000)
        again = [dict(zip(names, each.tolist(), strict=True)) for each in sets]
        drawn.append([measure({**each, "images": test["images"]}) for each in again])
    low, high = np.quantile(np.subtract(drawn[1], drawn[0]), [0.025, 0.975])
    gap = measure(tests[1]) - measure(tests[0])
    page.text(cell, f"{gap:+.1f}", Near(float(low), 0.3), Near(float(high), 0.3))


def profile(runs: list[Files], drawn: Drawn) -> Expected:
    """Which share of a method's runs have at least a score, at every score and beyond the ends."""
    cells = _cells(runs)
    methods = dict.fromkeys(files.experiment["method"] for files in runs)
    scores = {m: sorted(s for task in _tasks(cells, m) for s in task) for m in methods}
    low, high = (end(s for of in scores.values() for s in of) for end in (min, max))
    traces = {}
    for method, of in scores.items():
        levels = [low - 1, *sorted(set(of)), high + 1]
        shares = [sum(score >= level for score in of) / len(of) for level in levels]
        traces[method] = {"x": levels, "y": shares}
    return Expected(traces, {})
