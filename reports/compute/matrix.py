"""Relative accuracy of several runs: benchmark by method, beside what others published."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from dfkd_tune.published import PublishedResult, published_results
from dfkd_tune.records import TestOutcome
from reports.collect import RunData, TrialData
from reports.compute.accuracy import Interval, relative_accuracy_interval
from reports.compute.comparison import compare_variants, confirmed_run, spread_of
from reports.compute.published import run_networks
from reports.compute.reproduction import shown_trial
from reports.compute.summary import summarise_run
from reports.configuration import (
    benchmark_name,
    look_up,
    method_name,
    network_name,
    student_name,
    teacher_name,
)
from reports.formatting import MISSING
from reports.objectives import PEEKING_OBJECTIVE, data_kind, objective_name

Networks = tuple[str | None, str | None]


@dataclass(frozen=True, kw_only=True)
class PublishedCell:
    """What others published of a cell's method on its benchmark.

    Args:
        result: the figure.
        same_networks: whether it is of the run's own teacher and student architectures.
        note: its source, its networks, and what its protocol has other than the runs here.
    """

    result: PublishedResult
    same_networks: bool
    note: str


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One method on one benchmark; percent where not said otherwise.

    Args:
        values: relative accuracy on the test split, one for each seed of a distillation, or for
            each search; empty where there is none.
        interval: their mean with its 95 % interval; None without a value.
        over: what the interval covers: `seeds`, `searches`, or `images` where there is one value.
        student_accuracy, teacher_accuracy: on the test split, means over seeds; None without.
        to_real: 100 x student accuracy / that of the same network trained on real images; None
            where that was not measured.
        to_kd: the same, for one that was also taught by the teacher.
        finished: trials in a final state, of all runs of the cell.
        planned: trials that these runs ask for.
        student: architecture x width, of the result.
        chosen_by_test: whether the student was chosen by the test split.
        runs: anchors in the page and names of its runs.
        missing: why there is no value, in words; empty where there is one.
        published: None where nothing is published of this method on this benchmark.
    """

    values: tuple[float, ...] = ()
    interval: Interval | None = None
    over: str = ""
    student_accuracy: float | None = None
    teacher_accuracy: float | None = None
    to_real: float | None = None
    to_kd: float | None = None
    finished: int = 0
    planned: int = 0
    student: str | None = None
    chosen_by_test: bool = False
    runs: tuple[tuple[str, str], ...] = ()
    missing: str = MISSING
    published: PublishedCell | None = None


