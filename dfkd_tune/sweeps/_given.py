"""Trials that are given beforehand: a comparison of variants or of methods, over seeds."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from dfkd_tune.distillation import METHODS, DistillationConfig, Variant, ablation_of
from dfkd_tune.errors import ExperimentError, did_you_mean
from dfkd_tune.records import RunFolder, TrialFolder
from dfkd_tune.sweeps._experiment import ResolvedExperiment, merged, resolve_experiment
from dfkd_tune.sweeps._validation import validation_lines

ComparisonKind = Literal["ablation", "methods", "confirmation"]


@dataclass(frozen=True, kw_only=True)
class GivenTrial:
    """One distillation of a comparison.

    Args:
        variant: what is changed in it, or its method.
        configuration: with its own seed.
    """

    variant: str
    configuration: DistillationConfig


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Variants over seeds.

    Args:
        what: ablation, methods or confirmation.
        variants: in their order, the reference first.
        seeds: how many of each.
        trials: all, seed by seed, so that a first picture of every variant comes early.
        source: of a confirmation: the folder of the sweep.
    """

    what: ComparisonKind
    variants: tuple[Variant, ...]
    seeds: int
    trials: tuple[GivenTrial, ...]
    source: Path | None = None

    def identity_hash(self) -> str:
        """Hash of all its trials."""
        dumps = [[t.variant, t.configuration.model_dump(mode="json")] for t in self.trials]
        text = json.dumps(dumps, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def record(self) -> dict[str, Any]:
        """What `experiment.json` holds of it."""
        return {
            "what": self.what,
            "seeds": self.seeds,
            "source": None if self.source is None else str(self.source),
            "variants": [
                {"name": v.name, "words": v.words, "published": v.published} for v in self.variants
            ],
        }


def ablation(resolved: ResolvedExperiment, seeds: int) -> Comparison:
    """The ablation of an experiment's method: its recipe with one named piece off at a time.

    Args:
        resolved: the experiment, whose settings hold for all variants.
        seeds: how many of each variant, counted from the experiment's own.

    Raises:
        ExperimentError: if a variant makes no valid configuration.
    """
    variants = ablation_of(resolved.method.name, resolved.base)
    bases: dict[str, DistillationConfig] = {}
    problems: list[str] = []
    for variant in variants:
        raw = merged(resolved.base.model_dump(), variant.changes)
        try:
            bases[variant.name] = DistillationConfig.model_validate(raw)
        except ValidationError as error:
            problems += validation_lines(error, DistillationConfig, f"variant {variant.name}")
    if problems:
        raise ExperimentError("; ".join(problems))
    return _over_seeds("ablation", variants, bases, seeds)


def comparison_of_methods(
    raw: Mapping[str, Any], where: str, methods: Sequence[str], seeds: int
) -> tuple[ResolvedExperiment, Comparison]:
    """Every method's recipe under one experiment's settings.

    Args:
        raw: an experiment as read; its `method` is not needed. `changes` may hold settings by
            method, laid over `settings`.
        where: the file, for messages.
        methods: names; all where there are none.
        seeds: how many of each.

    Returns:
        The first method's experiment, and the comparison.

    Raises:
        ExperimentError: naming every problem.
    """
    names = list(methods) or list(METHODS)
    changes = raw.get("changes") or {}
    unknown = [name for name in [*names, *changes] if name not in METHODS]
    if unknown:
        raise ExperimentError(
            f"{where}: no method '{unknown[0]}'; {did_you_mean(unknown[0], METHODS)}"
        )
    # What would be searched has no meaning here.
    common = {key: value for key, value in raw.items() if key not in ("changes", "space")}
    experiments: dict[str, ResolvedExperiment] = {}
    for name in names:
        settings = merged(common.get("settings") or {}, changes.get(name) or {})
        experiment = {**common, "method": name, "settings": settings}
        experiments[name] = resolve_experiment(experiment, f"{where} ({name})", searched=False)
    variants = tuple(Variant(name=name, words=METHODS[name].title) for name in names)
    bases = {name: resolved.base for name, resolved in experiments.items()}
    return experiments[names[0]], _over_seeds("methods", variants, bases, seeds)


def confirmation(run: RunFolder, ranked: Sequence[TrialFolder], seeds: int) -> Comparison:
    """The best configurations of a sweep, each over seeds that it has not been searched with.

    Args:
        run: the sweep's folder.
        ranked: complete trials, the best first.
        seeds: how many of each.
    """
    variants, bases = [], {}
    for folder in ranked:
        record = folder.trial()
        config = DistillationConfig.model_validate(record.configuration)
        words = f"{config.student}, {record.student_size.parameters:,} parameters"
        if record.parent is not None:
            words += f"; of PBT from {record.parent.trial}, here trained by these values throughout"
        variants.append(Variant(name=folder.name, words=words))
        bases[folder.name] = config
    # The search's own seed has had its luck: seeds begin after it.
    comparison = _over_seeds("confirmation", variants, bases, seeds, first=1)
    return replace(comparison, source=run.path.absolute())


def _over_seeds(
    what: ComparisonKind,
    variants: Sequence[Variant],
    bases: Mapping[str, DistillationConfig],
    seeds: int,
    first: int = 0,
) -> Comparison:
    trials = [
        GivenTrial(
            variant=variant.name,
            configuration=bases[variant.name].model_copy(
                update={"seed": bases[variant.name].seed + 1000 * number}
            ),
        )
        for number in range(first, first + seeds)
        for variant in variants
    ]
    return Comparison(what=what, variants=tuple(variants), seeds=seeds, trials=tuple(trials))
