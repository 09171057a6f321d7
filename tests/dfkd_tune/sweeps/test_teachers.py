"""A run keeps one teacher, from its first trial to its last."""

from pathlib import Path
from typing import Any

import pytest

from dfkd_tune.benchmarks import get_benchmark
from dfkd_tune.classifiers import NetworkConfig, build_classifier, save_weights
from dfkd_tune.errors import RunFolderError, TeacherError
from dfkd_tune.records import RunFolder

pytestmark = pytest.mark.sweep


def weights(path: Path, seed: int) -> Path:
    config = NetworkConfig(architecture="convnet", width=0.5)
    save_weights(path, build_classifier(config, get_benchmark("digits").inputs, seed))
    return path


def test_a_replaced_weights_file_is_noticed(
    sweep: Any, tiny: dict[str, Any], tmp_path: Path
) -> None:
    file = weights(tmp_path / "mine.safetensors", seed=1)
    tiny["storage"] = tmp_path / "runs"
    tiny["teacher"] = {"architecture": "convnet", "width": 0.5, "weights": str(file)}
    tiny["search"]["trials"] = 1
    run = RunFolder(tmp_path / "runs" / "tiny")
    assert sweep(tiny).exit_code == 0
    card = run.teacher_card()
    assert card is not None
    assert card.source == "file"
    assert card.origin == str(file)

    before = run.teacher_weights.read_bytes()
    weights(file, seed=2)
    tiny["search"]["trials"] = 2
    with pytest.raises(RunFolderError, match="the teacher has changed since"):
        sweep(tiny)
    assert run.teacher_weights.read_bytes() == before
    file.unlink()
    with pytest.raises(TeacherError, match="does not exist"):
        sweep(tiny)
    weights(file, seed=1)
    assert sweep(tiny).exit_code == 0


@pytest.mark.long
def test_a_lost_cache_does_not_matter(sweep: Any, tiny: dict[str, Any], storage: Path) -> None:
    tiny["storage"] = storage
    tiny["search"]["trials"] = 1
    assert sweep(tiny).exit_code == 0
    (storage / "teachers").unlink()
    tiny["search"]["trials"] = 2
    assert sweep(tiny).exit_code == 0
    assert not (storage / "teachers").exists(), "the run's own teacher served"
