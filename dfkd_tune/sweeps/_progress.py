"""What a person sees while a sweep runs: a live table on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ray import tune
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from typing_extensions import override

from dfkd_tune.records import FINAL_STATES, RunFolder, TrialFolder, TrialState
from dfkd_tune.sweeps._scheduler import members
from trainables import BUDGET, MEMBERS, PAUSED, VALUE

PLAIN_INTERVAL_SECONDS = 20.0
VALUE_TITLE = "value"


@dataclass
class SweepProgress:
    """Counts and best value of a sweep while it runs.

    Args:
        total_trials: to be run in all.
        total_steps: student steps of a whole trial.
        concurrent: trials at once.
        teacher_accuracy: on the validation split; None where values are no accuracies.
    """

    total_trials: int
    total_steps: int
    concurrent: int
    teacher_accuracy: float | None
    states: dict[str, TrialState] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    inherited: dict[str, int] = field(default_factory=dict)
    steps_at_start: int = 0
    began: float = field(default_factory=time.monotonic)

    @classmethod
    def of(
        cls,
        run: RunFolder,
        total_trials: int,
        total_steps: int,
        concurrent: int,
        teacher_accuracy: float | None,
    ) -> "SweepProgress":
        """Begin from what a run folder holds already."""
        progress = cls(total_trials, total_steps, concurrent, teacher_accuracy)
        for folder in run.trial_folders():
            progress.states[folder.name] = folder.status().state
            progress.note_parent(folder)
            epochs = folder.epochs()
            if epochs:
                progress.steps[folder.name] = epochs[-1].student_steps
                if epochs[-1].value is not None:
                    progress.values[folder.name] = epochs[-1].value
        progress.steps_at_start = progress.used
        return progress

    def note_parent(self, folder: TrialFolder) -> None:
        """Note what a trial counts and others trained, if it took over their weights."""
        inherited = folder.trial().inherited_steps
        if inherited:
            self.inherited[folder.name] = inherited

    @property
    def used(self) -> int:
        """Student steps that all trials have trained."""
        return sum(steps - self.inherited.get(name, 0) for name, steps in self.steps.items())

    def count(self, *states: TrialState) -> int:
        """Trials in these states."""
        return sum(state in states for state in self.states.values())

    def best(self) -> tuple[str, float] | None:
        """The best complete trial; before there is one, the best value seen so far."""
        complete = {n: v for n, v in self.values.items() if self.states.get(n) == "complete"}
        values = complete or self.values
        if not values:
            return None
        name = max(values, key=lambda n: values[n])
        return name, values[name]

    def seconds_left(self) -> float | None:
        """A guess from the pace so far and the share of the budget that ended trials used."""
        done = self.used - self.steps_at_start
        if done <= 0:
            return None
        pace = (time.monotonic() - self.began) / done
        if self.inherited:
            # Whoever gives its place leaves what is left of its budget to its successor.
            return max(0, self.total_trials * self.total_steps - self.used) * pace
        ended = [n for n, state in self.states.items() if state not in ("running", "interrupted")]
        used = [self.steps.get(name, 0) for name in ended]
        expected = sum(used) / len(used) if used else self.total_steps
        open_trials = self.total_trials - len(ended)
        begun = sum(self.steps.get(n, 0) for n in self.states if n not in ended)
        left = max(0.0, open_trials * expected - begun)
        return left * pace

    def line(self) -> str:
        """All of it in one line."""
        ended = len(self.states) - self.count("running", "interrupted")
        parts = [
            f"{ended}/{max(self.total_trials, len(self.states))} trials done",
            f"{self.count('running')} running",
            f"{self.count('complete')} complete",
            f"{self.count('stopped')} stopped early",
            f"{self.count('failed', 'diverged', 'collapsed')} failed, diverged or collapsed",
        ]
        best = self.best()
        if best is not None:
            parts.append(f"best {self.describe(*best)}")
        budget = self.total_trials * self.total_steps
        parts.append(f"{100 * self.used / budget:.0f} % of the budget used")
        left = self.seconds_left()
        elapsed = time.monotonic() - self.began
        parts.append(_clock(elapsed) + (f", about {_clock(left)} left" if left else ""))
        return " · ".join(parts)

    def describe(self, name: str, value: float) -> str:
        """A trial's value for people."""
        if self.teacher_accuracy is None:
            return f"{name} {100 * value:.1f} % agreement with the teacher"
        relative = 100 * value / self.teacher_accuracy if self.teacher_accuracy else float("nan")
        return f"{name} {100 * value:.1f} % on validation, {relative:.1f} % of the teacher"

    def render(self) -> RenderableType:
        """The live view."""
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for title in ("trial", "state", "student steps", "", VALUE_TITLE):
            table.add_column(title, justify="right" if title == VALUE_TITLE else "left")
        recent = sorted(self.states)[-12:]
        running = [n for n in sorted(self.states) if self.states[n] == "running"]
        for name in sorted({*recent, *running}):
            steps, value = self.steps.get(name, 0), self.values.get(name)
            table.add_row(
                name,
                self.states[name],
                f"{steps} of {self.total_steps}",
                ProgressBar(total=self.total_steps, completed=steps, width=20),
                "" if value is None else f"{100 * value:.1f} %",
            )
        return Group(table, Text(self.line(), style="bold"))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class TeacherCallback(tune.Callback):
    """Shows the epochs of a teacher that is trained on a cluster.

    Args:
        show: told epoch, epochs and a line of text.
    """

    def __init__(self, show: Callable[[int, int, str], None]) -> None:
        self.show = show

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray writes a snapshot of its settings, which is never read back."""
        return {}

    @override
    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Show the newest epoch."""
        epoch, epochs = result["epoch"], result["epochs"]
        text = f"training the teacher on the cluster, epoch {epoch} of {epochs}"
        self.show(epoch, epochs, f"{text}, loss {result['loss']:.3f}")


