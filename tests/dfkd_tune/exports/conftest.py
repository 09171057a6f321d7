"""A run folder whose student is real: statistics and weights as if it had been trained."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from complete_trials import add_complete_trial
from record_examples import CARD
from run_folders import add_epochs, empty_run
from torch import nn

from dfkd_tune.benchmarks import get_benchmark
from dfkd_tune.classifiers import NetworkConfig, build_classifier, file_sha256
from dfkd_tune.distillation import METHODS
from dfkd_tune.records import RunFolder, SelectionRecord, TestOutcome, now, write_json, write_record

BENCHMARK = get_benchmark("digits")
CONVNET = NetworkConfig(architecture="convnet", width=0.25)


def trained(config: NetworkConfig, seed: int = 0) -> nn.Module:
    """A network whose BatchNorm has seen something, so that evaluation depends on it."""
    network = build_classifier(config, BENCHMARK.inputs, seed)
    source = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.3, generator=source)
            module.running_var.uniform_(0.5, 2, generator=source)
    return network.eval().requires_grad_(False)


def select(run: RunFolder, trial: str) -> None:
    record = SelectionRecord(
        trial=trial,
        rule="highest last validation accuracy among complete trials",
        objective="val_real",
        candidates=2,
        value=0.9,
        validation={"accuracy": 0.9},
        teacher_validation_accuracy=0.98,
        student_sha256=file_sha256(run.trial_folder(trial).student_weights),
        test=TestOutcome(images=450, both_correct=409, student_only=4, teacher_only=31, neither=6),
        test_evaluations=1,
        session="s",
        time=now(),
    )
    write_record(run.selection_file, record)


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[[NetworkConfig], RunFolder]:
    """Makes a sweep of two complete trials; the second is selected."""

    def make(config: NetworkConfig = CONVNET) -> RunFolder:
        run = empty_run(tmp_path / "run")
        write_json(
            run.experiment_file,
            {
                "benchmark": "digits",
                "benchmark_config": BENCHMARK.config.model_dump(mode="json"),
                "class_names": [f"digit {name}" for name in BENCHMARK.class_names],
                "data": "labelled",
                "inputs": asdict(BENCHMARK.inputs),
                "method": "cgdd",
                "search": {"objective": "val_real"},
            },
        )
        write_record(run.teacher_card_file, CARD)
        recipe = METHODS["cgdd"].recipe.model_copy(update={"student": config})
        for seed in (0, 1):
            trial = add_complete_trial(run, trained(config, seed))
            add_epochs(trial, (0.5, 0.9), 10)
            configuration = recipe.model_dump(mode="json")
            changed = trial.trial().model_copy(update={"configuration": configuration})
            write_record(trial.trial_file, changed)
        select(run, "t0001")
        return run

    return make
