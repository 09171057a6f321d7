"""The experiment file: what a person writes, checked whole, and what it resolves to."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from dfkd_tune.benchmarks import Benchmark, BenchmarkConfig, open_benchmark
from dfkd_tune.classifiers import TappedNetwork, build_classifier
from dfkd_tune.distillation import METHODS, DistillationConfig, Method, build_generator
from dfkd_tune.errors import DfkdTuneError, ExperimentError, SpaceError, UsageError, did_you_mean
from dfkd_tune.sweeps._validation import validation_lines
from search_spaces import SPACES, SearchSpace
from trainables import (
    SEARCH_OBJECTIVES,
    USUAL_OBJECTIVE,
    AuditConfig,
    ObjectiveName,
    SavingConfig,
    SearchObjective,
    TeacherConfig,
    teacher_network_config,
    teacher_recipe,
)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SpaceConfig(_Section):
    """What is searched."""

    name: str | None = Field(default=None, description="the method's own by default")
    ranges: dict[str, Any] = Field(
        default_factory=dict, description="by key: {low, high}, {choices}, or one fixed value"
    )


class SchedulerConfig(_Section):
    """Which trials are stopped early, judged on student steps."""

    name: Literal["asha", "none"] = "asha"
    grace_epochs: int | None = Field(
        default=None,
        ge=1,
        description="of student training before a trial may be stopped; a ninth of all, and more "
        "than the warm-up, by default",
    )
    reduction_factor: int = Field(default=3, ge=2, description="one in so many goes on at a rung")


class SearchConfig(_Section):
    """How it is searched."""

    objective: ObjectiveName | None = Field(
        default=None,
        description="val_real: accuracy on the labelled validation split; unlabelled_real: "
        "agreement with the teacher on unlabelled images; data_free: agreement on an audit set; "
        "by default the first of these that the data allow",
    )
    audit: AuditConfig = Field(default=AuditConfig(), description="for data_free")
    sampler: Literal["tpe", "random"] = "tpe"
    startup_trials: int = Field(default=6, ge=0, description="drawn at random before TPE")
    scheduler: SchedulerConfig = SchedulerConfig()
    trials: int = Field(default=20, ge=1)
    time_budget: str | None = Field(
        default=None,
        pattern=r"^[1-9]\d*[smh]$",
        description="such as 90s, 30m, 2h",
    )
    seed: int = Field(default=0, ge=0, lt=2**31)


class ResourcesConfig(_Section):
    """What each trial gets, and how many run at once."""

    cpus_per_trial: int = Field(default=1, ge=1, description="also its CPU threads")
    gpus_per_trial: float | Literal["auto"] = Field(
        default="auto", description="0, a fraction, or a whole number; auto: 1 where there is one"
    )
    max_concurrent: int | None = Field(default=None, ge=1, description="as many as fit, by default")
    retries: int = Field(default=1, ge=0, description="of a trial whose process dies")

    @field_validator("gpus_per_trial")
    @classmethod
    def _shareable(cls, value: float | str) -> float | str:
        if isinstance(value, str) or 0 <= value <= 1 or (value > 0 and value == int(value)):
            return value
        raise ValueError("give 0, a fraction up to 1, a whole number, or auto")


class Experiment(_Section):
    """An experiment file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    benchmark: BenchmarkConfig
    teacher: TeacherConfig = TeacherConfig()
    method: str
    settings: dict[str, Any] = Field(
        default_factory=dict, description="values in place of the recipe's, nested as it is"
    )
    space: SpaceConfig = SpaceConfig()
    search: SearchConfig = SearchConfig()
    resources: ResourcesConfig = ResourcesConfig()
    saving: SavingConfig = SavingConfig()
    storage: Path = Path("runs")


