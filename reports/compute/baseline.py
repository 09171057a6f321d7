"""A search against its random baseline, at equal budget."""

import json
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

from reports.collect import RunData, collect_run, once
from reports.compute.leaderboard import last_value
from reports.formatting import percent, whole


@dataclass(frozen=True, kw_only=True)
class Step:
    """A trial that was better than all that had been complete before.

    Args:
        trial: name.
        student_steps: that all trials together had trained by its end.
        value: its last value of the search objective, a fraction.
    """

    trial: str
    student_steps: int
    value: float


@dataclass(frozen=True, kw_only=True)
class SearchPath:
    """What a search had found, and after how many student steps.

    Args:
        run: name of its folder.
        trials: that have begun.
        student_steps: that all trials together have trained.
        steps: each better than the one before; empty while no trial is complete.
    """

    run: str
    trials: int
    student_steps: int
    steps: tuple[Step, ...]

    def best_within(self, student_steps: int) -> Step | None:
        """The best complete trial of so many student steps; None while there is none."""
        within = [step for step in self.steps if step.student_steps <= student_steps]
        return within[-1] if within else None

    def steps_to(self, value: float) -> int | None:
        """Student steps until a complete trial had at least this value; None if none has."""
        return next((step.student_steps for step in self.steps if step.value >= value), None)


@dataclass(frozen=True, kw_only=True)
class BaselineComparison:
    """A search and its random baseline.

    Args:
        search: the search.
        baseline: the same space, drawn at random.
        equal_steps: student steps that both have trained: there they are compared.
    """

    search: SearchPath
    baseline: SearchPath
    equal_steps: int

    @property
    def verdict(self) -> str:
        """Which was better at equal budget, in a sentence."""
        ours = self.search.best_within(self.equal_steps)
        theirs = self.baseline.best_within(self.equal_steps)
        budget = f"At equal budget, {whole(self.equal_steps)} student steps of all trials together"
        if ours is None or theirs is None:
            has = [
                name
                for name, step in (("the search", ours), ("random search", theirs))
                if step is not None
            ]
            known = f"only {has[0]} has a complete trial" if has else "neither has a complete trial"
            return f"{budget}, {known}: there is nothing to compare yet."
        points = 100 * (ours.value - theirs.value)
        which = "neither was better"
        if points:
            which = f"{'the search' if points > 0 else 'random search'} was better"
            which += f" by {abs(points):.1f} percentage points"
        return (
            f"{budget}, the search's best complete trial has {percent(ours.value)} ({ours.trial}) "
            f"and random search's {percent(theirs.value)} ({theirs.trial}): {which}."
        )

    @property
    def reached(self) -> str:
        """When the search had what random search found in the end, in a sentence."""
        if not self.baseline.steps:
            return ""
        best = self.baseline.steps[-1].value
        needed = self.search.steps_to(best)
        if needed is None:
            return f"The search has not reached random search's best of {percent(best)}."
        share = needed / self.baseline.student_steps
        return (
            f"The search had random search's best of {percent(best)} after {whole(needed)} student "
            f"steps, {percent(share)} of what random search has trained."
        )


@once
def compare_baseline(run: RunData) -> BaselineComparison | None:
    """Compare a sweep with its random baseline.

    Args:
        run: the sweep's records; the baseline's are looked for in the folders beside it.

    Returns:
        None where there is no baseline.
    """
    baseline = _baseline_beside(run)
    if baseline is None:
        return None
    ours, theirs = search_path(run), search_path(baseline)
    equal = min(ours.student_steps, theirs.student_steps)
    return BaselineComparison(search=ours, baseline=theirs, equal_steps=equal)


def _baseline_beside(run: RunData) -> RunData | None:
    """The newest random baseline of a sweep; None without one."""
    if run.run.kind != "sweep":
        return None
    here = run.path.resolve()
    found = [
        collect_run(file.parent)
        for file in sorted(here.parent.glob("*/experiment.json"))
        if file.parent != here and _names(file, here.name) and (file.parent / "run.json").is_file()
    ]
    return max(found, key=lambda each: each.run.created, default=None)


def _names(experiment_file: Path, sweep: str) -> bool:
    """Whether an experiment is a baseline of this sweep."""
    try:
        experiment = json.loads(experiment_file.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(experiment, dict) and experiment.get("baseline_of") == sweep


def search_path(run: RunData) -> SearchPath:
    """What a search had found at every moment, by the student steps of all trials until then.

    Args:
        run: its records.
    """
    moments = sorted(
        moment
        for trial in run.trials
        for moment in zip(
            trial.epochs.others["time"],
            repeat(trial.name),
            trial.epochs.numbers("epoch").tolist(),
            trial.epochs.numbers("student_steps").tolist(),
            strict=False,
        )
    )
    ends = {
        (trial.name, trial.epochs[-1].epoch): value
        for trial in run.trials
        if trial.state == "complete" and trial.epochs and (value := last_value(trial)) is not None
    }
    inherited = {trial.name: trial.inherited_steps for trial in run.trials}
    trained: dict[str, int] = {}
    steps: list[Step] = []
    for _, name, epoch, student_steps in moments:
        trained[name] = student_steps - inherited[name]
        value = ends.get((name, epoch))
        if value is not None and (not steps or value > steps[-1].value):
            steps.append(Step(trial=name, student_steps=sum(trained.values()), value=value))
    return SearchPath(
        run=run.path.resolve().name,
        trials=len(run.trials),
        student_steps=sum(trained.values()),
        steps=tuple(steps),
    )
