"""`summary.json`: its content, and its JSON Schema."""

import inspect
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from reports.collect import RunData
from reports.compute.baseline import compare_baseline
from reports.compute.choice import choice_quality
from reports.compute.comparison import compare_variants
from reports.compute.cost import run_cost
from reports.compute.mattered import what_mattered
from reports.compute.summary import RunSummary, summarise_run
from reports.compute.utilisation import utilisation
from reports.suite import SideView, SuiteView
from reports.summary_types import (
    AggregateContent,
    BaselineContent,
    CellContent,
    ChoiceContent,
    CompareContent,
    ImportanceContent,
    MatteredContent,
    RunContent,
    SummaryContent,
    UseContent,
    VariantContent,
)

SUMMARY_SCHEMA_VERSION = 1
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def summary_content(
    runs: Sequence[RunData], suite: SuiteView | None = None, side: SideView | None = None
) -> dict[str, Any]:
    """The content of `summary.json`: numbers without rounding; unknown ones are null.

    Args:
        runs: records of the runs.
        suite: of all runs together; None for a single one.
        side: of the runs side by side; None where that was not asked for.
    """
    together: dict[str, Any] = {} if suite is None else suite.as_json()
    together |= {} if side is None else side.as_json()
    content = SummaryContent(
        schema_version=SUMMARY_SCHEMA_VERSION,
        runs=tuple(_run_content(run) for run in runs),
        matrix=TypeAdapter(tuple[CellContent, ...]).validate_python(together.get("matrix", ())),
        aggregate=TypeAdapter(tuple[AggregateContent, ...]).validate_python(
            together.get("aggregate", ())
        ),
        compare=TypeAdapter(CompareContent | None).validate_python(together.get("compare")),
    )
    # What a record of another version holds is shown as it is.
    dumped = TypeAdapter(SummaryContent).dump_python(content, mode="json", warnings=False)
    return {name: plain(dumped[name]) for name in ("schema_version", "runs", *together)}


def summary_schema() -> dict[str, Any]:
    """The JSON Schema of `summary.json`, sorted."""
    made = TypeAdapter(SummaryContent).json_schema(
        mode="serialization", schema_generator=_DocumentedSchema
    )
    made["title"] = "summary.json of a dfkd-tune report"
    return {"$schema": DIALECT, **_in_words_of_json(plain(made))}


def plain(value: Any) -> Any:
    """A value as JSON can hold it: sorted mappings, lists, and null for what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): plain(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _in_words_of_json(schema: Any) -> Any:
    """A schema whose descriptions say null where the docstrings say None."""
    if isinstance(schema, Mapping):
        return {
            key: re.sub(r"\bNone\b", "null", value)
            if key == "description" and isinstance(value, str)
            else _in_words_of_json(value)
            for key, value in schema.items()
        }
    return [_in_words_of_json(item) for item in schema] if isinstance(schema, list) else schema


class _DocumentedSchema(GenerateJsonSchema):
    """A schema whose descriptions are the docstrings, and whose numbers may be null."""

    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:  # noqa: ARG002
        return {"type": ["number", "null"]}

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        within = self.generate_inner(schema["schema"])
        return within if "null" in within.get("type", ()) else super().nullable_schema(schema)

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        found = super().dataclass_schema(schema)
        found["description"] = (inspect.getdoc(schema["cls"]) or "").split("\n\n")[0]
        for name, words in _described(schema["cls"]).items():
            if name in found.get("properties", {}):
                found["properties"][name]["description"] = words
        return found

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False


def _described(cls: type[Any]) -> dict[str, str]:
    """What the `Args` of a class and its bases say of each field."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        _, _, listed = inspect.cleandoc(base.__doc__ or "").partition("Args:\n")
        # A continued line is indented further than the name that it belongs to.
        for entry in re.split(r"\n(?=    \w)", listed.rstrip()):
            names, _, words = " ".join(entry.split()).partition(": ")
            found |= dict.fromkeys(names.split(", "), words)
    return found


def _run_content(run: RunData) -> RunContent:
    summary, baseline, use = summarise_run(run), compare_baseline(run), utilisation(run)
    variants = TypeAdapter(tuple[VariantContent, ...])
    return RunContent(
        **{field.name: getattr(summary, field.name) for field in fields(RunSummary)},
        selection=run.selection,
        problems=run.problems,
        baseline=None
        if baseline is None
        else BaselineContent(
            search=baseline.search,
            baseline=baseline.baseline,
            equal_steps=baseline.equal_steps,
            verdict=baseline.verdict,
        ),
        choice=_choice_content(run),
        comparison=variants.validate_python([row.as_json() for row in compare_variants(run)]),
        cost=run_cost(run),
        utilisation=None
        if use is None
        else UseContent(**{field.name: getattr(use, field.name) for field in fields(UseContent)}),
        mattered=_mattered_content(run),
    )


def _mattered_content(run: RunData) -> MatteredContent | None:
    found = what_mattered(run)
    if found is None:
        return None
    importance = found.importance
    return MatteredContent(
        importance=tuple(
            ImportanceContent(
                dimension=row.dimension.name,
                importance=row.importance.value,
                low=row.importance.low,
                high=row.importance.high,
                trials=row.used,
            )
            for row in (() if importance is None else importance.rows)
        ),
        why_not=found.why_not,
        skill=None if importance is None else importance.skill.value,
        trials=0 if importance is None else importance.trials,
        next_ranges=found.next_ranges,
    )


def _choice_content(run: RunData) -> ChoiceContent | None:
    choice = choice_quality(run)
    if choice is None:
        return None
    return ChoiceContent(
        trials=len(choice.trials),
        picked=choice.picked.trial,
        best=choice.best.trial,
        regret=choice.regret,
        chance_regret=choice.chance_regret,
        scores=choice.scores,
    )
