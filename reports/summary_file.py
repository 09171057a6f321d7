"""`summary.json`: its content as types, from which its JSON Schema is made."""

import inspect
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from dfkd_tune.records import SelectionRecord
from reports.collect import RunData
from reports.compute.accuracy import Interval
from reports.compute.baseline import SearchPath, compare_baseline
from reports.compute.choice import ScoreQuality, choice_quality
from reports.compute.comparison import compare_variants
from reports.compute.cost import Cost, run_cost
from reports.compute.mattered import what_mattered
from reports.compute.side_by_side import Difference, Differing
from reports.compute.summary import RunSummary, summarise_run
from reports.compute.utilisation import NodeUse, utilisation
from reports.suite import SideView, SuiteView

SUMMARY_SCHEMA_VERSION = 1
DIALECT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True, kw_only=True)
class BaselineContent:
    """A sweep beside its random baseline.

    Args:
        search: the sweep.
        baseline: the same space, drawn at random.
        equal_steps: student steps that both have trained: there they are compared.
        verdict: which was better at equal budget, in a sentence.
    """

    search: SearchPath
    baseline: SearchPath
    equal_steps: int
    verdict: str


@dataclass(frozen=True, kw_only=True)
class ChoiceContent:
    """How well every score that needs no label orders the trials by validation accuracy.

    Args:
        trials: complete trials with an accuracy.
        picked: the selected trial, else the first by the search objective.
        best: the trial with the highest validation accuracy.
        regret: validation accuracy that the choice gave away, a fraction.
        chance_regret: what picking a complete trial at random gives away on average, a fraction.
        scores: those that all these trials have.
    """

    trials: int
    picked: str
    best: str
    regret: float
    chance_regret: float
    scores: tuple[ScoreQuality, ...]


@dataclass(frozen=True, kw_only=True)
class SpreadContent:
    """Mean and spread over seeds.

    Args:
        mean: null where there is no value.
        deviation: sample standard deviation; null for fewer than two values.
        count: values.
    """

    mean: float | None
    deviation: float | None
    count: int


@dataclass(frozen=True, kw_only=True)
class VariantContent:
    """One variant of a comparison over its seeds; percent where not said otherwise.

    Args:
        variant: name.
        seeds: distillations that were to be.
        complete: those that trained their whole budget.
        lost: those that diverged or collapsed.
        chosen: in a confirmation: whether its mean value at the last epoch is the highest of all
            that have all their seeds.
        published: student accuracies that stand for this variant, by benchmark.
        published_difference: mean over benchmarks of their difference from the first variant's,
            points; null for it, and where nothing is published.
        relative: relative accuracy on the test split.
        test: test accuracy of the student.
        last: the search objective's value at the last epoch.
        best: that value at its best epoch.
        tail: mean of that value over the last five evaluated epochs.
        seconds: wall seconds of a distillation.
    """

    variant: str
    seeds: int
    complete: int
    lost: int
    chosen: bool
    published: Mapping[str, float | None]
    published_difference: float | None
    relative: SpreadContent
    test: SpreadContent
    last: SpreadContent
    best: SpreadContent
    tail: SpreadContent
    seconds: SpreadContent


@dataclass(frozen=True, kw_only=True)
class UseContent:
    """How the nodes of a run were used while it was running.

    Args:
        seconds: in which the command trained trials: from the first epoch of each of its starts to
            the last one.
        paused: seconds between these, in which it did not.
        starts: of the command, in which trials trained.
        slots: of all nodes.
        share: part of the time of all slots in which they were busy, a fraction.
        nodes: in order of their names.
    """

    seconds: float
    paused: float
    starts: int
    slots: int
    share: float
    nodes: tuple[NodeUse, ...]


@dataclass(frozen=True, kw_only=True)
class ImportanceContent:
    """How much one searched dimension had to do with the search objective.

    Args:
        dimension: name of its parameter.
        importance: drop of the forest's R2 where its values are exchanged among the trials.
        low, high: its 95 % bootstrap interval over trials.
        trials: in which the dimension was used.
    """

    dimension: str
    importance: float
    low: float
    high: float
    trials: int


@dataclass(frozen=True, kw_only=True)
class MatteredContent:
    """What mattered in a search.

    Args:
        importance: the most important dimension first; empty where it is not given.
        why_not: why it is not given, in a sentence; empty where it is.
        skill: R2 of the forest on trials that it has not seen; null where there is none.
        trials: complete ones that the forest learned from.
        next_ranges: ranges to try next as lines of an experiment file; empty for none.
    """

    importance: tuple[ImportanceContent, ...]
    why_not: str
    skill: float | None
    trials: int
    next_ranges: str


