"""Complete trials with real students and images of their own, made without training."""

import torch
from torch import Tensor, nn

from dfkd_tune.benchmarks import get_benchmark
from dfkd_tune.classifiers import NetworkConfig, build_classifier, save_weights
from dfkd_tune.distillation import METHODS
from dfkd_tune.records import (
    NetworkSize,
    RunFolder,
    TrialFolder,
    TrialRecord,
    now,
    write_record,
)
from trainables import save_kept

INPUTS = get_benchmark("digits").inputs
NETWORK = NetworkConfig(architecture="convnet", width=0.25)


def network(seed: int) -> nn.Module:
    """An untrained network of the digits, frozen."""
    return build_classifier(NETWORK, INPUTS, seed).eval().requires_grad_(False)


def own_images(seed: int, count: int = 12) -> Tensor:
    """What a trial may have kept: noise."""
    return torch.randn(count, *INPUTS.shape, generator=torch.Generator().manual_seed(seed)).half()


def add_complete_trial(run: RunFolder, student: nn.Module, *, steps: int = 1) -> TrialFolder:
    """Add the next trial, complete, with this student; its images are of its number as seed."""
    number = len(run.trial_folders())
    folder = run.trial_folder(f"t{number:04d}")
    recipe = METHODS["cgdd"].recipe.model_copy(update={"student": NETWORK})
    record = TrialRecord(
        trial=folder.name,
        number=number,
        origin="sampler",
        parameters={},
        configuration=recipe.model_dump(mode="json"),
        student_size=NetworkSize(parameters=1, macs=1),
        total_student_steps=steps,
        threads=1,
        device="cpu",
        created=now(),
    )
    write_record(folder.trial_file, record)
    folder.set_status("complete")
    save_weights(folder.student_weights, student)
    save_kept(folder, own_images(number))
    return folder
