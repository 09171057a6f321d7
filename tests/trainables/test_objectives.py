"""What a trial is scored by: which scores there are, for which images, and their values."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from run_folders import empty_run
from torch import Tensor, nn

from dfkd_tune.benchmarks import Benchmark, BenchmarkConfig, get_benchmark, open_benchmark
from dfkd_tune.classifiers import NetworkConfig, build_classifier
from dfkd_tune.errors import RunFolderError
from dfkd_tune.inputs import InputSpecification
from dfkd_tune.records import RunFolder
from trainables import SEARCH_OBJECTIVES, USUAL_OBJECTIVE, AuditConfig, copy_audit, prepare_audit
from trainables._audit import load_audit
from trainables._objectives import (
    MOST_PLACED,
    OBJECTIVE_NAMES,
    ObjectiveName,
    _placed,
    trial_scores,
)

CPU = torch.device("cpu")
REAL = {"agreement", "kl"}
AUDIT = {"audit_agreement", "audit_kl"}


def network(seed: int) -> nn.Module:
    inputs = get_benchmark("digits").inputs
    return build_classifier(NetworkConfig(architecture="convnet", width=0.25), inputs, seed).eval()


@pytest.fixture
def teacher() -> nn.Module:
    return network(1).requires_grad_(False)


@pytest.fixture
def student() -> nn.Module:
    return network(2)


@pytest.fixture
def run(teacher: nn.Module, tmp_path: Path) -> RunFolder:
    """A run folder with an audit set."""
    run = empty_run(tmp_path / "run")
    config = AuditConfig(images=30, steps=2)
    inputs = get_benchmark("digits").inputs
    audit = prepare_audit(teacher, "a", inputs, config, tmp_path / "audits", device=CPU)
    copy_audit(audit, run.audit_card_file, run.audit_images)
    return run


@pytest.fixture
def benchmarks(tmp_path: Path) -> dict[str, Benchmark]:
    """Digits with labels, the same without, and their input alone."""
    digits = get_benchmark("digits")
    given = {
        "input": {
            "size": 8,
            "channels": 1,
            "mean": list(digits.inputs.mean),
            "std": list(digits.inputs.std),
            "classes": 10,
        }
    }
    images = digits.load("test").images[:80].permute(0, 2, 3, 1).numpy()
    np.savez(tmp_path / "images.npz", images=images)
    unlabelled = {"name": "mine", "unlabelled": str(tmp_path / "images.npz"), **given}
    return {
        "labelled": digits,
        "unlabelled": open_benchmark(BenchmarkConfig.model_validate(unlabelled)),
        "none": open_benchmark(BenchmarkConfig.model_validate({"name": "bare", **given})),
    }


def scores(
    run: RunFolder,
    teacher: nn.Module,
    student: nn.Module,
    benchmark: Benchmark,
    objective: ObjectiveName,
) -> Mapping[str, float]:
    evaluate = trial_scores(run, teacher, benchmark, SEARCH_OBJECTIVES[objective], CPU)
    return evaluate(student)


@pytest.mark.parametrize(
    ("data", "objective", "expected"),
    [
        ("labelled", "val_real", {"accuracy"} | REAL),
        ("labelled", "unlabelled_real", {"accuracy"} | REAL),
        ("labelled", "data_free", {"accuracy"} | REAL | AUDIT),
        ("labelled", "test_peeking", {"accuracy", "test_accuracy"} | REAL),
        ("unlabelled", "unlabelled_real", REAL),
        ("unlabelled", "data_free", REAL | AUDIT),
        ("none", "data_free", AUDIT),
    ],
)
def test_which_scores_there_are(
    run: RunFolder,
    teacher: nn.Module,
    student: nn.Module,
    benchmarks: dict[str, Benchmark],
    data: str,
    objective: ObjectiveName,
    expected: set[str],
) -> None:
    benchmark = benchmarks[data]
    assert benchmark.data == data
    found = scores(run, teacher, student, benchmark, objective)
    assert set(found) == expected
    assert SEARCH_OBJECTIVES[objective].key in found
    assert benchmark.data in SEARCH_OBJECTIVES[objective].needs


def _normalised(images: Tensor, inputs: InputSpecification) -> Tensor:
    mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (inputs.mean, inputs.std))
    return (images.float() / 255 - mean) / std


def _fidelity(student: Tensor, teacher: Tensor) -> tuple[float, float]:
    """Agreement and KL(teacher || student), with NumPy."""
    s, t = (logits.double().numpy() for logits in (student, teacher))
    log_s, log_t = (x - np.log(np.exp(x).sum(1, keepdims=True)) for x in (s, t))
    kl = (np.exp(log_t) * (log_t - log_s)).sum(1).mean()
    return float((s.argmax(1) == t.argmax(1)).mean()), float(kl)


def test_scores_are_of_the_validation_split_and_the_audit_set(
    run: RunFolder, teacher: nn.Module, student: nn.Module, benchmarks: dict[str, Benchmark]
) -> None:
    digits = benchmarks["labelled"]
    found = scores(run, teacher, student, digits, "data_free")
    data = digits.load("validation")
    with torch.no_grad():
        real = _normalised(data.images, digits.inputs)
        audit = load_audit(run.audit_images)
        logits = [(student(x), teacher(x)) for x in (real, audit)]
    accuracy = (logits[0][0].argmax(1) == data.labels).double().mean().item()
    assert found["accuracy"] == pytest.approx(accuracy, abs=1e-12)
    for prefix, (s, t) in zip(("", "audit_"), logits, strict=True):
        agreement, kl = _fidelity(s, t)
        assert found[f"{prefix}agreement"] == pytest.approx(agreement, abs=1e-12)
        assert found[f"{prefix}kl"] == pytest.approx(kl, rel=1e-4)


def test_unlabelled_scores_are_of_the_half_that_is_not_held_out(
    run: RunFolder, teacher: nn.Module, student: nn.Module, benchmarks: dict[str, Benchmark]
) -> None:
    mine = benchmarks["unlabelled"]
    found = scores(run, teacher, student, mine, "unlabelled_real")
    seen, held_out = mine.images("validation"), mine.images("test")
    assert 0 < len(seen) < 80
    assert len(seen) + len(held_out) == 80
    with torch.no_grad():
        images = _normalised(seen, mine.inputs)
        agreement, kl = _fidelity(student(images), teacher(images))
    assert found == {
        "agreement": pytest.approx(agreement, abs=1e-12),
        "kl": pytest.approx(kl, rel=1e-4),
    }


def test_a_teacher_agrees_with_itself(
    run: RunFolder, teacher: nn.Module, benchmarks: dict[str, Benchmark]
) -> None:
    for data in ("labelled", "unlabelled", "none"):
        found = scores(run, teacher, network(1), benchmarks[data], "data_free")
        assert found["audit_agreement"] == 1
        assert found["audit_kl"] == pytest.approx(0, abs=1e-9)


def test_without_its_audit_set_data_free_is_refused(
    run: RunFolder, teacher: nn.Module, student: nn.Module, benchmarks: dict[str, Benchmark]
) -> None:
    run.audit_images.unlink()
    with pytest.raises(RunFolderError, match="missing or damaged"):
        scores(run, teacher, student, benchmarks["none"], "data_free")
    assert scores(run, teacher, student, benchmarks["labelled"], "val_real")["accuracy"] >= 0


def test_what_the_objectives_need() -> None:
    assert tuple(SEARCH_OBJECTIVES) == OBJECTIVE_NAMES
    needs = {name: objective.needs for name, objective in SEARCH_OBJECTIVES.items()}
    assert needs == {
        "val_real": ("labelled",),
        "unlabelled_real": ("labelled", "unlabelled"),
        "data_free": ("labelled", "unlabelled", "none"),
        "test_peeking": ("labelled",),
    }
    for data, name in USUAL_OBJECTIVE.items():
        assert data in SEARCH_OBJECTIVES[name].needs


def test_peeking_is_at_the_test_split(
    run: RunFolder, teacher: nn.Module, student: nn.Module, benchmarks: dict[str, Benchmark]
) -> None:
    digits = benchmarks["labelled"]
    found = scores(run, teacher, student, digits, "test_peeking")
    data = digits.load("test")
    with torch.no_grad():
        answers = student(_normalised(data.images, digits.inputs)).argmax(1)
    assert found["test_accuracy"] == (answers == data.labels).double().mean().item()
    others = [scores(run, teacher, student, digits, name) for name in ("val_real", "data_free")]
    assert not any("test_accuracy" in each for each in others)


def test_few_images_are_kept_where_they_are_scored() -> None:
    """The device stands for any that is not the host."""
    elsewhere = torch.device("meta")
    few = torch.zeros(10, 3, 8, 8, dtype=torch.uint8)
    assert _placed(few, elsewhere).device == elsewhere
    assert _placed(few, CPU) is few
    # Expanded: it takes no memory itself.
    many = torch.zeros(1, dtype=torch.uint8).expand(MOST_PLACED + 1)
    assert _placed(many, elsewhere) is many
