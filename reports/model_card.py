"""The model card of an exported student: all that whoever is given it should know."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from dfkd_tune import __version__
from dfkd_tune.inputs import InputSpecification
from reports import formatting
from reports.collect import RunData, TrialData
from reports.compute.caveats import caveats
from reports.compute.comparison import compare_variants
from reports.compute.leaderboard import LeaderboardRow
from reports.compute.reproduction import reproduction
from reports.compute.summary import summarise_run
from reports.configuration import look_up
from reports.facts import facts
from reports.summary_file import plain

RESIZING = {
    "crop": "the shorter side is brought to this size, bilinear with antialiasing, and the centre "
    "is cut out.",
    "squash": "both sides are brought to this size, bilinear with antialiasing.",
}
CHANNELS = {1: "grey", 3: "red, green, blue"}


@dataclass(frozen=True, kw_only=True)
class CardFile:
    """A file of the student that the card is of.

    Args:
        name: of the file.
        words: what it is.
        sha256: of its bytes.
        difference: the largest of any logit from the student of the run.
    """

    name: str
    words: str
    sha256: str
    difference: float


def model_card(
    run: RunData,
    trial: TrialData,
    inputs: InputSpecification,
    files: Sequence[CardFile],
    *,
    tolerance: float,
    images: int,
) -> str:
    """Write the model card of the best student of a run.

    Args:
        run: the run's records.
        trial: whose student it is: the selected one, else the best complete one.
        inputs: what the student takes.
        files: in which it is.
        tolerance: by which a logit may differ, as a share of the largest one where that is above 1.
        images: random images on which the files were compared.

    Returns:
        Markdown.
    """
    summary = summarise_run(run)
    row = next(row for row in summary.leaderboard if row.trial == trial.name)
    names = run.experiment.get("class_names") or []
    return (
        _environment()
        .get_template("model_card.md")
        .render(
            run=run,
            trial=trial,
            summary=summary,
            row=row,
            size=_size(row),
            facts=facts(summary, compare_variants(run)),
            caveats=caveats(run),
            inputs=inputs,
            channels=CHANNELS.get(inputs.channels, f"{inputs.channels} channels"),
            resizing=RESIZING.get(str(look_up(run.experiment, "benchmark_config.resize")), ""),
            classes=[str(name) for name in names],
            files=files,
            tolerance=tolerance,
            images=images,
            again=reproduction(run),
            environment=run.sessions[-1].environment if run.sessions else {},
            settings=_settings(trial),
            version=__version__,
        )
    )


def _size(row: LeaderboardRow) -> str:
    """How large a student is, in words; empty where that is unknown."""
    parts = []
    if row.parameters is not None:
        parts.append(f"{row.parameters:,} parameters")
    if row.macs is not None:
        parts.append(f"{formatting.quantity(row.macs)} multiply-accumulates an image")
    return ", ".join(parts)


def _settings(trial: TrialData) -> str:
    """A trial's whole configuration as YAML; whatever it holds, it ends no block of code."""
    configuration: Any = plain(trial.trial.configuration) if trial.trial is not None else {}
    text = yaml.safe_dump(configuration, allow_unicode=True, width=100)
    return "".join(f"    {line}" for line in text.splitlines(keepends=True))


def _environment() -> Environment:
    # Not HTML: what is foreign is escaped for Markdown where it is put in.
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        md=formatting.markdown_text,
        inline=formatting.inline,
        duration=formatting.duration,
        whole=formatting.whole,
        sentence=formatting.sentence,
    )
    environment.globals.update(
        plural=formatting.plural, pairs=lambda given: zip(given.mean, given.std, strict=True)
    )
    return environment
