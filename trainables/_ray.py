"""What Ray runs: thin wrappers that hand a trial's numbers to the search."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dfkd_tune.benchmarks import BenchmarkConfig, open_benchmark
from dfkd_tune.errors import (
    CannotRecordError,
    CollapsedError,
    DivergedError,
    OutOfGpuMemoryError,
)
from dfkd_tune.records import EpochRecord, RunFolder
from trainables._machine import limit_gpu_memory
from trainables._recording import SavingConfig, SupersededError, note_hang
from trainables._teachers import TeacherConfig, prepare_teacher
from trainables._trials import run_cohort, run_trial
from trainables._watchdog import Watchdog

if TYPE_CHECKING:
    from ray.tune import PlacementGroupFactory

VALUE = "value"
"""Key of the search objective's value in what a trial reports."""

BUDGET = "student_steps"
"""Key of the budget used so far in what a trial reports."""

WORST_VALUE = 0.0
"""Value of a diverged or collapsed trial: finite, since Ray's scheduler never stops a NaN."""

UNSETTLED = "unsettled"
"""Key in what a trial reports: it is not over, and goes on later."""

MEMBERS = "members"
"""Key in what a cohort reports: a list of what each of its trials would report alone, with its
name as `trial`. Ray makes keys of paths of what is nested in mappings, not in lists."""

STORAGE = "storage"
"""Key in what a trial reports: why nothing can be recorded any more; empty while all is well."""


class DeviceHolder:
    """An actor that holds a GPU, or CPU cores, and calls functions there."""

    def call(self, function: Callable[..., Any], *given: Any) -> Any:
        """Call a function with its arguments."""
        return function(*given)


def train_teacher(config: dict[str, Any]) -> None:
    """Train a teacher inside Ray Tune, into a cache that all nodes share.

    A try that died goes on from its checkpoint.

    Args:
        config: `benchmark` and `teacher`: mappings as in an experiment file; `cache`: path.
    """
    from ray import tune

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        torch.set_num_threads(int(config["threads"]))
    prepare_teacher(
        open_benchmark(BenchmarkConfig.model_validate(config["benchmark"])),
        TeacherConfig.model_validate(config["teacher"]),
        Path(config["cache"]),
        device=device,
        progress=lambda told: tune.report(
            {"epoch": told.epoch, "epochs": told.epochs, "loss": told.loss}
        ),
    )


def requested_resources(config: dict[str, Any]) -> "PlacementGroupFactory":
    """What Ray gives a trial: trials that share a GPU differ in their shares.

    Args:
        config: `resources`: amounts by Ray's names.
    """
    from ray.tune import PlacementGroupFactory

    return PlacementGroupFactory([config["resources"]])


def distil_trial(config: dict[str, Any]) -> None:
    """Run one trial, or a cohort, inside Ray Tune.

    Args:
        config: `run`: path of the run folder; `trial`: name; `others`: names of those that train
            in the same process and share its images; `session`: id; `saving`: mapping;
            `until_epoch`: after which it pauses, None where it trains to its end;
            `hang_after`: seconds in which an epoch must end, None for the watchdog's own;
            `gpu_memory`: the part of its GPU's memory that it may reserve, 0 without a GPU;
            `larger_share`: whether it would be given more of the GPU, should it need that.
    """
    # Ray reads its environment when first imported: not before a search has prepared that.
    from ray import tune

    if config["others"]:
        _distil_cohort(config)
        return
    run = RunFolder(Path(config["run"]), patient=True)
    last: dict[str, Any] = {
        BUDGET: 0,
        "epoch": 0,
        VALUE: WORST_VALUE,
        UNSETTLED: False,
        STORAGE: "",
    }

    def on_epoch(record: EpochRecord) -> None:
        watchdog.epoch_ended()
        last[BUDGET], last["epoch"] = record.student_steps, record.epoch
        if record.value is not None:
            last[VALUE] = record.value
            if record.student_steps > 0:
                tune.report(last)

    limit_gpu_memory(config["gpu_memory"])
    note_hang(run, config["trial"], config["session"])
    watchdog = Watchdog(run.trial_folder(config["trial"]).hang_file, config["hang_after"])
    try:
        with watchdog:
            ended = run_trial(
                run,
                config["trial"],
                session=config["session"],
                saving=SavingConfig(**config["saving"]),
                until_epoch=config["until_epoch"],
                on_epoch=on_epoch,
            )
        if not ended:
            tune.report({**last, UNSETTLED: True})
    except (DivergedError, CollapsedError):
        tune.report({**last, VALUE: WORST_VALUE})
    except OutOfGpuMemoryError as error:
        # Not raised: Ray would try again at once, with the same share.
        folder = run.trial_folder(config["trial"])
        if config["larger_share"]:
            folder.set_status("running", reason="out of GPU memory: waits for a larger share")
            tune.report({**last, UNSETTLED: True})
            return
        folder.set_status("failed", reason=str(error))
        tune.report(last)
    except CannotRecordError as error:
        tune.report({**last, UNSETTLED: True, STORAGE: str(error)})
    except SupersededError:
        return


def _distil_cohort(config: dict[str, Any]) -> None:
    """Run several trials in this process; how each ends is in its folder."""
    from ray import tune

    run = RunFolder(Path(config["run"]), patient=True)
    names = [config["trial"], *config["others"]]
    last: dict[str, Any] = {BUDGET: 0, VALUE: WORST_VALUE, UNSETTLED: False, STORAGE: ""}

    def on_epochs(records: Mapping[str, EpochRecord]) -> None:
        watchdog.epoch_ended()
        members: list[dict[str, Any]] = [
            {"trial": name, BUDGET: record.student_steps, VALUE: record.value}
            for name, record in records.items()
            if record.value is not None and record.student_steps > 0
        ]
        if members:
            last[BUDGET] = max(member[BUDGET] for member in members)
            last[VALUE] = max(member[VALUE] for member in members)
            tune.report({**last, MEMBERS: members})

    limit_gpu_memory(config["gpu_memory"])
    note_hang(run, config["trial"], config["session"])
    watchdog = Watchdog(run.trial_folder(config["trial"]).hang_file, config["hang_after"])
    try:
        with watchdog:
            run_cohort(
                run,
                names,
                session=config["session"],
                saving=SavingConfig(**config["saving"]),
                on_epochs=on_epochs,
            )
    except CannotRecordError as error:
        tune.report({**last, MEMBERS: [], UNSETTLED: True, STORAGE: str(error)})
    except SupersededError:
        return
