"""One trial from its folder: what it records, in which order, and when it stops writing."""

import socket
import threading
import time
from typing import Any

import pytest

from dfkd_tune.benchmarks import get_benchmark
from dfkd_tune.checkpoints import CheckpointStore
from dfkd_tune.classifiers import NetworkConfig, build_classifier
from dfkd_tune.distillation import DistillationConfig, configuration_hash
from dfkd_tune.errors import CheckpointError
from dfkd_tune.evaluation import predict_stored, student_scores
from dfkd_tune.records import (
    EpochRecord,
    Parent,
    RunFolder,
    TrialFolder,
    write_record,
)
from search_spaces import with_values
from trainables import (
    PAUSED,
    SavingConfig,
    SupersededError,
    card_network,
    load_network,
    run_trial,
    student_size,
)

EPOCHS = 6


def train(run: RunFolder, saving: SavingConfig, **options: Any) -> TrialFolder:
    run_trial(run, "t0000", session="mine", saving=saving, **options)
    return run.trial_folder("t0000")


def test_a_trial_records_all_that_the_contract_names(run: RunFolder) -> None:
    folder = train(run, SavingConfig(checkpoint_every=2, images_every=3))
    epochs = folder.epochs()
    assert [e.epoch for e in epochs] == list(range(1, EPOCHS + 1))
    last = epochs[-1]
    assert last.student_steps == 36
    assert last.generator_steps == 18
    assert set(last.losses) == {
        "generator/preset_label",
        "generator/bn_statistics",
        "student/kd",
        "student/preset_label",
        "student/attention_transfer",
    }
    assert set(last.validation) == {"accuracy", "agreement", "kl"}
    assert last.seconds.total >= last.seconds.synthesis + last.seconds.student > 0
    assert last.images_per_second > 0
    assert last.peak_memory_mib > 0
    assert {epoch.node for epoch in epochs} == {socket.gethostname()}
    assert folder.status().state == "complete"
    assert folder.status().restores == ()
    assert sorted(folder.image_grids()) == [1, 3, 6]
    assert [p.name for p in sorted(folder.checkpoints.iterdir())] == [
        "epoch_000002",
        "epoch_000004",
    ]