class ProgressCallback(tune.Callback):
    """Feeds a `SweepProgress` from Ray Tune and shows it.

    Args:
        progress: counts so far.
        run: the run folder, whose statuses are the truth.
        console: where to show it; a live view on a terminal, plain lines elsewhere.
    """

    def __init__(self, progress: SweepProgress, run: RunFolder, console: Console) -> None:
        self.progress = progress
        self.run = run
        self.console = console
        self.live: Live | None = None
        self._last_line = time.monotonic()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray writes a snapshot of its settings, which is never read back."""
        return {}

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the live view while the block runs."""
        if not self.console.is_terminal:
            yield
            return
        with Live(
            get_renderable=self.progress.render,
            console=self.console,
            refresh_per_second=2,
            transient=True,
        ) as live:
            self.live = live
            yield
        self.live = None

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)

    @override
    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Count a trial that begins or goes on."""
        for name in members(trial.config):
            folder = self.run.trial_folder(name)
            # Of a cohort that goes on, some may have ended.
            if folder.status().state not in FINAL_STATES:
                self.progress.states[name] = "running"
            self.progress.note_parent(folder)

    @override
    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Note a trial's newest value; of a cohort, say which have ended."""
        for own in result.get(MEMBERS, [{**result, "trial": trial.config["trial"]}]):
            self.progress.steps[own["trial"]] = own[BUDGET]
            self.progress.values[own["trial"]] = own[VALUE]
        if MEMBERS in result:
            self._members_ended(trial)
        self._plain_line()

    def _members_ended(self, trial: Any) -> None:
        for name in members(trial.config):
            ended = self.run.trial_folder(name).status().state in FINAL_STATES
            if ended and self.progress.states.get(name) not in FINAL_STATES:
                self._ended(name)

    @override
    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Say how a trial ended."""
        self._trial_ended(trial)

    @override
    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Say that a trial failed for good."""
        self._trial_ended(trial)

    def _trial_ended(self, trial: Any) -> None:
        if trial.config["others"]:
            self._members_ended(trial)
        else:
            self._ended(trial.config["trial"])

    @override
    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Say from time to time that all is well, where there is no live view."""
        self._plain_line()

    def _plain_line(self) -> None:
        if self.live is None and time.monotonic() - self._last_line > PLAIN_INTERVAL_SECONDS:
            self._last_line = time.monotonic()
            self._say(self.progress.line())

    def _ended(self, name: str) -> None:
        status = self.run.trial_folder(name).status()
        self.progress.states[name] = status.state
        if status.reason == PAUSED:
            return
        value = self.progress.values.get(name)
        result = "" if value is None else f" · {self.progress.describe(name, value)[6:]}"
        reason = "" if status.state == "complete" else f" · {status.reason}"
        first_line = reason.splitlines()[0] if reason else ""
        self._say(f"{name} {status.state}{result}{first_line[:160]}")
