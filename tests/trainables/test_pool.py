"""Students on one another's images: the matrices against an own computation, and what is read."""

from pathlib import Path

import pytest
import torch
from complete_trials import INPUTS, add_complete_trial, network, own_images
from run_folders import empty_run
from torch import Tensor

from dfkd_tune.classifiers import file_sha256
from dfkd_tune.records import TrialFolder
from trainables import load_kept, save_kept, score_on_pool

CPU = torch.device("cpu")
TEACHER = 99


@pytest.fixture
def folders(tmp_path: Path) -> list[TrialFolder]:
    """Three complete trials, whose students and images have their numbers as seeds."""
    run = empty_run(tmp_path / "run")
    return [add_complete_trial(run, network(seed)) for seed in range(3)]


def test_matrices_against_an_own_computation(folders: list[TrialFolder]) -> None:
    pool = score_on_pool(folders, network(TEACHER), INPUTS, device=CPU)
    assert pool.trials == ("t0000", "t0001", "t0002")
    assert pool.students == tuple(file_sha256(folder.student_weights) for folder in folders)
    assert pool.images == (12, 12, 12)
    for column in range(3):
        x = own_images(column).float()
        wanted = network(TEACHER)(x).double().log_softmax(1)
        answers = [network(row)(x).double().log_softmax(1) for row in range(3)]
        mean = wanted.exp().mean(0)
        assert pool.class_entropy[column] == pytest.approx(-(mean * mean.log()).sum().item())
        for row, own in enumerate(answers):
            same = (own.argmax(1) == wanted.argmax(1)).double().mean().item()
            kl = (wanted.exp() * (wanted - own)).sum(1).mean().item()
            others = sum(a.exp() for i, a in enumerate(answers) if i != row)
            assert isinstance(others, Tensor)
            crowd = (own.argmax(1) == others.argmax(1)).double().mean().item()
            assert pool.agreement[row][column] == pytest.approx(same)
            assert pool.kl[row][column] == pytest.approx(kl, rel=1e-4)
            assert pool.ensemble[row][column] == pytest.approx(crowd)


def test_damaged_images_leave_a_trial_out(folders: list[TrialFolder]) -> None:
    folders[1].kept_images.write_bytes(b"half")
    pool = score_on_pool(folders, network(TEACHER), INPUTS, device=CPU)
    assert pool.trials == ("t0000", "t0002")


def test_progress_is_told(folders: list[TrialFolder]) -> None:
    told: list[tuple[int, int]] = []
    score_on_pool(
        folders, network(TEACHER), INPUTS, device=CPU, progress=lambda *done: told.append(done)
    )
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_many_images_are_thinned_evenly(folders: list[TrialFolder]) -> None:
    save_kept(folders[0], own_images(5, count=9))
    kept = load_kept(folders[0], 3)
    assert kept is not None
    assert torch.equal(kept, own_images(5, count=9)[[0, 4, 8]].float())
