"""Teachers: trained once, going on where they were ended, or from a file."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import trainables._teachers as module
from dfkd_tune.benchmarks import BenchmarkConfig, get_benchmark, open_benchmark
from dfkd_tune.classifiers import (
    NetworkConfig,
    TrainingProgress,
    build_classifier,
    save_weights,
)
from dfkd_tune.errors import TeacherError
from dfkd_tune.inputs import InputSpecification
from trainables import (
    Teacher,
    TeacherConfig,
    add_test_score,
    cached_teacher,
    card_network,
    check_teacher,
    load_network,
    prepare_teacher,
    teacher_hash,
)

CPU = torch.device("cpu")
DIGITS = get_benchmark("digits")

FACTORY = """
from torch import nn

def make(width=4, classes=10):
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes),
    )
"""


class CutError(Exception):
    pass


def small(**recipe: Any) -> TeacherConfig:
    return TeacherConfig.model_validate(
        {"architecture": "convnet", "width": 0.125, "recipe": {"epochs": 4, **recipe}}
    )


def prepare(config: TeacherConfig, cache: Path, **options: Any) -> Teacher:
    return prepare_teacher(DIGITS, config, cache, device=CPU, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    """A teacher whose training was never interrupted."""
    torch.set_num_threads(1)
    return prepare(small(), tmp_path_factory.mktemp("teachers"))


def same(a: Teacher | None, b: Teacher) -> bool:
    """Whether two teachers are one, with cards as they are written."""
    if a is None:
        return False
    cards = [teacher.card.model_dump(mode="json") for teacher in (a, b)]
    return cards[0] == cards[1] and a.weights == b.weights


def test_a_training_that_dies_goes_on(
    whole: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", 0.0)
    told: list[int] = []

    def cut(progress: TrainingProgress) -> None:
        told.append(progress.epoch)
        if progress.epoch == 2:
            raise CutError

    with pytest.raises(CutError):
        prepare(small(), tmp_path, progress=cut)
    (folder,) = tmp_path.iterdir()
    assert list((folder / "checkpoints").iterdir())
    assert cached_teacher(DIGITS, small(), tmp_path) is None, "half a teacher is none"
    teacher = prepare(small(), tmp_path, progress=lambda progress: told.append(progress.epoch))
    assert told == [1, 2, 3, 4]
    assert teacher.card.weights_sha256 == whole.card.weights_sha256
    assert teacher.weights.read_bytes() == whole.weights.read_bytes()
    assert teacher.card.scores == whole.card.scores
    assert not (folder / "checkpoints").exists()


def test_a_trained_teacher_is_found(whole: Teacher) -> None:
    cache = whole.weights.parents[1]
    assert same(cached_teacher(DIGITS, small(), cache), whole)
    assert cached_teacher(DIGITS, small(seed=1), cache) is None
    assert cached_teacher(DIGITS, small(), cache / "elsewhere") is None
    told: list[TrainingProgress] = []
    assert same(prepare(small(), cache, progress=told.append), whole)
    assert told == []
    assert set(whole.card.scores) == {"train", "validation"}, "the test split is not touched"


def test_a_damaged_cache_is_no_cache(tmp_path: Path) -> None:
    first = prepare(small(epochs=1), tmp_path)
    content = first.weights.read_bytes()
    first.weights.write_bytes(content[:-4])
    assert cached_teacher(DIGITS, small(epochs=1), tmp_path) is None
    assert prepare(small(epochs=1), tmp_path).weights.read_bytes() == content


def test_the_test_split_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = prepare(small(epochs=1), tmp_path)
    measured: list[str] = []
    score = module.score_teacher

    def count(network: Any, benchmark: Any, split: Any) -> Any:
        measured.append(split)
        return score(network, benchmark, split)

    monkeypatch.setattr(module, "score_teacher", count)
    with_test = add_test_score(teacher, DIGITS, CPU)
    assert with_test.card.scores["test"].images == len(DIGITS.load("test").labels)
    assert with_test.card.scores.items() > teacher.card.scores.items()
    found = cached_teacher(DIGITS, small(epochs=1), tmp_path)
    assert found is not None
    assert same(found, with_test)
    assert same(add_test_score(found, DIGITS, CPU), with_test)
    assert measured == ["test"]


def _file(path: Path, inputs: InputSpecification = DIGITS.inputs) -> Path:
    network = build_classifier(NetworkConfig(architecture="convnet", width=0.125), inputs, 9)
    save_weights(path, network)
    return path


def _from_file(path: Path) -> TeacherConfig:
    return TeacherConfig(architecture="convnet", width=0.125, weights=path)


def _own(tmp_path: Path, **given: Any) -> BenchmarkConfig:
    """Digits as labelled images of a person's own."""
    import numpy as np

    train, test = DIGITS.load("train"), DIGITS.load("test")
    np.savez(
        tmp_path / "own.npz",
        train_images=train.images.permute(0, 2, 3, 1).numpy(),
        train_labels=train.labels.numpy(),
        test_images=test.images.permute(0, 2, 3, 1).numpy(),
        test_labels=test.labels.numpy(),
    )
    raw = {"labelled": str(tmp_path / "own.npz"), "input": given}
    return BenchmarkConfig.model_validate(raw)


