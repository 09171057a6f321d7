"""Write the report: the page and, beside it, its numbers for other programs and for texts."""

import gc
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dfkd_tune.epochs import EpochReader
from dfkd_tune.errors import UsageError
from dfkd_tune.records import write_bytes_atomically, write_json, write_parts_atomically
from reports.best_config import best_configurations, best_experiment
from reports.collect import RunData, collect_run
from reports.compute.baseline import BaselineComparison, compare_baseline
from reports.compute.comparison import VariantRow, compare_variants
from reports.compute.importance import load_forest
from reports.compute.side_by_side import side_by_side
from reports.compute.summary import RunSummary, summarise_run
from reports.figure_files import ImageFormat, figure_images
from reports.matrix import matrix_latex, matrix_markdown, matrix_rows
from reports.render import render_page
from reports.suite import SideView, view_sides, view_suite
from reports.summary_file import summary_content
from reports.tables import curves_csv, parquet_content, trials_table
from reports.view import view_run


@dataclass(frozen=True, kw_only=True)
class ReportFiles:
    """Where a report lies.

    Args:
        html: the page.
        trials_csv: one row per trial.
        trials_parquet: the same, with the types of its columns.
        curves_csv: one row per epoch of every trial.
        summary_json: verdict, counts, selection and headline numbers.
        matrix_md: the headline table of relative accuracy, in Markdown.
        matrix_tex: the same in LaTeX.
        best_config_json: configuration of the selected or best complete trial; None without one.
        best_config_yaml: an experiment file that distils it; None without one, and for several
            runs.
        figures: each figure of the page, where they were asked for.
    """

    html: Path
    trials_csv: Path
    trials_parquet: Path
    curves_csv: Path
    summary_json: Path
    matrix_md: Path
    matrix_tex: Path
    best_config_json: Path | None
    best_config_yaml: Path | None
    figures: tuple[Path, ...] = ()


def summarise(run: Path) -> RunSummary:
    """Summarise a run in numbers and one sentence.

    Args:
        run: the run folder.

    Returns:
        The summary of whatever the run holds so far.

    Raises:
        RunFolderError: if the path is no run folder of a known version.
    """
    return summarise_run(collect_run(run))


def summarise_comparison(run: Path) -> tuple[VariantRow, ...]:
    """The variants of a comparison over their seeds; empty for a run that is none.

    Args:
        run: the run folder.

    Raises:
        RunFolderError: if the path is no run folder of a known version.
    """
    return compare_variants(collect_run(run))


def summarise_baseline(run: Path) -> BaselineComparison | None:
    """A sweep against its random baseline; None where that has not begun.

    Args:
        run: the sweep's folder, beside which the baseline's is.

    Raises:
        RunFolderError: if the path is no run folder of a known version.
    """
    return compare_baseline(collect_run(run))


def write_report(
    runs: Sequence[Path],
    output: Path | None = None,
    figures: ImageFormat | None = None,
    *,
    compare: bool = False,
) -> ReportFiles:
    """Write the report of one or several runs.

    Args:
        runs: run folders, at least one.
        output: folder to write to; by default `report/` inside the only run.
        figures: also write every figure of the page in this format, into `figures/`.
        compare: set sweeps of one benchmark side by side.

    Returns:
        The files written.

    Raises:
        UsageError: if there is no run, or several runs and no output; if runs that are to be
            compared cannot be; or if what draws figures is not installed.
        ResourceError: if there is no browser to draw figures.
        RunFolderError: if a path is no run folder of a known version.
        StorageError: if the output cannot be written.
    """
    if not runs:
        raise UsageError("a report needs at least one run folder; give one or more")
    if compare and len(runs) == 1:
        raise UsageError("--compare sets sweeps side by side; give two run folders or more")
    if output is None:
        if len(runs) > 1:
            raise UsageError(
                f"a report of {len(runs)} runs needs an output folder; say where to write it"
            )
        output = runs[0] / "report"
    with _without_collecting(), EpochReader(rows=True, waiting=load_forest) as reader:
        collected = [collect_run(path, reader) for path in runs]
        side = view_sides(side_by_side(collected)) if compare else None
        # The largest file takes the longest, and leaves Python's lock meanwhile.
        with ThreadPoolExecutor(1) as beside:
            rows = partial(curves_csv, collected, reader.written)
            write = partial(write_parts_atomically, output / "curves.csv", rows)
            # Where figures cannot be drawn, nothing is to be written.
            curves = beside.submit(write) if figures is None else None
            written = _write_all_but_curves(collected, output, figures, side)
            (curves or beside.submit(write)).result()
    return written


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Leave cycles in memory alone: among many records, to look for them takes long."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _write_all_but_curves(
    runs: list[RunData], output: Path, figures: ImageFormat | None, side: SideView | None
) -> ReportFiles:
    views = [view_run(run, f"run-{place}") for place, run in enumerate(runs, start=1)]
    suite = view_suite(views) if len(views) > 1 else None
    images = {} if figures is None else figure_images(views, figures, suite, side)
    best = best_configurations(runs)
    experiment = best_experiment(runs[0]) if len(runs) == 1 else None
    written = ReportFiles(
        html=output / "report.html",
        trials_csv=output / "trials.csv",
        trials_parquet=output / "trials.parquet",
        curves_csv=output / "curves.csv",
        summary_json=output / "summary.json",
        matrix_md=output / "matrix.md",
        matrix_tex=output / "matrix.tex",
        best_config_json=output / "best_config.json" if best else None,
        best_config_yaml=output / "best_config.yaml" if experiment is not None else None,
        figures=tuple(output / "figures" / name for name in images),
    )
    found = suite.matrix if suite is not None else None
    trials, rows = trials_table(runs), matrix_rows(runs)
    texts = {
        written.html: render_page(views, suite, side),
        written.trials_csv: trials.to_csv(index=False, lineterminator="\n"),
        written.matrix_md: matrix_markdown(rows, found),
        written.matrix_tex: matrix_latex(rows, found),
    }
    for path, text in texts.items():
        write_bytes_atomically(path, text.encode("utf-8", "replace"))
    write_bytes_atomically(written.trials_parquet, parquet_content(trials))
    write_json(written.summary_json, summary_content(runs, suite, side))
    if written.best_config_json is not None:
        write_json(written.best_config_json, best[0] if len(runs) == 1 else best)
    if written.best_config_yaml is not None and experiment is not None:
        write_bytes_atomically(written.best_config_yaml, experiment.encode("utf-8", "replace"))
    for path in written.figures:
        write_bytes_atomically(path, images[path.name])
    return written
