"""One trial from its folder: what it records, in which order, and when it stops writing."""

from typing import Any

import pytest

from dfkd_tune.benchmarks import get_benchmark
from dfkd_tune.checkpoints import CheckpointStore
from dfkd_tune.classifiers import NetworkConfig, build_classifier
from dfkd_tune.distillation import DistillationConfig, configuration_hash
from dfkd_tune.evaluation import predict_stored, student_scores
from dfkd_tune.records import (
    EpochRecord,
    RunFolder,
    TrialFolder,
    write_record,
)
from trainables import (
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
    assert folder.status().state == "complete"
    assert folder.status().restores == ()
    assert sorted(folder.image_grids()) == [1, 3, 6]
    assert [p.name for p in sorted(folder.checkpoints.iterdir())] == [
        "epoch_000002",
        "epoch_000004",
    ]


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