def test_a_weights_file_needs_its_normalisation(tmp_path: Path) -> None:
    file = _file(tmp_path / "mine.safetensors")
    undeclared = open_benchmark(_own(tmp_path))
    assert not undeclared.declared_normalisation
    with pytest.raises(TeacherError, match=r"needs benchmark\.input\.mean and benchmark\.input"):
        check_teacher(undeclared, _from_file(file))
    check_teacher(undeclared, small())
    given = {"mean": list(DIGITS.inputs.mean), "std": list(DIGITS.inputs.std)}
    declared = open_benchmark(_own(tmp_path, **given))
    card = prepare_teacher(declared, _from_file(file), tmp_path / "cache", device=CPU).card
    assert card.source == "file"
    assert card.origin == str(file)
    assert card.recipe == {}
    assert set(card.scores) == {"train", "validation"}


def _bare() -> BenchmarkConfig:
    return BenchmarkConfig.model_validate(
        {
            "name": "bare",
            "input": {
                "size": 8,
                "channels": 1,
                "mean": list(DIGITS.inputs.mean),
                "std": list(DIGITS.inputs.std),
                "classes": 10,
            },
        }
    )


def test_without_labels_there_must_be_weights(tmp_path: Path) -> None:
    bare = open_benchmark(_bare())
    with pytest.raises(TeacherError, match="no labelled images to train a teacher on"):
        prepare_teacher(bare, small(), tmp_path / "cache", device=CPU)
    assert not (tmp_path / "cache").exists(), "nothing is written before the check"
    missing = _from_file(tmp_path / "none.safetensors")
    with pytest.raises(TeacherError, match="does not exist"):
        prepare_teacher(bare, missing, tmp_path / "cache", device=CPU)
    config = _from_file(_file(tmp_path / "mine.safetensors"))
    teacher = prepare_teacher(bare, config, tmp_path / "cache", device=CPU)
    assert teacher.card.scores == {}
    assert teacher.card.data_hash == ""
    assert add_test_score(teacher, bare, CPU) == teacher


def test_a_changed_weights_file_is_another_teacher(tmp_path: Path) -> None:
    config = _from_file(_file(tmp_path / "mine.safetensors"))
    before = teacher_hash(DIGITS, config)
    network = build_classifier(
        NetworkConfig(architecture="convnet", width=0.125), DIGITS.inputs, 10
    )
    save_weights(tmp_path / "mine.safetensors", network)
    assert teacher_hash(DIGITS, config) != before


def test_a_network_of_ones_own_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nets.py").write_text(FACTORY)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)
    config = TeacherConfig.model_validate(
        {"architecture": "nets.py:make", "arguments": {"width": 6}, "recipe": {"epochs": 1}}
    )
    teacher = prepare(config, tmp_path / "cache")
    assert teacher.card.architecture == f"{tmp_path / 'nets.py'}:make"
    assert teacher.card.arguments == {"width": 6}
    assert teacher.weights.parent.name.startswith("digits-nets.py_make-")
    monkeypatch.chdir(elsewhere)
    network = load_network(card_network(teacher.card), DIGITS.inputs, teacher.weights)
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert not any(p.requires_grad for p in network.parameters())
    monkeypatch.chdir(tmp_path)
    before = teacher_hash(DIGITS, config)
    (tmp_path / "nets.py").write_text(FACTORY.replace("nn.ReLU()", "nn.SiLU()"))
    assert teacher_hash(DIGITS, config) != before, "other code is another teacher"


def test_initial_weights_load_but_for_the_last_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = InputSpecification(
        channels=1, height=8, width=8, mean=(0.0,), std=(1.0,), num_classes=7
    )
    file = _file(tmp_path / "seven.safetensors", other)
    begun: list[dict[str, torch.Tensor]] = []

    def see(network: torch.nn.Module, *_args: Any, **_options: Any) -> None:
        begun.append({key: value.clone() for key, value in network.state_dict().items()})

    monkeypatch.setattr(module, "train_classifier", see)
    prepare(small(initial_weights=file, seed=3), tmp_path / "cache")
    given = load_file(file)
    usual = build_classifier(
        NetworkConfig(architecture="convnet", width=0.125), DIGITS.inputs, 3
    ).state_dict()
    for key, value in begun[0].items():
        last = key.startswith("classifier.")
        assert torch.equal(value, usual[key] if last else given[key]), key
    assert given["classifier.weight"].shape[0] == 7


def test_initial_weights_that_do_not_fit(tmp_path: Path) -> None:
    file = tmp_path / "wide.safetensors"
    network = NetworkConfig(architecture="convnet", width=0.25)
    save_weights(file, build_classifier(network, DIGITS.inputs, 0))
    with pytest.raises(TeacherError, match="do not fit the network"):
        check_teacher(DIGITS, small(initial_weights=file))
    with pytest.raises(TeacherError):
        check_teacher(DIGITS, small(initial_weights=tmp_path / "none.safetensors"))


def test_initial_weights_decide_the_teacher(tmp_path: Path) -> None:
    file = _file(tmp_path / "first.safetensors")
    config = small(initial_weights=file)
    before = teacher_hash(DIGITS, config)
    assert before != teacher_hash(DIGITS, small())
    network = NetworkConfig(architecture="convnet", width=0.125)
    save_weights(file, build_classifier(network, DIGITS.inputs, 1))
    assert teacher_hash(DIGITS, config) != before