def test_training_goes_on_while_a_checkpoint_is_written(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one is held up until the search has heard of its epoch: written before, never."""
    heard = threading.Event()
    saved: list[int] = []
    save = CheckpointStore.save

    def held_up(store: CheckpointStore, epoch: int, state: Any) -> Any:
        assert heard.wait(60)
        saved.append(epoch)
        return save(store, epoch, state)

    def on_epoch(record: EpochRecord) -> None:
        if record.epoch == 1:
            assert saved == []
            heard.set()

    monkeypatch.setattr(CheckpointStore, "save", held_up)
    assert train(run, SavingConfig(), on_epoch=on_epoch).status().state == "complete"
    assert saved == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("ends", ["by an error", "by a pause"])
def test_what_is_being_written_is_there_when_a_trial_ends(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    save = CheckpointStore.save

    def slowly(store: CheckpointStore, epoch: int, state: Any) -> Any:
        time.sleep(0.3)
        return save(store, epoch, state)

    def on_epoch(record: EpochRecord) -> None:
        written = run.trial_folder("t0000").checkpoints / "epoch_000003"
        if record.epoch == 3 and ends == "by an error":
            raise ArithmeticError("by a test")
        if record.epoch == 3:
            # Before the search hears of the pause: another trial may begin from it.
            assert written.exists()

    monkeypatch.setattr(CheckpointStore, "save", slowly)
    if ends == "by an error":
        with pytest.raises(ArithmeticError):
            train(run, SavingConfig(), on_epoch=on_epoch)
    else:
        train(run, SavingConfig(), until_epoch=3, on_epoch=on_epoch)
    names = sorted(path.name for path in run.trial_folder("t0000").checkpoints.iterdir())
    assert names == ["epoch_000002", "epoch_000003"]


def test_the_saved_student_has_the_recorded_scores(run: RunFolder) -> None:
    folder = train(run, SavingConfig())
    benchmark = get_benchmark("digits")
    config = DistillationConfig.model_validate(folder.trial().configuration)
    student = load_network(config.student, benchmark.inputs, folder.student_weights)
    card = run.teacher_card()
    assert card is not None
    teacher = load_network(card_network(card), benchmark.inputs, run.teacher_weights)
    data = benchmark.load("validation")
    student_logits, teacher_logits = (
        predict_stored(net, data.images, benchmark.inputs) for net in (student, teacher)
    )
    last = folder.epochs()[-1]
    assert last.validation == student_scores(student_logits, teacher_logits, data.labels)
    assert last.value == last.validation["accuracy"]


def test_an_epoch_is_on_disk_before_anyone_hears_of_it(run: RunFolder) -> None:
    folder = run.trial_folder("t0000")

    def on_epoch(record: EpochRecord) -> None:
        assert folder.epochs()[-1] == record
        complete = folder.status().state == "complete"
        assert complete == (record.epoch == EPOCHS)
        assert folder.student_weights.exists() == complete

    train(run, SavingConfig(), on_epoch=on_epoch)


def test_evaluation_may_be_rarer_but_never_misses_the_last_epoch(run: RunFolder) -> None:
    folder = train(run, SavingConfig(evaluate_every=4))
    assert [e.epoch for e in folder.epochs() if e.validation] == [4, 6]


def test_another_start_of_the_command_ends_this_one_without_a_word(run: RunFolder) -> None:
    folder = run.trial_folder("t0000")

    def take_over(record: EpochRecord) -> None:
        if record.epoch == 2:
            other = run.run().model_copy(update={"session": "other"})
            write_record(run.run_file, other)

    with pytest.raises(SupersededError):
        train(run, SavingConfig(), on_epoch=take_over)
    assert [e.epoch for e in folder.epochs()] == [1, 2]
    assert folder.status().state == "running"
    assert folder.status().error is None


def test_an_interrupted_trial_ends_in_the_same_weights(run: RunFolder) -> None:
    class CutError(Exception):
        pass

    def cut(record: EpochRecord) -> None:
        if record.epoch == 5:
            raise CutError

    folder = run.trial_folder("t0000")
    with pytest.raises(CutError):
        train(run, SavingConfig(checkpoint_every=2), on_epoch=cut)
    status = folder.status()
    assert status.error is not None
    assert status.error.type == "CutError"
    train(run, SavingConfig(checkpoint_every=2))
    cut_short = folder.student_weights.read_bytes(), folder.epochs()[-1].validation
    status = folder.status()
    assert status.state == "complete"
    assert status.error is None
    assert [r.from_epoch for r in status.restores] == [4]

    for path in (*folder.checkpoints.iterdir(),):
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    folder.metrics_file.unlink()
    train(run, SavingConfig())
    assert (folder.student_weights.read_bytes(), folder.epochs()[-1].validation) == cut_short


def test_a_checkpoint_of_another_configuration_is_an_error(run: RunFolder) -> None:
    folder = run.trial_folder("t0000")
    other = DistillationConfig.model_validate({**folder.trial().configuration, "seed": 99})
    CheckpointStore(folder.checkpoints, configuration_hash(other)).save(2, {"epoch": 2})
    with pytest.raises(Exception, match="written for another configuration"):
        train(run, SavingConfig())


def test_a_size_is_that_of_the_network() -> None:
    inputs = get_benchmark("digits").inputs
    config = NetworkConfig(architecture="convnet", width=0.5)
    network = build_classifier(config, inputs, seed=3)
    size = student_size(config, inputs)
    assert size.parameters == sum(p.numel() for p in network.parameters())


def pause(run: RunFolder, until_epoch: int) -> TrialFolder:
    saving = SavingConfig(checkpoint_every=4)
    assert not run_trial(run, "t0000", session="mine", saving=saving, until_epoch=until_epoch)
    return run.trial_folder("t0000")


def child_of(run: RunFolder, changes: dict[str, Any]) -> TrialFolder:
    """A trial that begins from the pause of `t0000` at its third epoch."""
    record = run.trial_folder("t0000").trial()
    config = DistillationConfig.model_validate(record.configuration)
    parent_store = CheckpointStore(
        run.trial_folder("t0000").checkpoints, configuration_hash(config)
    )
    changed = with_values(config, changes)
    folder = run.trial_folder("t0001")
    CheckpointStore(folder.checkpoints, configuration_hash(changed)).take_over(parent_store, 3)
    folder.set_status("running", reason="waiting to start")
    parent = Parent(trial="t0000", epoch=3, student_steps=18, place_of="t0002")
    update = {"trial": "t0001", "number": 1, "parent": parent}
    update["configuration"] = changed.model_dump(mode="json")
    write_record(folder.trial_file, record.model_copy(update=update))
    return folder


def test_a_trial_that_pauses_ends_as_one_that_never_did(run: RunFolder) -> None:
    """Its checkpoint is of the pause, however rare checkpoints are; and it is no interruption."""
    folder = pause(run, 3)
    assert [e.epoch for e in folder.epochs()] == [1, 2, 3]
    assert (folder.status().state, folder.status().reason) == ("running", PAUSED)
    assert [p.name for p in folder.checkpoints.iterdir()] == ["epoch_000003"]
    child = child_of(run, {})
    saving = SavingConfig(checkpoint_every=4)
    # The last epoch is no pause.
    assert run_trial(run, "t0000", session="mine", saving=saving, until_epoch=EPOCHS)
    assert folder.status().state == "complete"
    assert [e.epoch for e in folder.epochs()] == list(range(1, EPOCHS + 1))
    assert folder.status().restores == ()
    # A child that nothing was changed for is its parent, to the byte.
    assert run_trial(run, "t0001", session="mine", saving=saving)
    assert child.student_weights.read_bytes() == folder.student_weights.read_bytes()
    assert [e.epoch for e in child.epochs()] == [4, 5, 6]
    assert [e.losses for e in child.epochs()] == [e.losses for e in folder.epochs()[3:]]
    assert child.epochs()[0].student_steps == 24
    assert child.status().restores == ()


def test_a_child_trains_by_its_own_weights_and_rates(run: RunFolder) -> None:
    pause(run, 3)
    changes = {
        "student_optimiser.learning_rate": 0.05,
        "generator_optimiser.learning_rate": 2e-3,
        "student_objective.preset_label.weight": 0.25,
    }
    child = child_of(run, changes)
    saving = SavingConfig()
    run_trial(run, "t0000", session="mine", saving=saving)
    run_trial(run, "t0001", session="mine", saving=saving)
    theirs, ours = run.trial_folder("t0000").epochs()[3], child.epochs()[0]
    assert ours.epoch == theirs.epoch == 4
    # The cosine of both is where the parent's was; its peak is the child's own.
    before, after = (e.learning_rates["student"] for e in (theirs, ours))
    assert after == pytest.approx(before * 0.05 / 0.1)
    assert ours.learning_rates["generator"] == 2e-3
    before, after = (e.losses["student/preset_label"] for e in (theirs, ours))
    assert after < 0.75 * before


def test_a_child_without_a_readable_checkpoint_fails_and_says_so(run: RunFolder) -> None:
    """From scratch it would be another trial under its name."""
    pause(run, 3)
    child = child_of(run, {})
    (child.checkpoints / "epoch_000003" / "state.pt").write_bytes(b"broken")
    with pytest.raises(CheckpointError, match="begins from t0000 at epoch 3"):
        run_trial(run, "t0001", session="mine", saving=SavingConfig())
    assert child.epochs() == []
    error = child.status().error
    assert error is not None
    assert error.type == "CheckpointError"


def test_a_pause_at_an_older_checkpoint_is_an_interruption(run: RunFolder) -> None:
    """Where the checkpoint of the pause is lost, epochs are trained again, and that is said."""
    folder = run.trial_folder("t0000")
    run_trial(run, "t0000", session="mine", saving=SavingConfig(), until_epoch=3)
    (folder.checkpoints / "epoch_000003" / "state.pt").write_bytes(b"broken")
    run_trial(run, "t0000", session="mine", saving=SavingConfig())
    (restore,) = folder.status().restores
    assert restore.from_epoch == 2
    assert "unreadable" in restore.note
    assert folder.status().state == "complete"
