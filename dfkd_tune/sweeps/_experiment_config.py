"""An experiment as it is written: the sections of its file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dfkd_tune.benchmarks import BenchmarkConfig
from dfkd_tune.records import CostName
from trainables import AuditConfig, ObjectiveName, SavingConfig, TeacherConfig


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SpaceConfig(_Section):
    """What is searched."""

    name: str | None = Field(default=None, description="the method's own by default")
    ranges: dict[str, Any] = Field(
        default_factory=dict, description="by key: {low, high}, {choices}, or one fixed value"
    )


SchedulerName = Literal["asha", "hyperband", "median", "pbt", "none"]
SamplerName = Literal["tpe", "gp", "cmaes", "nsga2", "random", "grid"]


@dataclass(frozen=True)
class Sampler:
    """A way to propose trials.

    Args:
        what: it is, for people.
        against: whether it can weigh the search objective against a cost, or always does.
    """

    what: str
    against: Literal["possible", "needed", "not possible"] = "possible"


SAMPLERS: Mapping[SamplerName, Sampler] = {
    "tpe": Sampler("tree-structured Parzen estimator"),
    "gp": Sampler("Gaussian process"),
    "cmaes": Sampler(
        "CMA-ES over the numbers that all complete trials have; draws the rest at random",
        "not possible",
    ),
    "nsga2": Sampler(
        "NSGA-II over what all complete trials have, in generations of startup_trials; draws the "
        "rest at random",
        "needed",
    ),
    "random": Sampler("random search"),
    "grid": Sampler("every combination of choices"),
}


class SchedulerConfig(_Section):
    """Which trials are stopped early, judged on student steps."""

    name: SchedulerName = Field(
        default="asha",
        description="asha; hyperband: asha with three starting budgets; median: below the median "
        "of the others; pbt: weak trials give their place to changed copies of strong ones; none",
    )
    grace_epochs: int | None = Field(
        default=None,
        ge=1,
        description="of student training before a trial may be stopped; a ninth of all, and more "
        "than the warm-up, by default",
    )
    reduction_factor: int = Field(
        default=3, ge=2, description="one in so many goes on at a rung; of asha and hyperband"
    )
    least_trials: int = Field(
        default=3, ge=1, description="to compare with before one is stopped; of median"
    )
    interval_epochs: int | None = Field(
        default=None,
        ge=1,
        description="of student training from one comparison to the next; of pbt; as many as "
        "grace_epochs by default",
    )
    replaced: float = Field(
        default=0.25,
        gt=0,
        le=0.5,
        description="share of the trials that give their place at a comparison; of pbt",
    )


class SearchConfig(_Section):
    """How it is searched."""

    objective: ObjectiveName | None = Field(
        default=None,
        description="val_real: accuracy on the labelled validation split; unlabelled_real: "
        "agreement with the teacher on unlabelled images; data_free: agreement on an audit set; "
        "test_peeking: accuracy on the test split, the field's habit, labelled so; "
        "by default the first of these that the data allow",
    )
    audit: AuditConfig = Field(default=AuditConfig(), description="for data_free")
    against: CostName | None = Field(
        default=None,
        description="a cost to weigh the objective against: parameters, macs, latency, "
        "training_seconds",
    )
    sampler: SamplerName = Field(
        default="tpe",
        description="tpe; gp: a Gaussian process; cmaes: CMA-ES, with choices drawn at random; "
        "nsga2: NSGA-II, with a cost; random; grid: every combination of choices",
    )
    startup_trials: int = Field(
        default=10,
        ge=0,
        description="drawn at random before the sampler learns; of nsga2 a generation",
    )
    scheduler: SchedulerConfig = SchedulerConfig()
    trials: int = Field(
        default=20, ge=1, description="of grid: all combinations by default, and never more"
    )
    time_budget: str | None = Field(
        default=None,
        pattern=r"^[1-9]\d*[smh]$",
        description="such as 90s, 30m, 2h",
    )
    seed: int = Field(default=0, ge=0, lt=2**31)
    warm_start: tuple[Path, ...] = Field(
        default=(), description="folders of finished sweeps, whose best points are tried first"
    )
    warm_points: int = Field(default=3, ge=1, description="of all these together, at most")

    @model_validator(mode="before")
    @classmethod
    def _whole_budgets_with_a_cost(cls, given: Any) -> Any:
        """With a cost no trial is stopped early by default: it would be stopped by value alone."""
        if not isinstance(given, Mapping) or given.get("against") is None:
            return given
        scheduler = given.get("scheduler", {})
        if not isinstance(scheduler, Mapping) or "name" in scheduler:
            return given
        return {**given, "scheduler": {**scheduler, "name": "none"}}


class ResourcesConfig(_Section):
    """What each trial gets, and how many run at once."""

    cpus_per_trial: int = Field(default=1, ge=1, description="also its CPU threads")
    gpus_per_trial: float | Literal["auto"] = Field(
        default="auto", description="0, a fraction, or a whole number; auto: 1 where there is one"
    )
    max_concurrent: int | None = Field(default=None, ge=1, description="as many as fit, by default")
    cohort: int = Field(
        default=1,
        ge=1,
        description="trials that one process trains at once, where they share all but the "
        "student's side: images are made, and the teacher asked, once for all of them",
    )
    retries: int = Field(default=1, ge=0, description="of a trial whose process dies or hangs")
    hang_after: str = Field(
        default="auto",
        pattern=r"^(auto|[1-9]\d*[smh])$",
        description="in which every epoch must end, such as 30m; auto: 24 h for the first, then "
        "20 times the longest so far and at least 10 minutes",
    )

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
    changes: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="by method, over the settings, where several are searched or compared",
    )
    space: SpaceConfig = SpaceConfig()
    search: SearchConfig = SearchConfig()
    resources: ResourcesConfig = ResourcesConfig()
    saving: SavingConfig = SavingConfig()
    storage: Path = Path("runs")
    cache: Path | None = Field(
        default=None,
        description="folder that keeps trained teachers and audit sets for other sweeps; the "
        "storage by default",
    )

    @property
    def kept_in(self) -> Path:
        """Where trained teachers and audit sets are kept."""
        return (self.cache or self.storage).expanduser().absolute()
