"""Event files read back, byte by byte, against the records."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from dfkd_tune.errors import StorageError, UsageError
from dfkd_tune.records import RunFolder, append_record
from reports import export_tensorboard

POLYNOMIAL = 0x82F63B78  # of CRC-32C, reversed


def checksum(data: bytes) -> int:
    """CRC-32C as record files mask it, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (POLYNOMIAL if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def events(path: Path, *, check: bool = False) -> Iterator[Any]:
    """The events of a file; with `check`, their checksums too."""
    data = path.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        body = data[12 : 12 + length]
        if check:
            assert struct.unpack("<I", data[8:12]) == (checksum(data[:8]),)
            assert struct.unpack("<I", data[12 + length : 16 + length]) == (checksum(body),)
        yield Event.FromString(body)
        data = data[16 + length :]


def event_file(output: Path, run: RunFolder, trial: str) -> Path:
    (path,) = (output / run.path.name / trial).iterdir()
    return path


def numbers(path: Path) -> dict[tuple[int, str], float]:
    return {
        (event.step, value.tag): value.simple_value
        for event in events(path)
        for value in event.summary.value
        if value.WhichOneof("value") == "simple_value"
    }


@pytest.fixture
def events_in(tmp_path: Path) -> Path:
    """Where events are exported to."""
    return tmp_path / "events"


def test_every_number_of_every_epoch_is_there(realistic: RunFolder, events_in: Path) -> None:
    files = export_tensorboard(realistic.path, events_in)
    folders = realistic.trial_folders()
    assert (files.trials, files.epochs) == (12, sum(len(f.epochs()) for f in folders))
    for folder in folders:
        found = numbers(event_file(events_in, realistic, folder.name))
        expected: dict[tuple[int, str], float] = {}
        for epoch in folder.epochs():
            row = epoch.model_dump()
            for key in (
                "session",
                "node",
                "cohort",
                "time",
                "stage",
                "collapse_signs",
                "epoch",
                "total_epochs",
            ):
                del row[key]
            for key, value in row.items():
                inner = value if isinstance(value, dict) else {"": value}
                expected |= {
                    (epoch.epoch, f"{key}/{name}".rstrip("/")): each
                    for name, each in inner.items()
                    if each is not None
                }
        assert found == pytest.approx(expected, rel=1e-6)
        assert len(expected) > 10 * len(folder.epochs())


def test_images_times_and_searched_values(realistic: RunFolder, events_in: Path) -> None:
    export_tensorboard(realistic.path, events_in)
    folder = realistic.trial_folders()[0]
    found = list(events(event_file(events_in, realistic, folder.name), check=True))
    assert found[0].file_version == "brain.Event:2"
    images = {
        event.step: value.image
        for event in found
        for value in event.summary.value
        if value.tag == "synthetic_images"
    }
    grids = folder.image_grids()
    assert {step: image.encoded_image_string for step, image in images.items()} == {
        epoch: path.read_bytes() for epoch, path in grids.items()
    }
    assert {(image.width, image.height, image.colorspace) for image in images.values()} == {
        (80, 32, 1)
    }
    # Trial 0's first epoch ended a minute after 9:30 on 4 March 2025, UTC.
    assert next(event.wall_time for event in found if event.step == 1) == 1741080660
    hparams = [
        HParamsPluginData.FromString(value.metadata.plugin_data.content)
        for event in found
        for value in event.summary.value
        if value.metadata.plugin_data.plugin_name == "hparams"
    ]
    given = hparams[1].session_start_info.hparams
    parameters = folder.trial().parameters
    assert {key: given[key].number_value for key in given} == pytest.approx(parameters)
    assert [each.WhichOneof("data") for each in hparams] == [
        "experiment",
        "session_start_info",
        "session_end_info",
    ]


def test_again_is_the_same_and_new_epochs_are_added(realistic: RunFolder, events_in: Path) -> None:
    def export() -> Path:
        export_tensorboard(realistic.path, events_in)
        return event_file(events_in, realistic, "t0003")

    path = export()
    once, number = path.read_bytes(), path.stat().st_ino
    assert export().read_bytes() == once
    folder = realistic.trial_folder("t0003")
    last = folder.epochs()[-1]
    append_record(folder.metrics_file, last.model_copy(update={"epoch": last.epoch + 1}))
    path = export()
    assert path.read_bytes().startswith(once)
    assert (path.stat().st_ino, len(path.read_bytes()) > len(once)) == (number, True)
    assert max(step for step, _ in numbers(path)) == last.epoch + 1
    # An epoch trained again has other numbers: the file is another one.
    append_record(folder.metrics_file, last.model_copy(update={"value": 0.125}))
    path = export()
    assert numbers(path)[last.epoch, "value"] == 0.125
    # A file cut short by a crash is completed.
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    assert export().read_bytes() == whole


def test_what_was_exported_of_an_earlier_run_of_that_name_goes(
    realistic: RunFolder, events_in: Path
) -> None:
    folder = events_in / realistic.path.name
    ours, other = (
        folder / "t0099" / f"events.out.tfevents.12{end}" for end in (".dfkd-tune", ".host")
    )
    ours.parent.mkdir(parents=True, exist_ok=True)
    for path in (ours, other):
        path.write_bytes(b"")
    export_tensorboard(realistic.path, events_in)
    assert (ours.exists(), other.exists()) == (False, True)


def test_a_damaged_trial_is_exported_as_far_as_it_can_be_read(
    realistic: RunFolder, events_in: Path
) -> None:
    folder = realistic.trial_folder("t0000")
    folder.trial_file.write_text("{")
    export_tensorboard(realistic.path, events_in)
    found = numbers(event_file(events_in, realistic, "t0000"))
    assert {step for step, _ in found} == {epoch.epoch for epoch in folder.epochs()}


def test_an_output_that_is_a_file_is_one_line(realistic: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        export_tensorboard(realistic.path, tmp_path / "taken")


def test_the_run_folder_itself_is_no_output(realistic: RunFolder) -> None:
    for output in (realistic.path.parent, realistic.path, realistic.path / "trials"):
        with pytest.raises(UsageError, match="lies in the run folder itself"):
            export_tensorboard(realistic.path, output)
