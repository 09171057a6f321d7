"""From image files to one array: geometry, conversion, the cache, and what cannot be read."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dfkd_tune.benchmarks import BenchmarkConfig, _decoding, open_benchmark
from dfkd_tune.benchmarks._decoding import (
    cache_folder,
    decode,
    decode_file,
    decoded_parts,
    modes,
    resized,
)
from dfkd_tune.benchmarks._sources import ImageArray, ImageFiles
from dfkd_tune.errors import DataError, StorageError

Write = Callable[..., np.ndarray]


def files(root: Path, *names: str, **fields: object) -> ImageFiles:
    return ImageFiles(root=root, paths=names, **fields)  # type: ignore[arg-type]


# ------------------------------------------------------------------ geometry


def test_an_image_of_the_right_size_stays_as_it_is(tmp_path: Path, write_image: Write) -> None:
    pixels = write_image(tmp_path / "a.png", size=(6, 5))
    for resize in ("crop", "squash"):
        found = decode(files(tmp_path, "a.png"), 3, 6, 5, resize)  # type: ignore[arg-type]
        assert found.dtype == torch.uint8
        assert np.array_equal(found[0].numpy(), pixels.transpose(2, 0, 1))


def stripes() -> np.ndarray:
    """Three vertical stripes, 0, 100 and 200, of 16 columns each; `(16, 48, 3)`."""
    return np.repeat(np.repeat([0, 100, 200], 16)[None, :, None], 16, 0).repeat(3, 2).astype("u1")


def test_crop_cuts_the_centre_out(tmp_path: Path, write_image: Write) -> None:
    write_image(tmp_path / "a.png", pixels=stripes())
    found = decode(files(tmp_path, "a.png"), 3, 8, 8, "crop")[0]
    assert found.shape == (3, 8, 8)
    # Only the middle third is seen, but for what antialiasing takes from beside it.
    assert found[:, :, 1:-1].unique().tolist() == [100]
    assert (found.double() - 100).abs().max() < 15


def test_squash_shows_everything(tmp_path: Path, write_image: Write) -> None:
    write_image(tmp_path / "a.png", pixels=stripes())
    found = decode(files(tmp_path, "a.png"), 3, 4, 12, "squash")[0, 0]
    assert found[0, [0, 1, 2]].tolist() == [0, 0, 0]
    assert found[0, [5, 6]].tolist() == [100, 100]
    assert found[0, [9, 10, 11]].tolist() == [200, 200, 200]
    square = decode(files(tmp_path, "a.png"), 3, 9, 9, "squash")[0, 0, 0]
    assert (square[0], square[4], square[8]) == (0, 100, 200)


@pytest.mark.parametrize("size", [(40, 90), (90, 40), (40, 40), (13, 17)])
@pytest.mark.parametrize("target", [(8, 8), (8, 12), (30, 20)])
def test_crop_keeps_shapes(size: tuple[int, int], target: tuple[int, int]) -> None:
    """A linear ramp is sampled at the centres of the cut-out's pixels."""
    height, width = size
    scale = min(height / target[0], width / target[1])
    for axis, length in enumerate(size):
        ramp = np.mgrid[:height, :width][axis] + 0.5
        found = np.asarray(resized(Image.fromarray(ramp.astype(np.float32)), *target, "crop"))
        assert found.shape == target
        places = np.mgrid[: target[0], : target[1]][axis] + 0.5
        expected = length / 2 + scale * (places - target[axis] / 2)
        assert np.abs(found - expected)[2:-2, 2:-2].max() < 0.1 * scale


def test_crop_is_resize_of_the_shorter_side_and_centre_crop(
    tmp_path: Path, write_image: Write
) -> None:
    write_image(tmp_path / "a.png", size=(64, 96))
    with Image.open(tmp_path / "a.png") as image:
        whole = image.resize((48, 32), Image.Resampling.BILINEAR).crop((8, 0, 40, 32))
    found = decode(files(tmp_path, "a.png"), 3, 32, 32, "crop")[0].numpy().transpose(1, 2, 0)
    assert np.abs(found.astype(int) - np.asarray(whole)).max() <= 1


