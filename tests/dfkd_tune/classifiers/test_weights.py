"""Weights files: there and back, damaged, foreign, hostile."""

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dfkd_tune.classifiers import (
    NetworkConfig,
    build_classifier,
    file_sha256,
    load_weights,
    read_state_dict,
    save_weights,
)
from dfkd_tune.errors import StorageError, TeacherError
from dfkd_tune.inputs import InputSpecification

Build = Callable[..., nn.Module]


@pytest.fixture
def build(digits: InputSpecification) -> Build:
    def make(seed: int = 0, width: float = 0.25, name: str = "convnet", classes: int = 10) -> Any:
        inputs = InputSpecification(
            channels=1, height=8, width=8, mean=(0.3,), std=(0.4,), num_classes=classes
        )
        return build_classifier(NetworkConfig(architecture=name, width=width), inputs, seed)

    return make


def same(a: nn.Module, b: nn.Module) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(v, right[k]) for k, v in left.items())


def refused(network: nn.Module, path: Path) -> str:
    """Load a file that must be refused, in one line that names it, changing nothing."""
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(TeacherError) as caught:
        load_weights(network, path)
    assert all(torch.equal(value, before[n]) for n, value in network.state_dict().items())
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_saved_weights_come_back_bit_for_bit(build: Build, tmp_path: Path) -> None:
    first, second = build(1), build(2)
    nn.init.normal_(first.stage1[1].running_mean)
    digest = save_weights(tmp_path / "deep" / "w.safetensors", first)
    load_weights(second, tmp_path / "deep" / "w.safetensors")
    assert same(first, second)
    content = (tmp_path / "deep" / "w.safetensors").read_bytes()
    assert digest == hashlib.sha256(content).hexdigest()
    assert file_sha256(tmp_path / "deep" / "w.safetensors") == digest


def test_same_weights_same_file(build: Build, tmp_path: Path) -> None:
    one = save_weights(tmp_path / "1.safetensors", build(1))
    two = save_weights(tmp_path / "2.safetensors", build(1))
    assert one == two
    assert save_weights(tmp_path / "3.safetensors", build(2)) != one


@pytest.mark.parametrize("ending", ["pt", "pth"])
@pytest.mark.parametrize("key", [None, "state_dict", "model"])
def test_a_torch_file_is_read_also_with_the_state_dict_inside(
    build: Build, tmp_path: Path, ending: str, key: str | None
) -> None:
    first, second = build(1), build(2)
    state = first.state_dict()
    path = tmp_path / f"w.{ending}"
    torch.save({key: state, "epoch": 7, "optimizer": {"lr": 1}} if key else state, path)
    load_weights(second, path)
    assert same(first, second)


def test_a_name_beside_the_state_dict_is_not_taken_for_it(build: Build, tmp_path: Path) -> None:
    first, second = build(1), build(2)
    torch.save({"model": "convnet", "state_dict": first.state_dict()}, tmp_path / "a.pt")
    load_weights(second, tmp_path / "a.pt")
    assert same(first, second)
    torch.save({"model": first.state_dict(), "state_dict": None}, tmp_path / "b.pt")
    third = build(3)
    load_weights(third, tmp_path / "b.pt")
    assert same(first, third)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_the_prefix_of_data_parallel_is_taken_off(
    build: Build, tmp_path: Path, ending: str, wrapped: bool
) -> None:
    first, second = build(1), build(2)
    state = {f"module.{name}": value for name, value in first.state_dict().items()}
    path = tmp_path / f"w.{ending}"
    if ending == "safetensors":
        save_file(state, path)
    else:
        torch.save({"model": state} if wrapped else state, path)
    load_weights(second, path)
    assert same(first, second)


def test_a_prefix_of_some_names_alone_stays(build: Build, tmp_path: Path) -> None:
    state = build().state_dict()
    state["module.stage1.0.weight"] = state.pop("stage1.0.weight")
    torch.save(state, tmp_path / "w.pt")
    message = refused(build(), tmp_path / "w.pt")
    assert "1 unknown (first: module.stage1.0.weight)" in message


def test_a_network_that_has_the_prefix_itself_keeps_it(build: Build, tmp_path: Path) -> None:
    first, second = (nn.ModuleDict({"module": build(seed)}) for seed in (1, 2))
    save_weights(tmp_path / "w.safetensors", first)
    load_weights(second, tmp_path / "w.safetensors")
    assert same(first, second)


def test_half_precision_weights_are_taken_in_the_networks_precision(
    build: Build, tmp_path: Path
) -> None:
    first, second = build(1), build(2)
    torch.save(first.half().state_dict(), tmp_path / "w.pt")
    load_weights(second, tmp_path / "w.pt")
    found = second.classifier.weight.detach()
    assert found.dtype == torch.float32
    assert torch.equal(found, first.classifier.weight.detach().float())


def test_a_missing_file_is_named(build: Build, tmp_path: Path) -> None:
    assert "does not exist" in refused(build(), tmp_path / "none.pt")
    (tmp_path / "folder.pt").mkdir()
    assert "does not exist" in refused(build(), tmp_path / "folder.pt")