@dataclass(frozen=True, kw_only=True)
class RunContent(RunSummary):
    """A run in numbers, without rounding; what is unknown, or is not finite, is null.

    Args:
        selection: the selected trial's record; null while nothing is selected.
        problems: what could not be read in the run folder, in words.
        baseline: against random search at equal budget; null where there is no baseline.
        choice: how good a choice without labels was; null where that cannot be told.
        comparison: every variant over its seeds; empty for a run that is no comparison.
        cost: of the run, and what stopping trials early saved; null while no epoch is recorded.
        utilisation: of the nodes; null where no epoch has a time.
        mattered: what mattered in the search; null for a run that is no search.
    """

    selection: SelectionRecord | None
    problems: tuple[str, ...]
    baseline: BaselineContent | None
    choice: ChoiceContent | None
    comparison: tuple[VariantContent, ...]
    cost: Cost | None
    utilisation: UseContent | None
    mattered: MatteredContent | None


@dataclass(frozen=True, kw_only=True)
class PublishedContent:
    """What others published of a method on a benchmark; percent.

    Args:
        relative_accuracy: student accuracy / teacher accuracy.
        student_accuracy: on the test split.
        teacher_accuracy: on the test split.
        source: of the figure.
        note: its source, its networks, and what its protocol has other than the runs here.
    """

    relative_accuracy: float | None
    student_accuracy: float | None
    teacher_accuracy: float | None
    source: str
    note: str


@dataclass(frozen=True, kw_only=True)
class CellContent:
    """One method on one benchmark, of several runs; percent where not said otherwise.

    Args:
        benchmark: name.
        method: name.
        student: architecture x width of the result; `searched` where it has none yet and the
            student was searched; null where it is not known.
        teacher: architecture x width; several with commas.
        relative_accuracy: on the test split, one for each seed or search; empty where there is
            none.
        mean: of these; null without one.
        interval: low and high end of its 95 % interval; null without one.
        interval_over: what it covers: `seeds`, `searches`, or `images` of one value.
        seeds: values that there are.
        student_accuracy: on the test split, mean over seeds.
        teacher_accuracy: likewise.
        relative_to_real: 100 x student accuracy / that of the same network trained on real images.
        relative_to_kd: the same, for one that was also taught by the teacher.
        trials: in a final state, of all runs of this entry.
        chosen_by_test: whether the student was chosen by the test split.
        missing: why there is no value, in words; null where there is one.
        runs: names.
        published: null where nothing is published.
    """

    benchmark: str
    method: str
    student: str | None
    teacher: str
    relative_accuracy: tuple[float, ...]
    mean: float | None
    interval: tuple[float, float] | None
    interval_over: str | None
    seeds: int
    student_accuracy: float | None
    teacher_accuracy: float | None
    relative_to_real: float | None
    relative_to_kd: float | None
    trials: int
    chosen_by_test: bool
    missing: str | None
    runs: tuple[str, ...]
    published: PublishedContent | None


@dataclass(frozen=True, kw_only=True)
class AggregateContent:
    """One method over the benchmarks on which it has a result; percent where not said otherwise.

    Args:
        method: name.
        benchmarks: on which it has a result.
        of: benchmarks of all methods.
        iqm: interquartile mean of relative accuracy with its 95 % interval; null below two
            benchmarks.
        over: what the interval covers: `seeds` or `benchmarks`; empty without one.
        scores: relative accuracies of all its runs, ascending.
        profile: share of these runs that have at least a relative accuracy, a fraction, by that
            relative accuracy.
    """

    method: str
    benchmarks: int
    of: int
    iqm: Interval | None
    over: str
    scores: tuple[float, ...]
    profile: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class ColumnContent:
    """One of the sweeps side by side.

    Args:
        name: of the run.
        path: what its search had found, and after how many student steps.
        best: its best complete trial, a fraction; null without one.
        best_at_equal: the same after `equal_steps` student steps.
        steps_to_common: student steps until it had `common`; null where it has not.
    """

    name: str
    path: SearchPath
    best: float | None
    best_at_equal: float | None
    steps_to_common: int | None


@dataclass(frozen=True, kw_only=True)
class CompareContent:
    """Sweeps of one benchmark and one teacher side by side.

    Args:
        benchmark: name.
        teacher: architecture x width.
        columns: the runs.
        differences: of each run but the first from the first.
        settings: what differs in their experiments.
        space: what differs in their search spaces.
        one_objective: whether all searches were for one objective: only then can their values be
            compared.
        equal_steps: student steps that all have trained.
        common: what the best complete trial has in the run where that is lowest, a fraction; null
            where a run has none.
    """

    benchmark: str
    teacher: str
    columns: tuple[ColumnContent, ...]
    differences: tuple[Difference, ...]
    settings: tuple[Differing, ...]
    space: tuple[Differing, ...]
    one_objective: bool
    equal_steps: int
    common: float | None


@dataclass(frozen=True, kw_only=True)
class SummaryContent:
    """The content of `summary.json`.

    Args:
        schema_version: of this content; readers pass over fields that they do not know.
        runs: in the order in which they were given.
        matrix: every method on every benchmark; only of several runs.
        aggregate: every method over benchmarks; only of several runs, and empty where fewer than
            two benchmarks have a result.
        compare: the runs side by side; only with `--compare`.
    """

    schema_version: int
    runs: tuple[RunContent, ...]
    matrix: tuple[CellContent, ...] = ()
    aggregate: tuple[AggregateContent, ...] = ()
    compare: CompareContent | None = None


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
