"""From an experiment as written to everything it names, checked whole."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dfkd_tune.benchmarks import Benchmark, BenchmarkConfig, open_benchmark
from dfkd_tune.distillation import METHODS, DistillationConfig, Method
from dfkd_tune.errors import DfkdTuneError, ExperimentError, SpaceError, did_you_mean
from dfkd_tune.records import RunFolder
from dfkd_tune.sweeps._experiment_checks import cross_checks, grace_epochs
from dfkd_tune.sweeps._experiment_config import Experiment
from dfkd_tune.sweeps._validation import validation_lines
from dfkd_tune.sweeps._warm_start import recorded_warm_points, warm_points
from search_spaces import METHOD_KEY, SPACES, SearchSpace
from trainables import (
    SEARCH_OBJECTIVES,
    USUAL_OBJECTIVE,
    SearchObjective,
    teacher_network_config,
    teacher_recipe,
)


@dataclass(frozen=True, kw_only=True)
class ResolvedExperiment:
    """A checked experiment with everything it names.

    Args:
        experiment: as written, with all defaults.
        benchmark: what it names.
        method: what it names.
        bases: by method, the recipe with the experiment's settings; the experiment's own method
            first, and alone where the space is of one method.
        space: with the experiment's ranges.
        first_points: the parameters that stand for the bases; empty where nothing is searched.
        warm_points: of finished sweeps, tried after these.
        grid: of sampler grid: the parameters of every trial, those above first; else empty.
        baseline_of: the folder of the sweep whose random baseline this is; None for any other.
    """

    experiment: Experiment
    benchmark: Benchmark
    method: Method
    bases: Mapping[str, DistillationConfig]
    space: SearchSpace
    first_points: tuple[Mapping[str, Any], ...]
    warm_points: tuple[Mapping[str, Any], ...] = ()
    grid: tuple[Mapping[str, Any], ...] = ()
    baseline_of: Path | None = None

    @property
    def base(self) -> DistillationConfig:
        """The recipe of the experiment's own method, with its settings: the first point tried."""
        return self.bases[self.method.name]

    def base_of(self, parameters: Mapping[str, Any]) -> DistillationConfig:
        """The recipe that a trial's parameters change."""
        return self.bases[str(parameters.get(METHOD_KEY, self.method.name))]

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
            "bases": [_base_identity(base) for base in self.bases.values()],
            "space": [repr(replace(d, source="")) for d in self.space.dimensions],
            "fixed": dict(self.space.fixed),
            "search": self._search_identity(),
        }
        text = json.dumps(decides, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _search_identity(self) -> dict[str, Any]:
        search = self.experiment.search
        found = search.model_dump(mode="json", exclude={"trials", "time_budget"})
        if search.scheduler.name != "pbt":
            # Runs that were begun before there was PBT can go on.
            for key in ("interval_epochs", "replaced"):
                del found["scheduler"][key]
        return found

    def record(self) -> dict[str, Any]:
        """What `experiment.json` holds."""
        dump = self.experiment.model_dump(mode="json")
        baseline: dict[str, Any] = {}
        if self.baseline_of is not None:
            baseline = {"baseline_of": self.baseline_of.name, "equal_budget": self._budget()}
        return {
            **baseline,
            **dump,
            "benchmark": self.benchmark.name,
            "benchmark_config": self.benchmark.config.model_dump(mode="json"),
            "data": self.benchmark.data,
            "data_counts": dict(self.benchmark.counts),
            "inputs": asdict(self.benchmark.inputs),
            "class_names": list(self.benchmark.class_names),
            "search": {**dump["search"], "objective": self.objective.name},
            "written": self.experiment.model_dump(mode="json", exclude_unset=True),
            "recipe": self.base.model_dump(mode="json"),
            "warm_points": [dict(point) for point in self.warm_points],
            "dimensions": [dimension.as_json() for dimension in self.space.dimensions],
        }

    def _budget(self) -> dict[str, Any]:
        """What a search may spend, and by which rules it is saved."""
        search = self.experiment.search
        return {
            "trials": search.trials,
            "student_steps_per_trial": self.base.schedule.total_student_steps,
            "scheduler": search.scheduler.model_dump(mode="json"),
            "grace_student_steps": self.grace_student_steps,
            "seed": search.seed,
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
        return grace_epochs(self.experiment.search.scheduler, self.base)


def _base_identity(base: DistillationConfig) -> dict[str, Any]:
    found = base.model_dump(mode="json")
    if not base.cuda_graphs:
        # Runs that were begun before there were CUDA graphs can go on.
        del found["cuda_graphs"]
    return found


def resolve_experiment(
    raw: Mapping[str, Any], where: str, *, searched: bool = True
) -> ResolvedExperiment:
    """Check a raw experiment whole, and resolve the names in it.

    Args:
        raw: as read from YAML.
        where: the file, for messages.
        searched: whether there will be a search, so that the recipe must lie within its space.

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

    space = _space(raw, method, benchmark, problems)
    bases = _bases(raw, method, space if searched else None, benchmark, problems)
    first_points: list[Mapping[str, Any]] = []
    # Which students suit depends on the benchmark: without it, nothing can be said of ranges.
    if space is not None and (benchmark is not None or not problems):
        for name, base in bases.items():
            where_of = _ranges_of(name, bases)
            try:
                bases[name] = space.configuration(base, {})
                if searched:
                    first_points.append(space.point(bases[name]))
            except ValidationError as error:
                problems += validation_lines(error, DistillationConfig, where_of)
            except SpaceError as error:
                problems += error.problems
    if experiment is not None and benchmark is not None:
        problems += cross_checks(
            experiment, benchmark, bases, space if searched and not problems else None
        )
    problems = list(dict.fromkeys(problems))
    if problems or not (experiment and benchmark and method and bases and space):
        raise ExperimentError(_message(where, problems))
    resolved = ResolvedExperiment(
        experiment=experiment,
        benchmark=benchmark,
        method=method,
        bases=bases,
        space=space,
        first_points=tuple(first_points),
    )
    if not searched:
        return resolved
    if experiment.search.warm_start:
        resolved = replace(resolved, warm_points=_warm_points(resolved, where))
    return _with_grid(resolved) if experiment.search.sampler == "grid" else resolved


def _with_grid(resolved: ResolvedExperiment) -> ResolvedExperiment:
    """The experiment with every combination, and with as many trials unless fewer were asked for.

    The points that are tried first are combinations, too, and are not tried twice.
    """
    search = resolved.experiment.search
    first = [*resolved.first_points, *resolved.warm_points]
    grid = (*first, *(each for each in resolved.space.combinations() if each not in first))
    asked = search.trials if "trials" in search.model_fields_set else len(grid)
    search = search.model_copy(update={"trials": min(asked, len(grid))})
    experiment = resolved.experiment.model_copy(update={"search": search})
    return replace(resolved, experiment=experiment, grid=grid)


def _warm_points(resolved: ResolvedExperiment, where: str) -> tuple[Mapping[str, Any], ...]:
    search, storage = resolved.experiment.search, resolved.experiment.storage
    run = RunFolder(storage.absolute() / resolved.experiment.name)
    points = recorded_warm_points(run, search.warm_start)
    if points is None:
        try:
            points = warm_points(
                search.warm_start,
                resolved.space,
                resolved.base_of,
                most=search.warm_points,
                known=resolved.first_points,
            )
        except DfkdTuneError as error:
            raise ExperimentError(_message(where, [f"search.warm_start: {error}"])) from error
    return tuple(points)


def _ranges_of(method: str, bases: Mapping[str, DistillationConfig]) -> str:
    return "space.ranges" if len(bases) < 2 else f"space.ranges ({method})"


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


def _bases(
    raw: Mapping[str, Any],
    method: Method | None,
    space: SearchSpace | None,
    benchmark: Benchmark | None,
    problems: list[str],
) -> dict[str, DistillationConfig]:
    """By method, its recipe with the settings and changes; the experiment's own method first."""
    settings, changes = raw.get("settings") or {}, raw.get("changes") or {}
    if method is None or not isinstance(settings, Mapping) or not isinstance(changes, Mapping):
        return {}
    if "method" in settings:
        problems.append("settings.method: follows from method; take it out")
    several = space.methods if space is not None else ()
    if several and method.name not in several:
        problems.append(
            f"method: {method.name} is tried first, and is not among the choices of "
            f"space.ranges.method; add it, or give another method"
        )
    bases: dict[str, DistillationConfig] = {}
    for name in dict.fromkeys((method.name, *several)):
        given = changes.get(name) or {}
        if isinstance(given, Mapping):
            base = _base(METHODS[name], merged(settings, given), benchmark, problems)
            bases |= {} if base is None else {name: base}
    problems += [
        f"changes.{name}: no method '{name}'; {did_you_mean(str(name), METHODS)}"
        for name in changes
        if name not in METHODS
    ]
    return bases


def _base(
    method: Method,
    settings: Mapping[str, Any],
    benchmark: Benchmark | None,
    problems: list[str],
) -> DistillationConfig | None:
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
        space = SPACES[name]
        if benchmark is not None:
            space = space.for_inputs(benchmark.inputs, benchmark.student.architecture)
        return space.with_ranges({str(key): value for key, value in ranges.items()})
    except SpaceError as error:
        problems += [f"space.ranges.{problem}" for problem in error.problems]
    return None


def seconds(duration: str | None) -> float | None:
    """Read a checked duration such as 90s, 30m or 2h."""
    if duration is None:
        return None
    return int(duration[:-1]) * {"s": 1, "m": 60, "h": 3600}[duration[-1]]