def test_a_wrong_ending_is_named(build: Build, tmp_path: Path) -> None:
    path = tmp_path / "w.h5"
    path.write_bytes(b"x")
    assert "'.h5'" in refused(build(), path)


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_a_truncated_file_is_damaged(
    build: Build, tmp_path: Path, ending: str, share: float
) -> None:
    path = tmp_path / f"w.{ending}"
    if ending == "pt":
        torch.save(build().state_dict(), path)
    else:
        save_weights(path, build())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "damaged" in refused(build(), path)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_random_bytes_are_damaged(build: Build, tmp_path: Path, ending: str, seed: int) -> None:
    path = tmp_path / f"w.{ending}"
    path.write_bytes(np.random.default_rng(seed).bytes(200))
    assert "damaged" in refused(build(), path)


@pytest.mark.parametrize("text", ["<html>404</html>", "version https://git-lfs.github.com/spec/v1"])
@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_a_text_in_place_of_weights_is_damaged(
    build: Build, tmp_path: Path, ending: str, text: str
) -> None:
    path = tmp_path / f"w.{ending}"
    path.write_text(text)
    assert "damaged" in refused(build(), path)


class Malicious:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_a_file_with_code_is_refused_and_the_code_does_not_run(
    build: Build, tmp_path: Path, form: str
) -> None:
    path, marker = tmp_path / "w.pt", tmp_path / "ran"
    state = {**build().state_dict(), "extra": Malicious(marker)}
    if form == "torch":
        torch.save(state, path)
        torch.load(path, weights_only=False)
    else:
        path.write_bytes(pickle.dumps(Malicious(marker), protocol=2))
        pickle.loads(path.read_bytes())
    assert marker.exists(), "the file is meant to be able to run code"
    marker.unlink()
    message = refused(build(), path)
    assert not marker.exists()
    assert "could run code" in message
    assert ".safetensors" in message


def test_a_whole_pickled_network_is_refused(build: Build, tmp_path: Path) -> None:
    torch.save(build(), tmp_path / "w.pt")
    assert "state_dict" in refused(build(), tmp_path / "w.pt")


@pytest.mark.parametrize(
    "content", [[1, 2], {"epoch": 3}, torch.zeros(3), {"state_dict": {"a": 1}}, None], ids=str
)
def test_other_contents_are_no_state_dict(build: Build, tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "w.pt")
    assert "does not hold a state dict" in refused(build(), tmp_path / "w.pt")


def test_another_number_of_classes_is_told_apart(build: Build, tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", build(classes=100))
    message = refused(build(), tmp_path / "w.safetensors")
    assert "for 100 classes" in message
    assert "has 10" in message


def test_a_layer_that_is_no_head_is_not_taken_for_one(tmp_path: Path) -> None:
    def make(units: int, classes: int, last: nn.Module) -> nn.Module:
        return nn.Sequential(nn.Linear(4, units), nn.Linear(units, classes), last)

    path = tmp_path / "w.safetensors"
    save_weights(path, make(3, 10, nn.Identity()))
    assert "for 10 classes, the benchmark has 7" in refused(make(3, 7, nn.Identity()), path)
    assert "of other shape" in refused(make(5, 10, nn.Identity()), path)
    # A head that is not last in the state dict, and a last tensor without dimensions.
    save_weights(path, make(3, 10, nn.BatchNorm2d(2)))
    assert "for 10 classes, the benchmark has 7" in refused(make(3, 7, nn.BatchNorm2d(2)), path)
    assert "of other shape" in refused(make(3, 10, nn.BatchNorm2d(4)), path)


def test_another_width_is_told_with_the_first_tensor(build: Build, tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", build(width=0.5))
    message = refused(build(), tmp_path / "w.safetensors")
    assert "of other shape" in message
    assert "width" in message


def test_another_architecture_is_told_with_counts(build: Build, tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", build(name="resnet8"))
    message = refused(build(), tmp_path / "w.safetensors")
    assert "missing" in message
    assert "unknown" in message
    assert "architecture" in message


def test_one_missing_and_one_unknown_tensor_are_named(build: Build, tmp_path: Path) -> None:
    state = build().state_dict()
    state["surplus"] = state.pop("stage1.0.weight")
    save_file(state, tmp_path / "w.safetensors")
    message = refused(build(), tmp_path / "w.safetensors")
    assert "1 missing (first: stage1.0.weight)" in message
    assert "1 unknown (first: surplus)" in message


def test_reading_gives_tensors_by_name(build: Build, tmp_path: Path) -> None:
    network = build()
    save_weights(tmp_path / "w.safetensors", network)
    state = read_state_dict(tmp_path / "w.safetensors")
    assert state.keys() == network.state_dict().keys()


def test_a_place_that_cannot_be_written_is_a_storage_error(build: Build, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write"):
        save_weights(tmp_path / "file" / "w.safetensors", build())
