"""The audit set: made once for a teacher, balanced, and read back whole."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from dfkd_tune.benchmarks import get_benchmark
from dfkd_tune.classifiers import NetworkConfig, build_classifier, file_sha256
from dfkd_tune.errors import RunFolderError, StorageError
from dfkd_tune.inputs import InputSpecification
from trainables import Audit, AuditConfig, copy_audit, prepare_audit
from trainables._audit import BN_WEIGHTS, inversions, load_audit

CONFIG = AuditConfig(images=60, steps=3, batch_size=10)


@pytest.fixture(scope="module")
def inputs() -> InputSpecification:
    return get_benchmark("digits").inputs


@pytest.fixture
def teacher(inputs: InputSpecification) -> nn.Module:
    network = build_classifier(NetworkConfig(architecture="convnet", width=0.25), inputs, 3)
    return network.eval().requires_grad_(False)


def make(
    teacher: nn.Module,
    inputs: InputSpecification,
    cache: Path,
    told: list[tuple[int, int]] | None = None,
    config: AuditConfig = CONFIG,
    sha256: str = "a",
) -> Audit:
    def tell(done: int, steps: int) -> None:
        if told is not None:
            told.append((done, steps))

    return prepare_audit(
        teacher, sha256, inputs, config, cache, device=torch.device("cpu"), progress=tell
    )


def test_it_is_made_once(teacher: nn.Module, inputs: InputSpecification, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    first = make(teacher, inputs, tmp_path, told)
    steps = 3 * 2 * 3
    assert told == [(step, steps) for step in range(1, steps + 1)]
    written = first.images.stat().st_mtime_ns
    told.clear()
    again = make(teacher, inputs, tmp_path, told)
    assert told == [], "found, not made"
    assert again == first
    assert again.images.stat().st_mtime_ns == written
    elsewhere = make(teacher, inputs, tmp_path / "other")
    assert elsewhere.card.sha256 == first.card.sha256, "the same to the last bit"


def test_a_damaged_one_is_made_again(
    teacher: nn.Module, inputs: InputSpecification, tmp_path: Path
) -> None:
    first = make(teacher, inputs, tmp_path)
    first.images.write_bytes(first.images.read_bytes()[:-4])
    again = make(teacher, inputs, tmp_path)
    assert again.card.sha256 == first.card.sha256 == file_sha256(again.images)


def test_another_teacher_or_seed_has_another(
    teacher: nn.Module, inputs: InputSpecification, tmp_path: Path
) -> None:
    other = build_classifier(NetworkConfig(architecture="convnet", width=0.25), inputs, 4).eval()
    audits = [
        make(teacher, inputs, tmp_path),
        make(other, inputs, tmp_path, sha256="b"),
        make(teacher, inputs, tmp_path, config=CONFIG.model_copy(update={"seed": 1})),
        make(teacher, inputs, tmp_path, config=CONFIG.model_copy(update={"steps": 2})),
    ]
    assert len({audit.card.sha256 for audit in audits}) == 4
    assert len({audit.images for audit in audits}) == 4


def test_classes_are_balanced_and_pixels_are_real(
    teacher: nn.Module, inputs: InputSpecification, tmp_path: Path
) -> None:
    audit = make(teacher, inputs, tmp_path)
    content = load_file(audit.images)
    assert content["labels"].bincount(minlength=10).tolist() == [6] * 10
    images = load_audit(audit.images)
    assert torch.equal(images, content["images"])
    assert images.shape == (60, *inputs.shape)
    mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (inputs.mean, inputs.std))
    pixels = images * std + mean
    assert pixels.min() >= -1e-6
    assert pixels.max() <= 1 + 1e-6
    assert len({image.numpy().tobytes() for image in images}) == 60, "no image twice"


def test_the_card_says_how_it_was_made(
    teacher: nn.Module, inputs: InputSpecification, tmp_path: Path
) -> None:
    audit = make(teacher, inputs, tmp_path)
    card = audit.card
    assert card.images == 60
    assert card.teacher_sha256 == "a"
    assert card.sha256 == file_sha256(audit.images)
    weights = [each["bn_statistics"] for each in card.inversions]
    assert weights == [weight for weight in BN_WEIGHTS for _ in range(2)]
    assert len({each["seed"] for each in card.inversions}) == 6
    content = load_file(audit.images)
    with torch.no_grad():
        logits = teacher(content["images"])
    assert card.teacher_accuracy == pytest.approx(
        (logits.argmax(1) == content["labels"]).double().mean().item()
    )
    mean = logits.softmax(1).mean(0)
    assert card.class_entropy == pytest.approx(-(mean * mean.log()).sum().item(), abs=1e-5)
    assert 0 <= card.class_entropy <= math.log(10)
    copy_audit(audit, tmp_path / "run" / "card.json", tmp_path / "run" / "deep" / "a.safetensors")
    assert file_sha256(tmp_path / "run" / "deep" / "a.safetensors") == card.sha256


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    file = tmp_path / "images.safetensors"
    with pytest.raises(RunFolderError, match="missing or damaged"):
        load_audit(file)
    for content in (b"", b"not images", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "):
        file.write_bytes(content)
        with pytest.raises(RunFolderError, match=r"images\.safetensors is missing or damaged"):
            load_audit(file)
    save_file({"images": torch.zeros(4, 1, 8, 8)}, file)
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(RunFolderError, match="damaged"):
        load_audit(file)


def test_a_cache_that_cannot_be_written(
    teacher: nn.Module, inputs: InputSpecification, tmp_path: Path
) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(StorageError):
        make(teacher, inputs, blocker / "audits")


@pytest.mark.parametrize(("classes", "batch"), [(10, 4), (100, 16), (7, 60)])
def test_every_class_has_its_turn_also_where_a_batch_is_small(classes: int, batch: int) -> None:
    inputs = InputSpecification(
        channels=1, height=8, width=8, mean=(0.3,), std=(0.4,), num_classes=classes
    )
    made = inversions(AuditConfig(images=300, batch_size=batch), inputs)
    labels = [(index + each.first_label) % classes for each in made for index in range(each.images)]
    counts = [labels.count(label) for label in range(classes)]
    assert max(counts) - min(counts) <= 1
