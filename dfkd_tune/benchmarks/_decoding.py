"""From image files to one array of pixels, made once per machine and mapped into memory."""

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from dfkd_tune.benchmarks._config import Resize
from dfkd_tune.benchmarks._reasons import reason_of
from dfkd_tune.benchmarks._sources import Box, ImageArray, ImageFiles, Source
from dfkd_tune.errors import DataError, StorageError

DECODER_VERSION = 1
CACHE_VARIABLE = "DFKD_TUNE_CACHE"
IMAGE_ENDINGS = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_MODES = {1: "L", 3: "RGB"}
# Images in one part where nothing is written: 154 MB of 224 pixels in colour.
_PART = 1024

Progress = Callable[[int, int], None]


def cache_folder() -> Path:
    """Where decoded images are kept: $DFKD_TUNE_CACHE, or ~/.cache/dfkd-tune."""
    given = os.environ.get(CACHE_VARIABLE)
    return Path(given) if given else Path.home() / ".cache" / "dfkd-tune"


def resized(image: Image.Image, height: int, width: int, resize: Resize) -> Image.Image:
    """Bring an image to a size with antialiased bilinear interpolation.

    Args:
        image: any size.
        height: pixels.
        width: pixels.
        resize: crop: the shorter side is fitted and the centre cut out, without distortion;
            squash: both sides are fitted.
    """
    if image.size == (width, height):
        return image
    box: Box = (0, 0, image.width, image.height)
    if resize == "crop":
        scale = min(image.width / width, image.height / height)
        left, top = (image.width - scale * width) / 2, (image.height - scale * height) / 2
        box = (left, top, left + scale * width, top + scale * height)
    return image.resize((width, height), Image.Resampling.BILINEAR, box=box)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Bring pixels of 16 bits to 8, which Pillow itself would cut off at 255.

    Raises:
        ValueError: if the range of the pixels is not known.
    """
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 0xFFFF:
        raise ValueError("its pixels are neither of 8 nor of 16 bits")
    return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))


def _flattened(image: Image.Image, channels: int) -> Image.Image:
    """To grey or colour of 8 bits; what is transparent is laid on white."""
    image = _eight_bits(image)
    if image.mode == "P" or "transparency" in image.info or image.mode in {"LA", "PA", "RGBA"}:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image.convert(_MODES[channels])


def decode_file(
    path: Path, box: Box | None, channels: int, height: int, width: int, resize: Resize
) -> tuple[np.ndarray, str]:
    """Read one image as it is stored: a rotation that its EXIF data ask for is not done.

    Returns:
        Pixels `(C, H, W)`, uint8, and the mode that the file has, such as RGB or L.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        with Image.open(path) as opened:
            mode = opened.mode
            image = opened.crop(box) if box else opened
            pixels = np.asarray(resized(_flattened(image, channels), height, width, resize))
    except Exception as error:  # Damaged files raise whatever their decoder stumbles over.
        raise _unreadable(path, error) from error
    # HWC to CHW; grey has no channel axis.
    return (pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)), mode


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = "no image" if isinstance(error, UnidentifiedImageError) else reason_of(error)
    return DataError(f"cannot read the image {path} ({reason}); mend or remove it")


def _key(source: ImageFiles, channels: int, height: int, width: int, resize: Resize) -> str:
    described = [DECODER_VERSION, str(source.root), channels, height, width, resize]
    digest = hashlib.sha256(json.dumps(described).encode())
    for index, path in enumerate(source.paths):
        try:
            stat = (source.root / path).stat()
        except OSError as error:
            raise _unreadable(source.root / path, error) from error
        box = source.boxes[index] if source.boxes else None
        digest.update(f"{path}|{stat.st_size}|{stat.st_mtime_ns}|{box}\n".encode())
    return digest.hexdigest()[:24]


def decode(
    source: Source,
    channels: int,
    height: int,
    width: int,
    resize: Resize,
    progress: Progress = lambda _done, _all: None,
) -> Tensor:
    """Decode a split; files once per machine, and from then on mapped into memory.

    Args:
        source: where the images are.
        channels: 1 or 3.
        height: pixels.
        width: pixels.
        resize: how an image of another shape is fitted.
        progress: told the images done, and all.

    Returns:
        `(N, C, H, W)`, uint8.

    Raises:
        DataError: naming an image that cannot be read.
        StorageError: if the cache cannot be written.
    """
    if isinstance(source, ImageArray):
        return _decode_array(source, channels, height, width, resize)
    shape = (channels, height, width)
    path = _cache_file(source, shape, resize)
    array = _mapped(path, (len(source), *shape))
    if array is None:
        _write_cache(path, source, shape, resize, progress)
        array = _mapped(path, (len(source), *shape))
    if array is None:
        raise StorageError(
            f"cannot read {path}, which was just written; set {CACHE_VARIABLE} to another folder"
        )
    return torch.from_numpy(array)