def test_a_box_is_cut_out_first(tmp_path: Path, write_image: Write) -> None:
    pixels = write_image(tmp_path / "a.png", size=(20, 30))
    source = files(tmp_path, "a.png", boxes=((4.0, 2.0, 14.0, 8.0),))
    found = decode(source, 3, 6, 10, "crop")[0].numpy()
    assert np.array_equal(found, pixels[2:8, 4:14].transpose(2, 0, 1))


# ------------------------------------------------------------------ kinds of images


def test_grey_becomes_colour_and_colour_grey(tmp_path: Path, write_image: Write) -> None:
    grey = write_image(tmp_path / "grey.png", mode="L")
    found, mode = decode_file(tmp_path / "grey.png", None, 3, 6, 5, "crop")
    assert mode == "L"
    assert np.array_equal(found, np.stack([grey] * 3))
    colour = write_image(tmp_path / "colour.png", 1).astype(float)
    found, mode = decode_file(tmp_path / "colour.png", None, 1, 6, 5, "crop")
    assert mode == "RGB"
    # ITU-R 601-2 luma.
    assert np.abs(found[0] - colour @ [0.299, 0.587, 0.114]).max() < 1


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_transparent_is_laid_on_white(tmp_path: Path, channels: int) -> None:
    pixels = np.zeros((2, 3, 4), np.uint8)
    pixels[:, :, 3] = (0, 128, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found, mode = decode_file(tmp_path / "a.png", None, channels, 2, 3, "crop")
    assert mode == "RGBA"
    assert np.array_equal(found, np.broadcast_to([255, 127, 0], (channels, 2, 3)))


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    image.save(tmp_path / "a.png")
    found, mode = decode_file(tmp_path / "a.png", None, 3, 1, 2, "crop")
    assert mode == "P"
    assert found[:, 0].T.tolist() == [[10, 20, 30], [200, 100, 50]]
    image.save(tmp_path / "b.png", transparency=1)
    found, _ = decode_file(tmp_path / "b.png", None, 3, 1, 2, "crop")
    assert found[:, 0].T.tolist() == [[10, 20, 30], [255, 255, 255]]


def test_black_and_white_becomes_either(tmp_path: Path) -> None:
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "a.png")
    for channels in (1, 3):
        found, mode = decode_file(tmp_path / "a.png", None, channels, 1, 2, "crop")
        assert mode == "1"
        assert found[:, 0].tolist() == [[255, 0]] * channels


def test_cmyk_becomes_colour(tmp_path: Path) -> None:
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    found, mode = decode_file(tmp_path / "a.jpg", None, 3, 4, 4, "crop")
    assert mode == "CMYK"
    assert found[0].min() > 200
    assert found[1:].max() < 60


def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path) -> None:
    values = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    found, mode = decode_file(tmp_path / "a.png", None, 1, 1, 6, "crop")
    assert mode.startswith("I")
    assert found[0, 0].tolist() == [0, 0, 1, 1, 128, 255]


@pytest.mark.parametrize("values", [np.ones((2, 2), np.float32), np.full((2, 2), 70000, np.int32)])
def test_pixels_of_unknown_range_are_refused(tmp_path: Path, values: np.ndarray) -> None:
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif \(its pixels are neither of 8 nor of 16 bits\)"):
        decode_file(tmp_path / "a.tif", None, 3, 2, 2, "crop")


def test_conversion_is_said_once(tree: Callable[..., Path], write_image: Write) -> None:
    root = tree()
    write_image(root / "train" / "ant" / "000.png", mode="L")
    write_image(root / "train" / "bee" / "001.png", mode="RGBA")
    config = {"name": "own", "labelled": root, "input": {"size": 4, "mean": [0.5] * 3}}
    config["input"]["std"] = [0.5] * 3  # type: ignore[index]
    notes = open_benchmark(BenchmarkConfig.model_validate(config)).notes
    assert notes == (
        "images of the kind L, RGBA are converted to colour (RGB); what is transparent is laid on "
        "white",
    )


def test_images_of_the_right_kind_need_no_note(tree: Callable[..., Path]) -> None:
    for name, mode, channels in (("a", "RGB", 3), ("b", "L", 1)):
        config = {"name": name, "labelled": tree(name, mode=mode)}
        config["input"] = {"size": 4, "channels": channels}
        assert open_benchmark(BenchmarkConfig.model_validate(config)).notes == ()


