"""Checkpoints: the two newest, never half a one, never code."""

import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dfkd_tune.checkpoints import CheckpointStore
from dfkd_tune.distillation import DistillationConfig, State, configuration_hash
from dfkd_tune.errors import CheckpointError, StorageError

Make = Callable[..., DistillationConfig]


def state_of(epoch: int) -> State:
    return {"epoch": epoch, "student": {"weight": torch.full((500,), float(epoch))}}


@pytest.fixture
def store(tmp_path: Path, make_config: Make) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints", configuration_hash(make_config()))


@pytest.fixture
def filled(store: CheckpointStore) -> CheckpointStore:
    """A store with epochs 4 and 5."""
    for epoch in (4, 5):
        store.save(epoch, state_of(epoch))
    return store


def names(store: CheckpointStore) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir())


def test_an_empty_store_restores_nothing_and_makes_no_folder(store: CheckpointStore) -> None:
    restored = store.load_newest()
    assert (restored.state, restored.epoch, restored.passed_over) == (None, 0, ())
    assert not store.folder.exists()


def test_exactly_the_two_newest_are_kept(store: CheckpointStore) -> None:
    for epoch in (1, 2, 9, 10, 100):
        path = store.save(epoch, state_of(epoch))
        assert path.is_dir()
    assert names(store) == ["epoch_000010", "epoch_000100"]
    assert [path.name for path in store.paths()] == ["epoch_000010", "epoch_000100"]


def test_the_newest_is_restored(filled: CheckpointStore) -> None:
    restored = filled.load_newest()
    assert restored.epoch == 5
    assert restored.passed_over == ()
    assert restored.state is not None
    assert torch.equal(restored.state["student"]["weight"], torch.full((500,), 5.0))


def test_saving_an_epoch_again_replaces_it(filled: CheckpointStore) -> None:
    filled.save(5, {"epoch": 5, "again": True})
    assert names(filled) == ["epoch_000004", "epoch_000005"]
    assert filled.load_newest().state == {"epoch": 5, "again": True}


def test_a_whole_run_comes_back_bit_for_bit(
    store: CheckpointStore,
    make_config: Make,
    record: Callable[..., Any],
    teacher: nn.Module,
    differences: Callable[[Any, Any], list[str]],
) -> None:
    state = record(make_config(image_bank={"size": 9}), teacher).state(2)
    store.save(2, state)
    assert differences(store.load_newest().state, state) == []


def truncate(path: Path) -> None:
    content = (path / "state.pt").read_bytes()
    (path / "state.pt").write_bytes(content[: len(content) // 2])


def empty(path: Path) -> None:
    (path / "state.pt").write_bytes(b"")


def flip(path: Path) -> None:
    content = bytearray((path / "state.pt").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (path / "state.pt").write_bytes(content)


def meta(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        value = json.loads((path / "meta.json").read_text())
        (path / "meta.json").write_text(json.dumps(change(value)))

    return damage


DAMAGES: dict[str, Callable[[Path], None]] = {
    "state truncated": truncate,
    "state empty": empty,
    "state flipped": flip,
    "state missing": lambda path: (path / "state.pt").unlink(),
    "meta missing": lambda path: (path / "meta.json").unlink(),
    "meta empty": lambda path: (path / "meta.json").write_text("") and None,
    "meta half": lambda path: (path / "meta.json").write_text('{"epoch": 5, "conf') and None,
    "meta binary": lambda path: (path / "meta.json").write_bytes(b"\xff\xfe\x00") and None,
    "meta a list": lambda path: (path / "meta.json").write_text("[]") and None,
    "meta without hash": meta(lambda v: {k: v[k] for k in v if k != "state_sha256"}),
    "meta without epoch": meta(lambda v: {k: v[k] for k in v if k != "epoch"}),
    "meta with another hash": meta(lambda v: {**v, "state_sha256": "0" * 64}),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_is_passed_over_with_a_word_about_it(
    filled: CheckpointStore, damage: str
) -> None:
    DAMAGES[damage](filled.folder / "epoch_000005")
    restored = filled.load_newest()
    assert restored.epoch == 4
    assert restored.state is not None
    assert torch.equal(restored.state["student"]["weight"], torch.full((500,), 4.0))
    (line,) = restored.passed_over
    assert "epoch_000005" in line
    assert "\n" not in line


@pytest.mark.parametrize("damage", DAMAGES)
def test_two_damaged_checkpoints_start_from_nothing(filled: CheckpointStore, damage: str) -> None:
    for path in filled.paths():
        DAMAGES[damage](path)
    restored = filled.load_newest()
    assert (restored.state, restored.epoch) == (None, 0)
    assert [line.split()[1] for line in restored.passed_over] == ["epoch_000005", "epoch_000004"]


def test_a_store_goes_on_after_damage(filled: CheckpointStore) -> None:
    truncate(filled.folder / "epoch_000005")
    filled.save(5, state_of(5))
    assert filled.load_newest().passed_over == ()
    assert filled.load_newest().epoch == 5


def test_a_checkpoint_of_another_configuration_is_refused(
    filled: CheckpointStore, make_config: Make
) -> None:
    other = CheckpointStore(filled.folder, configuration_hash(make_config(seed=99)))
    with pytest.raises(CheckpointError, match="another configuration") as caught:
        other.load_newest()
    assert str(filled.folder) in str(caught.value)


def test_a_half_written_checkpoint_is_ignored(filled: CheckpointStore) -> None:
    partial = filled.folder / ".epoch_000006.partial"
    partial.mkdir()
    (partial / "state.pt").write_bytes(b"half")
    restored = filled.load_newest()
    assert (restored.epoch, restored.passed_over) == (5, ())
    filled.save(6, state_of(6))
    assert names(filled) == ["epoch_000005", "epoch_000006"]
    assert filled.load_newest().epoch == 6


class Malicious:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_a_checkpoint_cannot_run_code(filled: CheckpointStore, tmp_path: Path, form: str) -> None:
    marker = tmp_path / "ran"
    newest = filled.folder / "epoch_000005"
    evil = {"epoch": 5, "student": Malicious(marker)}
    if form == "torch":
        torch.save(evil, newest / "state.pt")
    else:
        (newest / "state.pt").write_bytes(pickle.dumps(evil, protocol=2))
    digest = hashlib.sha256((newest / "state.pt").read_bytes()).hexdigest()
    meta(lambda value: {**value, "state_sha256": digest})(newest)
    if form == "torch":
        torch.load(newest / "state.pt", weights_only=False)
    else:
        pickle.loads((newest / "state.pt").read_bytes())
    assert marker.exists(), "the file is meant to be able to run code"
    marker.unlink()

    restored = filled.load_newest()
    assert not marker.exists()
    assert restored.epoch == 4
    assert len(restored.passed_over) == 1


def test_a_state_that_a_checkpoint_could_not_give_back_is_not_loaded(
    filled: CheckpointStore,
) -> None:
    """What was saved with code in it is refused at loading, not run."""
    filled.save(6, {"epoch": 6, "path": Path("somewhere")})
    assert filled.load_newest().epoch == 5


def test_a_folder_that_cannot_be_written_is_a_storage_error(
    tmp_path: Path, make_config: Make
) -> None:
    (tmp_path / "file").write_text("in the way")
    store = CheckpointStore(tmp_path / "file" / "checkpoints", configuration_hash(make_config()))
    with pytest.raises(StorageError, match=r"cannot write .*epoch_000001"):
        store.save(1, state_of(1))
