"""What `summary.json` holds, as types: their words become those of its JSON Schema."""

from collections.abc import Mapping
from dataclasses import dataclass

from dfkd_tune.records import SelectionRecord
from reports.compute.accuracy import Interval
from reports.compute.baseline import SearchPath
from reports.compute.choice import ScoreQuality
from reports.compute.cost import Cost
from reports.compute.side_by_side import Difference, Differing
from reports.compute.summary import RunSummary
from reports.compute.utilisation import NodeUse


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