@dataclass(frozen=True, kw_only=True)
class MatrixRow:
    """One benchmark, or one student on it.

    Args:
        benchmark: name.
        student: architecture x width where the runs of the benchmark have several fixed ones,
            `searched` where it was searched; None where all runs are alike.
        teacher: architecture x width; several with commas.
        cells: by method, for every method of the matrix.
    """

    benchmark: str
    student: str | None
    teacher: str
    cells: Mapping[str, Cell]


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Benchmarks by methods.

    Args:
        methods: in order of their first run.
        rows: in order of their first run.
    """

    methods: tuple[str, ...]
    rows: tuple[MatrixRow, ...]

    @property
    def ratios(self) -> bool:
        """Whether any result is also told relative to real data."""
        return any(
            cell.to_real is not None or cell.to_kd is not None
            for row in self.rows
            for cell in row.cells.values()
        )

    def as_json(self) -> list[dict[str, Any]]:
        """One entry for each cell, with numbers without rounding."""
        return [
            {
                "benchmark": row.benchmark,
                "method": method,
                "student": cell.student or row.student,
                "teacher": row.teacher,
                "relative_accuracy": list(cell.values),
                "mean": cell.interval.value if cell.interval else None,
                "interval": [cell.interval.low, cell.interval.high] if cell.interval else None,
                "interval_over": cell.over or None,
                "seeds": len(cell.values),
                "student_accuracy": cell.student_accuracy,
                "teacher_accuracy": cell.teacher_accuracy,
                "relative_to_real": cell.to_real,
                "relative_to_kd": cell.to_kd,
                "trials": cell.finished,
                "chosen_by_test": cell.chosen_by_test,
                "missing": cell.missing or None,
                "runs": [name for _, name in cell.runs],
                "published": None
                if cell.published is None
                else {
                    "relative_accuracy": cell.published.result.relative_accuracy,
                    "student_accuracy": cell.published.result.student_accuracy,
                    "teacher_accuracy": cell.published.result.teacher_accuracy,
                    "source": cell.published.result.source,
                    "note": cell.published.note,
                },
            }
            for row in self.rows
            for method, cell in row.cells.items()
        ]


@dataclass(frozen=True, kw_only=True)
class _Part:
    """What one run says of one method; `fresh`: over seeds that no choice had seen."""

    anchor: str
    run: RunData
    method: str
    student: str | None
    outcomes: tuple[TestOutcome, ...]
    fresh: bool
    network: str | None
    finished: int
    planned: int
    networks: Networks = field(default=(None, None))


def matrix(runs: Sequence[tuple[str, RunData]]) -> Matrix:
    """Set several runs beside one another, by benchmark, student and method.

    A cell has the results of all its runs. Where some are over seeds that no choice had seen (a
    confirmation, a comparison of methods), it has these alone: the result of a search is the best
    of many.

    Args:
        runs: with their anchors in the page.
    """
    parts = [part for anchor, run in runs for part in _parts(anchor, run)]
    methods = tuple(dict.fromkeys(part.method for part in parts))
    places = dict.fromkeys((_benchmark(part.run), part.student) for part in parts)
    rows = []
    for benchmark, student in places:
        here = [p for p in parts if (_benchmark(p.run), p.student) == (benchmark, student)]
        alone = sum(1 for other, _ in places if other == benchmark) == 1
        teachers = dict.fromkeys(teacher_name(part.run) or MISSING for part in here)
        rows.append(
            MatrixRow(
                benchmark=benchmark,
                student=None if alone else student or "searched",
                teacher=", ".join(teachers),
                cells={
                    method: _cell(benchmark, method, [p for p in here if p.method == method], here)
                    for method in methods
                },
            )
        )
    return Matrix(methods=methods, rows=tuple(rows))


def _benchmark(run: RunData) -> str:
    return benchmark_name(run) or "unknown"


def _parts(anchor: str, run: RunData) -> Iterable[_Part]:
    """What a run says, by method; nothing for an ablation, whose variants are no methods."""
    comparison = run.experiment.get("comparison")
    what = comparison.get("what") if isinstance(comparison, Mapping) else None
    if run.run.kind == "comparison" and what == "methods":
        for row in compare_variants(run):
            trials = [t for t in run.trials if t.trial and t.trial.variant == row.variant]
            yield _over_seeds(anchor, run, row.variant, trials, row.seeds)
    elif confirmed_run(run) is not None:
        chosen = next((row for row in compare_variants(run) if row.chosen), None)
        name = chosen.variant if chosen else None
        trials = [t for t in run.trials if t.trial and name == t.trial.variant]
        yield _over_seeds(
            anchor, run, method_name(run) or "unknown", trials, chosen.seeds if chosen else 0
        )
    elif run.run.kind != "comparison":
        summary, selection, trial = summarise_run(run), run.found_selection, shown_trial(run)
        yield _Part(
            anchor=anchor,
            run=run,
            method=method_name(run) or "unknown",
            student=_fixed_student(run, trial),
            outcomes=(selection.test,) if selection and selection.test else (),
            fresh=False,
            network=student_name(trial) if trial else None,
            finished=summary.finished,
            planned=summary.planned,
            networks=run_networks(run),
        )


def _over_seeds(
    anchor: str, run: RunData, method: str, trials: Sequence[TrialData], planned: int
) -> _Part:
    complete = [trial for trial in trials if trial.state == "complete"]
    one = trials[0] if trials else None
    return _Part(
        anchor=anchor,
        run=run,
        method=method,
        student=_fixed_student(run, one),
        outcomes=tuple(trial.test for trial in complete if trial.test is not None),
        fresh=True,
        network=student_name(one) if one else None,
        finished=len(complete),
        planned=planned,
        networks=run_networks(run),
    )


def _fixed_student(run: RunData, trial: TrialData | None) -> str | None:
    """The student's network where the run does not search it; None where it does."""
    dimensions = run.experiment.get("dimensions")
    searched = {
        str(each.get("key")).rpartition("/")[2]
        for each in (dimensions if isinstance(dimensions, list) else [])
        if isinstance(each, Mapping)
    }
    if searched & {"student.architecture", "student.width"}:
        return None
    return student_name(trial) if trial else None