@dataclass(frozen=True, kw_only=True)
class ResolvedExperiment:
    """A checked experiment with everything it names.

    Args:
        experiment: as written, with all defaults.
        benchmark: what it names.
        method: what it names.
        base: the recipe with the experiment's settings: the first point tried.
        space: with the experiment's ranges.
        first_point: the parameters that stand for `base`.
    """

    experiment: Experiment
    benchmark: Benchmark
    method: Method
    base: DistillationConfig
    space: SearchSpace
    first_point: Mapping[str, Any]

    def identity_hash(self) -> str:
        """Hash of all that decides which trials the run may hold; not their number, nor where."""
        experiment = self.experiment
        teacher = experiment.teacher
        decides = {
            "benchmark": self.benchmark.config.model_dump(mode="json"),
            "inputs": asdict(self.benchmark.inputs),
            "objective": self.objective.name,
            "teacher": {
                "network": teacher_network_config(self.benchmark, teacher).model_dump(mode="json"),
                "recipe": teacher_recipe(self.benchmark, teacher).model_dump(mode="json"),
                "weights": str(teacher.weights) if teacher.weights else None,
            },
            "base": self.base.model_dump(mode="json"),
            "space": [repr(replace(d, source="")) for d in self.space.dimensions],
            "fixed": dict(self.space.fixed),
            "search": experiment.search.model_dump(mode="json", exclude={"trials", "time_budget"}),
        }
        text = json.dumps(decides, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def record(self) -> dict[str, Any]:
        """What `experiment.json` holds."""
        dump = self.experiment.model_dump(mode="json")
        return {
            **dump,
            "benchmark": self.benchmark.name,
            "benchmark_config": self.benchmark.config.model_dump(mode="json"),
            "data": self.benchmark.data,
            "data_counts": dict(self.benchmark.counts),
            "inputs": asdict(self.benchmark.inputs),
            "class_names": list(self.benchmark.class_names),
            "search": {**dump["search"], "objective": self.objective.name},
            "recipe": self.base.model_dump(mode="json"),
            "dimensions": [
                {
                    "key": dimension.key,
                    "range": dimension.range_text(),
                    "condition": str(dimension.condition) if dimension.condition else "",
                    "source": dimension.source,
                }
                for dimension in self.space.dimensions
            ],
        }

    @property
    def objective(self) -> SearchObjective:
        """What the search maximises."""
        given = self.experiment.search.objective
        return SEARCH_OBJECTIVES[given or USUAL_OBJECTIVE[self.benchmark.data]]

    @property
    def grace_student_steps(self) -> int:
        """Student steps before a trial may be stopped."""
        schedule = self.base.schedule
        per_epoch = schedule.iterations_per_epoch * schedule.student_steps
        return self.grace_epochs * per_epoch

    @property
    def grace_epochs(self) -> int:
        """Epochs of student training before a trial may be stopped."""
        given = self.experiment.search.scheduler.grace_epochs
        warmup = self.base.student_optimiser.warmup_epochs
        return given or max(warmup + 1, self.base.schedule.epochs // 9, 1)


def resolve_experiment(raw: Mapping[str, Any], where: str) -> ResolvedExperiment:
    """Check a raw experiment whole, and resolve the names in it.

    Args:
        raw: as read from YAML.
        where: the file, for messages.

    Raises:
        ExperimentError: with every problem, each with its key's path.
    """
    problems: list[str] = []
    experiment: Experiment | None = None
    try:
        experiment = Experiment.model_validate(raw)
    except ValidationError as error:
        problems += validation_lines(error, Experiment)

    given = raw.get("method")
    if isinstance(given, str) and given not in METHODS:
        problems.append(f"method: no method '{given}'; {did_you_mean(given, METHODS)}")
    method = METHODS.get(str(given))
    benchmark = _benchmark(raw, problems)

    base = _base(raw, method, benchmark, problems)
    space = _space(raw, method, benchmark, problems)
    first_point: Mapping[str, Any] = {}
    # Which students suit depends on the benchmark: without it, nothing can be said of ranges.
    if base is not None and space is not None and (benchmark is not None or not problems):
        try:
            base = space.configuration(base, {})
            first_point = space.point(base)
        except ValidationError as error:
            problems += validation_lines(error, DistillationConfig, "space.ranges")
        except SpaceError as error:
            problems += error.problems
    if experiment is not None and benchmark is not None:
        problems += _cross_checks(experiment, benchmark, base, None if problems else space)
    if problems or not (experiment and benchmark and method and base and space):
        raise ExperimentError(_message(where, problems))
    return ResolvedExperiment(
        experiment=experiment,
        benchmark=benchmark,
        method=method,
        base=base,
        space=space,
        first_point=first_point,
    )


def _message(where: str, problems: list[str]) -> str:
    if len(problems) == 1:
        return f"{where}: {problems[0]}"
    lines = "\n".join(f"  {problem}" for problem in problems)
    return f"{where} has {len(problems)} errors:\n{lines}"


def _benchmark(raw: Mapping[str, Any], problems: list[str]) -> Benchmark | None:
    try:
        config = BenchmarkConfig.model_validate(raw.get("benchmark"))
    except ValidationError:
        # Named with all else that is wrong in the file.
        return None
    try:
        return open_benchmark(config)
    except DfkdTuneError as error:
        text = str(error)
        problems.append(text if text.startswith("benchmark.") else f"benchmark: {text}")
    return None


def _base(
    raw: Mapping[str, Any],
    method: Method | None,
    benchmark: Benchmark | None,
    problems: list[str],
) -> DistillationConfig | None:
    settings = raw.get("settings", {})
    if method is None or not isinstance(settings, Mapping):
        return None
    if "method" in settings:
        problems.append("settings.method: follows from method; take it out")
    try:
        recipe = method.recipe
        if benchmark is not None:
            recipe = method.recipe_for(benchmark.inputs, benchmark.student)
        return DistillationConfig.model_validate(merged(recipe.model_dump(), settings))
    except ValidationError as error:
        problems += validation_lines(error, DistillationConfig, "settings")
    return None


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Lay nested mappings over others; what is no mapping in both is replaced."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[key] = merged(old, value) if both and isinstance(old, Mapping) else value
    return result


def _space(
    raw: Mapping[str, Any],
    method: Method | None,
    benchmark: Benchmark | None,
    problems: list[str],
) -> SearchSpace | None:
    section = raw.get("space") or {}
    if not isinstance(section, Mapping):
        return None
    name = section.get("name") or (method.space if method else None)
    if not isinstance(name, str):
        return None
    if name not in SPACES:
        problems.append(f"space.name: no search space '{name}'; {did_you_mean(name, SPACES)}")
        return None
    ranges = section.get("ranges") or {}
    if not isinstance(ranges, Mapping):
        return None
    try:
        space = SPACES[name] if benchmark is None else SPACES[name].for_inputs(benchmark.inputs)
        return space.with_ranges({str(key): value for key, value in ranges.items()})
    except SpaceError as error:
        problems += [f"space.ranges.{problem}" for problem in error.problems]
    return None


def _cross_checks(
    experiment: Experiment,
    benchmark: Benchmark,
    base: DistillationConfig | None,
    space: SearchSpace | None,
) -> list[str]:
    problems = []
    objective = experiment.search.objective
    if objective is not None and benchmark.data not in SEARCH_OBJECTIVES[objective].needs:
        problems.append(
            f"search.objective: {objective} needs {' or '.join(SEARCH_OBJECTIVES[objective].needs)}"
            f" images, and benchmark '{benchmark.name}' has {benchmark.data}; take it out or give "
            f"the images"
        )
    problems += _teacher_problems(experiment, benchmark, base, space)
    scheduler = experiment.search.scheduler
    if base is not None:
        schedule, warmup = base.schedule, base.student_optimiser.warmup_epochs
        grace = scheduler.grace_epochs
        if warmup >= schedule.epochs:
            problems.append(
                f"settings.student_optimiser.warmup_epochs: {warmup} leaves nothing of "
                f"settings.schedule.epochs {schedule.epochs}; lower it"
            )
        if scheduler.name == "asha" and grace is not None:
            if grace <= warmup:
                problems.append(
                    f"search.scheduler.grace_epochs: {grace} does not outlast the student's "
                    f"warm-up of {warmup} epochs; give at least {warmup + 1}"
                )
            if grace > schedule.epochs:
                problems.append(
                    f"search.scheduler.grace_epochs: {grace} is more than the "
                    f"{schedule.epochs} epochs of a trial; lower it or set scheduler.name to none"
                )
        try:
            build_generator(base.generator, benchmark.inputs, seed=0)
        except UsageError as error:
            problems.append(f"settings.{error}")
    if space is not None and base is not None:
        problems += _choice_problems(space, base)
    return problems


def _teacher_problems(
    experiment: Experiment,
    benchmark: Benchmark,
    base: DistillationConfig | None,
    space: SearchSpace | None,
) -> list[str]:
    """Whether the teacher can be built, and can serve what is asked of it."""
    try:
        config = teacher_network_config(benchmark, experiment.teacher)
    except ValidationError as error:
        return validation_lines(error, TeacherConfig, "teacher")
    try:
        network = build_classifier(config, benchmark.inputs, seed=0)
        taps = TappedNetwork(network, benchmark.inputs, config.stages)
    except DfkdTuneError as error:
        return [f"teacher: {error}"]
    has_statistics = bool(taps.batch_norms)
    taps.remove()
    key = "generator_objective.bn_statistics.weight"
    if has_statistics or base is None:
        return []
    problems = []
    why = "the teacher has no BatchNorm layers, so it keeps no statistics to match"
    if base.generator_objective.bn_statistics.weight > 0:
        problems.append(f"settings.{key}: {why}; set it to 0 and give another term a weight")
    if space is not None and key in {dimension.key for dimension in space.dimensions}:
        problems.append(f"space.ranges.{key}: {why}; fix it with the value 0")
    return problems


def _choice_problems(space: SearchSpace, base: DistillationConfig) -> list[str]:
    """Whether every value of a widened choice makes a valid configuration."""
    problems = []
    for dimension in space.dimensions:
        values = (
            dimension.choices if dimension.kind == "choice" else (dimension.low, dimension.high)
        )
        for value in values:
            try:
                space.configuration(base, {dimension.key: value})
            except ValidationError as error:
                message = error.errors()[0]["msg"].removeprefix("Value error, ")
                problems.append(f"space.ranges.{dimension.key}: {value!r}: {message}")
    return problems


def seconds(duration: str | None) -> float | None:
    """Read a checked duration such as 90s, 30m or 2h."""
    if duration is None:
        return None
    return int(duration[:-1]) * {"s": 1, "m": 60, "h": 3600}[duration[-1]]
