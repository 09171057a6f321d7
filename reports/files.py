"""Write the report: the page and, beside it, its numbers as CSV and JSON."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dfkd_tune.errors import UsageError
from dfkd_tune.records import write_bytes_atomically, write_json
from reports.collect import RunData, collect_run
from reports.compute.baseline import BaselineComparison, compare_baseline
from reports.compute.choice import choice_quality
from reports.compute.comparison import VariantRow, compare_variants
from reports.compute.reproduction import best_trial
from reports.compute.summary import RunSummary, summarise_run
from reports.render import render_page
from reports.tables import curves_table, trials_table
from reports.view import view_run

SUMMARY_SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ReportFiles:
    """Where a report lies.

    Args:
        html: the page.
        trials_csv: one row per trial.
        curves_csv: one row per epoch of every trial.
        summary_json: verdict, counts, selection and headline numbers.
        best_config_json: configuration of the selected or best complete trial; None without one.
    """

    html: Path
    trials_csv: Path
    curves_csv: Path
    summary_json: Path
    best_config_json: Path | None


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


def write_report(runs: Sequence[Path], output: Path | None = None) -> ReportFiles:
    """Write the report of one or several runs.

    Args:
        runs: run folders, at least one.
        output: folder to write to; by default `report/` inside the only run.

    Returns:
        The files written.

    Raises:
        UsageError: if there is no run, or several runs and no output.
        RunFolderError: if a path is no run folder of a known version.
        StorageError: if the output cannot be written.
    """
    if not runs:
        raise UsageError("a report needs at least one run folder; give one or more")
    if output is None:
        if len(runs) > 1:
            raise UsageError(
                f"a report of {len(runs)} runs needs an output folder; say where to write it"
            )
        output = runs[0] / "report"
    collected = [collect_run(path) for path in runs]
    views = [view_run(run, f"run-{place}") for place, run in enumerate(collected, start=1)]
    best = best_configurations(collected)
    written = ReportFiles(
        html=output / "report.html",
        trials_csv=output / "trials.csv",
        curves_csv=output / "curves.csv",
        summary_json=output / "summary.json",
        best_config_json=output / "best_config.json" if best else None,
    )
    write_bytes_atomically(written.html, render_page(views).encode("utf-8", "replace"))
    for path, table in (
        (written.trials_csv, trials_table(collected)),
        (written.curves_csv, curves_table(collected)),
    ):
        text = table.to_csv(index=False, lineterminator="\n")
        write_bytes_atomically(path, text.encode("utf-8", "replace"))
    write_json(written.summary_json, summary_content(collected))
    if written.best_config_json is not None:
        write_json(written.best_config_json, best[0] if len(runs) == 1 else best)
    return written


def summary_content(runs: Sequence[RunData]) -> dict[str, Any]:
    """The content of `summary.json`: numbers without rounding; unknown ones are null.

    Args:
        runs: records of the runs.
    """
    return {
        "schema_version": SUMMARY_SCHEMA_VERSION,
        "runs": [_run_content(run) for run in runs],
    }


def best_configurations(runs: Sequence[RunData]) -> list[Any]:
    """The content of `best_config.json`: the best trial's configuration of every run that has one.

    Of a single run the file holds the configuration itself, of several runs the list of them, each
    with the names of its run and trial.

    Args:
        runs: records of the runs.
    """
    found = []
    for run in runs:
        trial = best_trial(run)
        # A comparison chooses nothing.
        if trial is None or trial.trial is None or run.run.kind == "comparison":
            continue
        configuration = _plain(trial.trial.configuration)
        named = {"run": run.run.name, "trial": trial.name, "configuration": configuration}
        found.append(configuration if len(runs) == 1 else named)
    return found


def _run_content(run: RunData) -> dict[str, Any]:
    content = asdict(summarise_run(run))
    content["selection"] = run.selection.model_dump(mode="json") if run.selection else None
    content["problems"] = list(run.problems)
    baseline = compare_baseline(run)
    content["baseline"] = None
    if baseline is not None:
        content["baseline"] = {**asdict(baseline), "verdict": baseline.verdict}
    content["choice"] = _choice_content(run)
    # Of a comparison: every variant over its seeds.
    content["comparison"] = [row.as_json() for row in compare_variants(run)]
    return {key: _plain(content[key]) for key in sorted(content)}


def _choice_content(run: RunData) -> dict[str, Any] | None:
    """How well every score that needs no label orders the trials; None where none can be judged."""
    choice = choice_quality(run)
    if choice is None:
        return None
    return {
        "trials": len(choice.trials),
        "picked": choice.picked.trial,
        "best": choice.best.trial,
        "regret": choice.regret,
        "chance_regret": choice.chance_regret,
        "scores": [asdict(score) for score in choice.scores],
    }


def _plain(value: Any) -> Any:
    """A value as JSON can hold it: sorted mappings, lists, and null for what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): _plain(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