def test_arrays_are_converted_and_fitted_too() -> None:
    random = np.random.default_rng(0)
    grey = random.integers(0, 256, (4, 1, 8, 8), dtype=np.uint8)
    assert np.array_equal(
        decode(ImageArray(images=grey), 3, 8, 8, "crop").numpy(), grey.repeat(3, axis=1)
    )
    colour = random.integers(0, 256, (4, 3, 8, 12), dtype=np.uint8)
    found = decode(ImageArray(images=colour), 1, 8, 12, "crop").numpy()[:, 0]
    expected = np.tensordot([0.299, 0.587, 0.114], colour, (0, 1))
    assert np.abs(found - expected).max() < 1
    small = decode(ImageArray(images=colour), 3, 4, 4, "crop")
    assert small.shape == (4, 3, 4, 4)
    for image, array in zip(small.numpy(), colour, strict=True):
        whole = Image.fromarray(array.transpose(1, 2, 0))
        assert np.array_equal(image, np.asarray(resized(whole, 4, 4, "crop")).transpose(2, 0, 1))


# ------------------------------------------------------------------ the cache


def cached(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.exists() else []


def state(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns


@pytest.fixture
def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every file that is decoded from now on."""
    decoded: list[Path] = []

    def counted(path: Path, *rest: object) -> tuple[np.ndarray, str]:
        decoded.append(path)
        return decode_file(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(_decoding, "decode_file", counted)
    return decoded


def test_the_second_call_does_not_decode_again(
    tmp_path: Path, cache: Path, write_image: Write, count_decoded: list[Path]
) -> None:
    names = [f"{index}.png" for index in range(5)]
    for index, name in enumerate(names):
        write_image(tmp_path / name, index)
    source = files(tmp_path, *names)
    first = decode(source, 3, 4, 4, "crop")
    (file,) = cached(cache)
    before = state(file)
    assert len(count_decoded) == 5
    second = decode(source, 3, 4, 4, "crop")
    assert torch.equal(first, second)
    assert cached(cache) == [file]
    assert state(file) == before
    assert len(count_decoded) == 5


def test_writing_into_the_images_leaves_the_cache_alone(tmp_path: Path, write_image: Write) -> None:
    write_image(tmp_path / "a.png")
    source = files(tmp_path, "a.png")
    first = decode(source, 3, 4, 4, "crop")
    kept = first.clone()
    first.zero_()
    assert torch.equal(decode(source, 3, 4, 4, "crop"), kept)


def test_a_changed_file_is_decoded_again(tmp_path: Path, cache: Path, write_image: Write) -> None:
    write_image(tmp_path / "a.png", 0)
    source = files(tmp_path, "a.png")
    before = decode(source, 3, 6, 5, "crop").clone()
    pixels = write_image(tmp_path / "a.png", 1)
    # Clocks of file systems are coarse.
    os.utime(tmp_path / "a.png", ns=(1, 1))
    after = decode(source, 3, 6, 5, "crop")
    assert not torch.equal(before, after)
    assert np.array_equal(after[0].numpy(), pixels.transpose(2, 0, 1))
    assert len(cached(cache)) == 2


def test_another_shape_or_way_of_fitting_is_another_file(
    tmp_path: Path, cache: Path, write_image: Write
) -> None:
    write_image(tmp_path / "a.png", size=(12, 16))
    source = files(tmp_path, "a.png")
    boxed = files(tmp_path, "a.png", boxes=((0.0, 0.0, 8.0, 8.0),))
    decode(source, 3, 4, 4, "crop")
    decode(source, 3, 4, 4, "squash")
    decode(source, 1, 4, 4, "crop")
    decode(source, 3, 4, 5, "crop")
    decode(boxed, 3, 4, 4, "crop")
    assert len(cached(cache)) == 5


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"anything else"])
def test_a_damaged_cache_file_is_made_again(
    tmp_path: Path, cache: Path, write_image: Write, damage: bytes
) -> None:
    write_image(tmp_path / "a.png")
    source = files(tmp_path, "a.png")
    expected = decode(source, 3, 4, 4, "crop").clone()
    (file,) = cached(cache)
    file.write_bytes(damage)
    assert torch.equal(decode(source, 3, 4, 4, "crop"), expected)
    file.write_bytes(file.read_bytes()[:-7])
    assert torch.equal(decode(source, 3, 4, 4, "crop"), expected)


def test_the_cache_lies_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DFKD_TUNE_CACHE", str(tmp_path / "there"))
    assert cache_folder() == tmp_path / "there"
    monkeypatch.delenv("DFKD_TUNE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "dfkd-tune"


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_image: Write
) -> None:
    write_image(tmp_path / "a.png")
    (tmp_path / "file").touch()
    monkeypatch.setenv("DFKD_TUNE_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match=r"cannot write .*set DFKD_TUNE_CACHE to another folder"):
        decode(files(tmp_path, "a.png"), 3, 4, 4, "crop")


def test_a_full_disk_is_an_error_and_no_crash(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, write_image: Write
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    write_image(tmp_path / "a.png")
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(StorageError, match="No space left on device; free space or set"):
        decode(files(tmp_path, "a.png"), 3, 4, 4, "crop")
    assert cached(cache) == []


WORKER = """
import sys, time
from pathlib import Path
from dfkd_tune.benchmarks._decoding import decode
from dfkd_tune.benchmarks._sources import ImageFiles
root, ready = Path(sys.argv[1]), Path(sys.argv[2])
source = ImageFiles(root=root, paths=tuple(sorted(path.name for path in root.iterdir())))
ready.touch()
while not (ready.parent / "go").exists():
    time.sleep(0.001)
print(int(decode(source, 3, 16, 16, "crop").long().sum()))
"""


def test_two_processes_at_once_make_the_same(
    tmp_path: Path, cache: Path, write_image: Write
) -> None:
    names = [f"{index:03}.png" for index in range(150)]
    for index, name in enumerate(names):
        write_image(tmp_path / "images" / name, index, size=(20, 20))
    ready = [tmp_path / "first", tmp_path / "second"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path / "images"), str(path)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for path in ready
    ]
    while not all(path.exists() for path in ready):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.01)
    (tmp_path / "go").touch()
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    expected = int(decode(files(tmp_path / "images", *names), 3, 16, 16, "crop").long().sum())
    assert [int(output) for output in outputs] == [expected, expected]
    (file,) = cached(cache)
    assert file.suffix == ".npy"


def test_progress_ends_with_all_images(tmp_path: Path, write_image: Write) -> None:
    names = [f"{index}.png" for index in range(5)]
    for name in names:
        write_image(tmp_path / name)
    told: list[tuple[int, int]] = []
    decode(files(tmp_path, *names), 3, 4, 4, "crop", lambda done, of: told.append((done, of)))
    assert told[-1] == (5, 5)


def test_prepare_decodes_every_split(tree: Callable[..., Path], cache: Path) -> None:
    config = {"name": "own", "labelled": tree(), "input": {"size": 4, "mean": [0.5] * 3}}
    config["input"]["std"] = [0.5] * 3  # type: ignore[index]
    benchmark = open_benchmark(BenchmarkConfig.model_validate(config))
    assert cached(cache) == []
    told: list[tuple[int, int]] = []
    benchmark.prepare(lambda done, of: told.append((done, of)))
    assert [done for done, _ in told] == [18, 2, 6]
    assert len(cached(cache)) == 3


# ------------------------------------------------------------------ without the cache


def test_parts_are_what_decode_gives_and_nothing_is_written(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, write_image: Write
) -> None:
    monkeypatch.setattr(_decoding, "_PART", 4)
    names = [f"{index}.png" for index in range(10)]
    for index, name in enumerate(names):
        write_image(tmp_path / name, index, size=(9, 8))
    boxes = tuple((0.0, 0.0, float(3 + index % 5), 6.0) for index in range(10))
    array = np.random.default_rng(0).integers(0, 256, (10, 1, 9, 8), dtype=np.uint8)
    for source in (
        files(tmp_path, *names),
        files(tmp_path, *names, boxes=boxes),
        ImageArray(images=array),
    ):
        for channels, resize in ((3, "crop"), (1, "squash")):
            parts = list(decoded_parts(source, channels, 6, 5, resize))  # type: ignore[arg-type]
            assert cached(cache) == []
            assert [part.shape for part in parts] == [(n, channels, 6, 5) for n in (4, 4, 2)]
            assert all(part.dtype == np.uint8 for part in parts)
            monkeypatch.setenv("DFKD_TUNE_CACHE", str(tmp_path / "other"))
            expected = decode(source, channels, 6, 5, resize)  # type: ignore[arg-type]
            monkeypatch.setenv("DFKD_TUNE_CACHE", str(cache))
            assert np.array_equal(np.concatenate(parts), expected.numpy())


def test_parts_are_mapped_where_a_cache_is(
    tmp_path: Path, cache: Path, write_image: Write, count_decoded: list[Path]
) -> None:
    names = [f"{index}.png" for index in range(5)]
    for index, name in enumerate(names):
        write_image(tmp_path / name, index)
    source = files(tmp_path, *names)
    expected = decode(source, 3, 4, 4, "crop").clone().numpy()
    (file,) = cached(cache)
    assert np.array_equal(np.concatenate(list(decoded_parts(source, 3, 4, 4, "crop"))), expected)
    assert len(count_decoded) == 5
    # A damaged one is passed over, and left to whoever writes.
    file.write_bytes(b"anything else")
    assert np.array_equal(np.concatenate(list(decoded_parts(source, 3, 4, 4, "crop"))), expected)
    assert len(count_decoded) == 10
    assert file.read_bytes() == b"anything else"


# ------------------------------------------------------------------ what cannot be read


def truncated_jpeg(path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    path.write_bytes(path.read_bytes()[:-600])


def test_a_truncated_jpeg_is_named(
    tmp_path: Path, cache: Path, one_line: Callable[[BaseException], str]
) -> None:
    truncated_jpeg(tmp_path / "half.jpg")
    with pytest.raises(DataError, match=r"cannot read the image .*half\.jpg \(.*truncated") as e:
        decode(files(tmp_path, "half.jpg"), 3, 4, 4, "crop")
    assert "mend or remove it" in one_line(e.value)
    # Nothing half-done stays.
    assert cached(cache) == []


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tif", "bmp", "ppm"])
@pytest.mark.parametrize("content", [b"", b"no image at all, but some bytes" * 40])
def test_an_unreadable_image_is_named(
    tmp_path: Path, ending: str, content: bytes, one_line: Callable[[BaseException], str]
) -> None:
    (tmp_path / f"bad.{ending}").write_bytes(content)
    source = files(tmp_path, f"bad.{ending}")
    for read in (lambda: decode(source, 3, 4, 4, "crop"), lambda: modes(source)):
        with pytest.raises(DataError, match=rf"bad\.{ending} \(no image\); mend") as caught:
            read()
        one_line(caught.value)


@pytest.mark.parametrize("ending", ["png", "webp", "tif", "bmp", "ppm"])
def test_a_cut_image_of_any_kind_is_named(
    tmp_path: Path, ending: str, write_image: Write, one_line: Callable[[BaseException], str]
) -> None:
    path = tmp_path / f"half.{ending}"
    write_image(path, size=(40, 40))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=rf"cannot read the image .*half\.{ending}") as caught:
        decode(files(tmp_path, path.name), 3, 4, 4, "crop")
    one_line(caught.value)


def test_one_bad_image_among_many_is_named(tmp_path: Path, write_image: Write) -> None:
    names = [f"{index:02}.png" for index in range(30)]
    for name in names:
        write_image(tmp_path / name)
    (tmp_path / "17.png").write_bytes(b"nothing")
    source = files(tmp_path, *names)
    for read in (
        lambda: decode(source, 3, 4, 4, "crop"),
        lambda: list(decoded_parts(source, 3, 4, 4, "crop")),
    ):
        with pytest.raises(DataError, match=r"17\.png"):
            read()


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png \(No such file or directory\)"):
        decode(files(tmp_path, "gone.png"), 3, 4, 4, "crop")


def test_an_image_of_absurd_size_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_image: Write
) -> None:
    write_image(tmp_path / "huge.png", size=(40, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match=r"huge\.png \(Image size \(1600 pixels\) exceeds limit"):
        decode(files(tmp_path, "huge.png"), 3, 4, 4, "crop")
