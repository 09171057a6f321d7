"""The headline table of relative accuracy, to be put into a text: as Markdown and as LaTeX."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reports.collect import RunData
from reports.compute import matrix
from reports.compute.comparison import VariantRow, compare_variants
from reports.compute.reproduction import best_trial
from reports.compute.summary import RunSummary, summarise_run
from reports.configuration import student_name
from reports.formatting import MISSING, markdown_text, plural
from reports.objectives import PEEKING_OBJECTIVE

COLUMNS = (
    "Benchmark",
    "Method",
    "Teacher",
    "Student",
    "Teacher accuracy",
    "Student accuracy",
    "Relative accuracy",
    "95 % interval",
    "Seeds",
    "Trials",
)
NUMBERS = COLUMNS[4:]
"""The columns that are aligned to the right."""

NO_LABELS = "no labels"

ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
    "\N{HORIZONTAL ELLIPSIS}": r"\ldots{}",
    "\N{NO-BREAK SPACE}": "~",
    "\n": " ",
}


@dataclass(frozen=True, kw_only=True)
class MatrixRow:
    """One student, or one variant of a comparison over its seeds; accuracies in percent.

    Args:
        benchmark: its name.
        method: its name.
        teacher: architecture x width.
        student: architecture x width; several of them where variants differ.
        teacher_accuracy: on the test split.
        student_accuracy: on the test split; of several seeds their mean.
        relative: relative accuracy; of several seeds their mean.
        interval: 95 %, of relative accuracy: over test images of one seed, else of the mean.
        seeds: that the numbers are of.
        trials: that the choice was among; of a comparison, what was distilled of this variant.
        missing: the word for a number that there is none of.
    """

    benchmark: str
    method: str
    teacher: str
    student: str
    teacher_accuracy: float | None
    student_accuracy: float | None
    relative: float | None
    interval: tuple[float, float] | None
    seeds: int
    trials: int
    missing: str = MISSING

    @property
    def cells(self) -> tuple[str, ...]:
        """What stands in each of `COLUMNS`."""
        bounds = "" if self.interval is None else "{:.1f} to {:.1f}".format(*self.interval)
        numbers = (self.teacher_accuracy, self.student_accuracy, self.relative)
        return (
            self.benchmark,
            self.method,
            self.teacher,
            self.student,
            *(self.missing if value is None else f"{value:.1f}" for value in numbers),
            bounds or ("none" if self.relative is not None else self.missing),
            str(self.seeds),
            str(self.trials),
        )


def matrix_rows(runs: Sequence[RunData]) -> tuple[MatrixRow, ...]:
    """The rows of the table: of a comparison one per variant, of every other run one.

    Args:
        runs: records of the runs.
    """
    rows: list[MatrixRow] = []
    for run in runs:
        summary, variants = summarise_run(run), compare_variants(run)
        if variants:
            rows += [_variant_row(run, summary, variant) for variant in variants]
        else:
            rows.append(_run_row(run, summary))
    return tuple(rows)


def matrix_markdown(rows: Sequence[MatrixRow], found: matrix.Matrix | None = None) -> str:
    """The table in Markdown, as GitHub and pandoc read it.

    Args:
        rows: of the table.
        found: several runs, benchmark by method, for a second table; None for a single run.
    """
    table = _markdown_table(COLUMNS, len(NUMBERS), [row.cells for row in rows], NOTE)
    if found is None or not found.methods:
        return table
    cells = _by_method(found)
    return f"{table}\n{_markdown_table(cells[0], len(found.methods), cells[1:], BY_METHOD)}"


def matrix_latex(rows: Sequence[MatrixRow], found: matrix.Matrix | None = None) -> str:
    """The table in LaTeX; it needs the package booktabs.

    Args:
        rows: of the table.
        found: several runs, benchmark by method, for a second table; None for a single run.
    """
    table = _latex_table(COLUMNS, len(NUMBERS), [row.cells for row in rows], NOTE)
    text = f"% Needs \\usepackage{{booktabs}}.\n{table}"
    if found is None or not found.methods:
        return text
    cells = _by_method(found)
    return f"{text}\n{_latex_table(cells[0], len(found.methods), cells[1:], BY_METHOD)}"


NOTE = (
    "Percent on the test split; relative accuracy is 100 x student / teacher on the same images. "
    "The interval of one seed is a paired bootstrap over the test images, that of several is "
    "Student's t over the seeds."
)
BY_METHOD = (
    "Relative accuracy in percent, its 95 % interval, and what it is of: the mean over seeds that "
    "no choice had seen, else over searches."
)


def latex_text(text: str) -> str:
    """Text as LaTeX prints it."""
    return "".join(ESCAPES.get(character, character) for character in text)


def _run_row(run: RunData, summary: RunSummary) -> MatrixRow:
    interval, best = summary.relative_accuracy, best_trial(run)
    # Of a search over methods, the one that was found.
    configuration = best.trial.configuration if best and best.trial else {}
    method = str(configuration.get("method") or summary.method or "unknown")
    peeked = summary.objective == PEEKING_OBJECTIVE
    return MatrixRow(
        benchmark=summary.benchmark or "unknown",
        method=f"{method} (chosen on the test split)" if peeked else method,
        teacher=summary.teacher or MISSING,
        student=(summary.best.student or "unknown") if summary.best else MISSING,
        teacher_accuracy=_percent(summary.teacher_test_accuracy),
        student_accuracy=_percent(summary.student_test_accuracy),
        relative=interval.value if interval else None,
        interval=(interval.low, interval.high) if interval else None,
        seeds=1 if summary.best else 0,
        trials=len(run.trials),
        missing=MISSING if summary.data == "labelled" else NO_LABELS,
    )


def _variant_row(run: RunData, summary: RunSummary, variant: VariantRow) -> MatrixRow:
    trials = [t for t in run.trials if t.trial is not None and t.trial.variant == variant.variant]
    students = sorted({student_name(trial) or "unknown" for trial in trials})
    tests = [trial.test for trial in trials if trial.test is not None]
    return MatrixRow(
        benchmark=summary.benchmark or "unknown",
        method=variant.variant,
        teacher=summary.teacher or MISSING,
        student=", ".join(students) or MISSING,
        # Every student met the same test images, and so did the teacher.
        teacher_accuracy=100 * tests[0].teacher_accuracy if tests else None,
        student_accuracy=None if math.isnan(variant.test.mean) else variant.test.mean,
        relative=None if math.isnan(variant.relative.mean) else variant.relative.mean,
        interval=variant.relative.interval(),
        seeds=variant.relative.count,
        trials=len(trials),
        missing=MISSING if summary.data == "labelled" else NO_LABELS,
    )


def _by_method(found: matrix.Matrix) -> list[tuple[str, ...]]:
    """Benchmark by method as cells, with its head."""
    rows = [("Benchmark", *found.methods)]
    for row in found.rows:
        name = f"{row.benchmark}, student {row.student}" if row.student else row.benchmark
        rows.append((name, *(_cell_words(row.cells[method]) for method in found.methods)))
    return rows


def _cell_words(cell: matrix.Cell) -> str:
    if cell.interval is None:
        return cell.missing
    count = plural(len(cell.values), "seed")
    if cell.over == "searches":
        count = f"{len(cell.values)} searches"
    words = f"{cell.interval.value:.1f} ({cell.interval.low:.1f} to {cell.interval.high:.1f}"
    words += f", {count})"
    return f"{words}, chosen on the test split" if cell.chosen_by_test else words


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else 100 * fraction


def _markdown_table(
    head: Sequence[str], numbers: int, rows: Sequence[Sequence[str]], note: str
) -> str:
    """A table whose last columns, as many as `numbers`, are aligned to the right."""
    lines = [
        _markdown_line([markdown_text(cell) for cell in head]),
        _markdown_line(["---"] * (len(head) - numbers) + ["---:"] * numbers),
        *(_markdown_line([markdown_text(cell) for cell in row]) for row in rows),
    ]
    return "\n".join(lines) + f"\n\n{note}\n"


def _latex_table(
    head: Sequence[str], numbers: int, rows: Sequence[Sequence[str]], note: str
) -> str:
    """The same in LaTeX."""
    lines = [
        rf"\begin{{tabular}}{{{'l' * (len(head) - numbers)}{'r' * numbers}}}",
        r"\toprule",
        _latex_line(head),
        r"\midrule",
        *(_latex_line(row) for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        f"% {note}",
    ]
    return "\n".join(lines) + "\n"


def _markdown_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _latex_line(cells: Sequence[str]) -> str:
    return f"{' & '.join(latex_text(cell) for cell in cells)} \\\\"