def _cell(benchmark: str, method: str, parts: Sequence[_Part], row: Sequence[_Part]) -> Cell:
    published = _published(benchmark, method, parts or row)
    if not parts:
        return Cell(published=published)
    fresh = [part for part in parts if part.fresh and part.outcomes]
    used = fresh or [part for part in parts if part.outcomes]
    outcomes = [outcome for part in used for outcome in part.outcomes]
    usable = [o for o in outcomes if o.both_correct + o.teacher_only]
    shared = Cell(
        finished=sum(part.finished for part in parts),
        planned=sum(part.planned for part in parts),
        runs=tuple((part.anchor, part.run.run.name) for part in parts),
        published=published,
        missing="no labels"
        if all(data_kind(part.run) != "labelled" for part in parts)
        else "not measured yet",
    )
    if not usable:
        return shared
    values = tuple(outcome.relative_accuracy for outcome in usable)
    over = spread_of(values).interval()
    student = fmean(100 * outcome.student_accuracy for outcome in usable)
    networks = {part.network for part in used}
    network = networks.pop() if len(networks) == 1 else None
    ratios = _ratios(parts, student, network)
    return Cell(
        values=values,
        interval=relative_accuracy_interval(usable[0])
        if over is None
        else Interval(value=fmean(values), low=over[0], high=over[1]),
        over="images" if over is None else "seeds" if fresh else "searches",
        student_accuracy=student,
        teacher_accuracy=fmean(100 * outcome.teacher_accuracy for outcome in usable),
        to_real=ratios.get("real"),
        to_kd=ratios.get("kd"),
        finished=shared.finished,
        planned=shared.planned,
        student=network,
        chosen_by_test=any(objective_name(part.run) == PEEKING_OBJECTIVE for part in used),
        runs=shared.runs,
        missing="",
        published=published,
    )


def _ratios(parts: Sequence[_Part], student: float, network: str | None) -> Mapping[str, float]:
    """The student's accuracy relative to its own network's, trained on real images."""
    for part in parts:
        found = part.run.yardsticks
        if found is None or network is None:
            continue
        cards = {"real": found.real, "kd": found.kd}
        if network_name(found.real.architecture, found.real.width) != network:
            continue
        scores = {name: card.scores.get("test") for name, card in cards.items()}
        return {
            name: student / score.accuracy
            for name, score in scores.items()
            if score is not None and score.accuracy > 0
        }
    return {}


def _published(benchmark: str, method: str, parts: Sequence[_Part]) -> PublishedCell | None:
    """The figure of the same networks, else of networks not named, else the highest of others."""
    found = [
        result
        for result in published_results(benchmark)
        if result.kind == "data_free"
        and _plain(result.method) == _plain(method)
        and result.relative_accuracy is not None
    ]
    if not found:
        return None
    pairs = {part.networks for part in parts}

    def distance(result: PublishedResult) -> int:
        if (result.teacher, result.student) in pairs and None not in (result.teacher,):
            return 0
        return 1 if result.teacher is None and result.student is None else 2

    result = min(found, key=distance)
    return PublishedCell(
        result=result, same_networks=distance(result) == 0, note=_note(result, parts)
    )


def _plain(method: str) -> str:
    """A method's name as its registry and papers have in common."""
    return "".join(character for character in method.lower() if character.isalnum())


def _note(result: PublishedResult, parts: Sequence[_Part]) -> str:
    """Where a published figure is from, and what is not alike."""
    pairs = {part.networks for part in parts}
    networks = "networks not named"
    if result.teacher or result.student:
        networks = f"{result.teacher or 'unknown'} → {result.student or 'unknown'}"
        if (result.teacher, result.student) not in pairs:
            networks += ", other networks than here"
    heights = {look_up(part.run.experiment, "inputs.height") for part in parts} - {None}
    size = ""
    if result.input_size and heights:
        here = " or ".join(map(str, sorted(heights)))
        alike = heights == {result.input_size}
        size = f"images of {result.input_size} pixels" + ("" if alike else f", here {here}")
    epochs = sorted({epochs for part in parts if (epochs := _epochs(part.run))})
    ours = f"here the last of {' or '.join(map(str, epochs))} epochs" if epochs else "here the last"
    pieces = [result.source, networks, f"{result.protocol}, {ours}", size, result.note]
    return "; ".join(piece for piece in pieces if piece)


def _epochs(run: RunData) -> int | None:
    trial = shown_trial(run)
    return int(trial.epochs.last.total_epochs) if trial is not None and trial.epochs else None