def decoded_parts(
    source: Source, channels: int, height: int, width: int, resize: Resize
) -> Iterator[np.ndarray]:
    """Decode a split part by part, and write nothing; a cache that is there already is mapped.

    Args:
        source: where the images are.
        channels: 1 or 3.
        height: pixels.
        width: pixels.
        resize: how an image of another shape is fitted.

    Yields:
        `(n, C, H, W)`, uint8, in the order of the split; cut alike with a cache and without.

    Raises:
        DataError: naming an image that cannot be read.
    """
    shape = (channels, height, width)
    parts = [
        range(start, min(start + _PART, len(source))) for start in range(0, len(source), _PART)
    ]
    if isinstance(source, ImageArray):
        for part in parts:
            images = ImageArray(images=source.images[part.start : part.stop])
            yield _decode_array(images, *shape, resize).numpy()
        return
    array = _mapped(_cache_file(source, shape, resize), (len(source), *shape))
    if array is not None:
        for part in parts:
            yield array[part.start : part.stop]
        return
    with _threads() as pool:
        for part in parts:
            decoded = np.empty((len(part), *shape), dtype=np.uint8)
            tasks = pool.map(lambda index: _decode_one(source, index, shape, resize), part)
            for place, pixels in enumerate(tasks):
                decoded[place] = pixels
            yield decoded


def _cache_file(source: ImageFiles, shape: tuple[int, int, int], resize: Resize) -> Path:
    return cache_folder() / f"{_key(source, *shape, resize)}.npy"


def _mapped(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """A cache file mapped into memory; None where there is none, or a machine's crash cut it."""
    try:
        # Copy on write: torch wants memory that it may write.
        array: np.ndarray = np.load(path, mmap_mode="c")
    except (OSError, ValueError, EOFError):
        return None
    return array if array.shape == shape and array.dtype == np.uint8 else None


def _write_cache(
    path: Path,
    source: ImageFiles,
    shape: tuple[int, int, int],
    resize: Resize,
    progress: Progress,
) -> None:
    # A folder that several machines share may see the same process number twice.
    partial = path.with_name(f".{path.stem}.{uuid4().hex[:8]}.npy")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        array = np.lib.format.open_memmap(
            partial, mode="w+", dtype=np.uint8, shape=(len(source), *shape)
        )

        _allocate(partial)

        def one(index: int) -> None:
            array[index] = _decode_one(source, index, shape, resize)

        with _threads() as pool:
            for done, _ in enumerate(pool.map(one, range(len(source))), start=1):
                if done % 256 == 0 or done == len(source):
                    progress(done, len(source))
        array.flush()
        partial.replace(path)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {reason_of(error)}; free space or set {CACHE_VARIABLE} "
            f"to another folder"
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(16, os.cpu_count() or 1))


def _decode_one(
    source: ImageFiles, index: int, shape: tuple[int, int, int], resize: Resize
) -> np.ndarray:
    box = source.boxes[index] if source.boxes else None
    return decode_file(source.root / source.paths[index], box, *shape, resize)[0]


def _allocate(path: Path) -> None:
    """Take a file's whole space now: on a full disk, writing to mapped memory kills the process.

    Raises:
        OSError: if there is too little space.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            # Some file systems do not know how.
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise


def _decode_array(
    source: ImageArray, channels: int, height: int, width: int, resize: Resize
) -> Tensor:
    images = source.images
    if images.shape[1] != channels:
        if channels == 3 and images.shape[1] == 1:
            images = np.repeat(images, 3, axis=1)
        else:
            images = np.stack(
                [
                    np.asarray(Image.fromarray(i.transpose(1, 2, 0)).convert("L"))[None]
                    for i in images
                ]
            )
    if images.shape[2:] != (height, width):
        images = np.stack([_resized_array(image, height, width, resize) for image in images])
    return torch.from_numpy(np.ascontiguousarray(images))


def _resized_array(image: np.ndarray, height: int, width: int, resize: Resize) -> np.ndarray:
    squeezed = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    pixels = np.asarray(resized(Image.fromarray(squeezed), height, width, resize))
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def modes(source: Source, sample: int = 256) -> frozenset[str]:
    """The modes of some images of a split, spread evenly, such as RGB and L."""
    if isinstance(source, ImageArray):
        return frozenset({"L" if source.images.shape[1] == 1 else "RGB"})
    found = set()
    for index in np.linspace(0, len(source) - 1, min(sample, len(source))).astype(int):
        path = source.root / source.paths[index]
        try:
            with Image.open(path) as image:
                found.add(image.mode)
        except Exception as error:  # As in decode_file.
            raise _unreadable(path, error) from error
    return frozenset(found)
