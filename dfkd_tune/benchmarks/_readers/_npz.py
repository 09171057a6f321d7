"""A `.npz` file with MedMNIST's keys: `train_images`, `train_labels`, `val_*`, `test_*`."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dfkd_tune.benchmarks._reasons import reason_of
from dfkd_tune.benchmarks._sources import ImageArray, Listing
from dfkd_tune.errors import DataError

_PREFIXES = {"train": "train", "validation": "val", "test": "test"}


def _arrays(path: Path) -> Mapping[str, np.ndarray]:
    if not path.is_file():
        raise DataError(f"the data file {path} does not exist; check the path")
    try:
        # Opened here, for NumPy leaves a damaged file open; TypeError where it is one array alone.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path} is no readable .npz of plain arrays ({reason_of(error)}); mend it"
        ) from error


def _images(path: Path, key: str, value: np.ndarray) -> np.ndarray:
    """To `(N, C, H, W)`."""
    if value.dtype != np.uint8:
        raise DataError(f"{path}: {key} is {value.dtype}; give uint8, 0 to 255")
    if value.ndim == 3:
        return value[:, None]
    if value.ndim == 4 and value.shape[3] in (1, 3):
        return np.ascontiguousarray(value.transpose(0, 3, 1, 2))
    raise DataError(
        f"{path}: {key} has the shape {value.shape}; give (N, height, width) or "
        f"(N, height, width, 1 or 3)"
    )


def _labels(path: Path, key: str, value: np.ndarray) -> tuple[int, ...]:
    if value.ndim == 2 and value.shape[1] == 1:
        value = value[:, 0]
    if value.ndim != 1 or not np.issubdtype(value.dtype, np.integer):
        raise DataError(
            f"{path}: {key} has the shape {value.shape} and type {value.dtype}; give one whole "
            f"number per image (several labels per image are not supported)"
        )
    return tuple(int(label) for label in value)


def read_npz(path: Path, class_names: tuple[str, ...] | None = None) -> Listing:
    """Read labelled images from one file.

    Args:
        path: the file.
        class_names: in label order; the labels themselves by default, from 0 to the largest.

    Raises:
        DataError: if a key is missing or has another shape or type.
    """
    arrays = _arrays(path)
    splits = {}
    for split, prefix in _PREFIXES.items():
        images, labels = f"{prefix}_images", f"{prefix}_labels"
        present = [key for key in (images, labels) if key in arrays]
        if split == "validation" and not present:
            continue
        if len(present) < 2:
            missing = images if images not in arrays else labels
            raise DataError(
                f"{path} has no '{missing}' (it has: {', '.join(sorted(arrays)) or 'nothing'}); "
                f"MedMNIST's keys are train_images, train_labels, val_*, test_*"
            )
        splits[split] = ImageArray(
            images=_images(path, images, arrays[images]),
            labels=_labels(path, labels, arrays[labels]),
        )
    if class_names is None:
        largest = max(max(source.labels, default=-1) for source in splits.values())
        if largest >= sum(len(source.labels) for source in splits.values()):
            raise DataError(
                f"{path} has the label {largest}, and fewer images; number the classes from 0"
            )
        class_names = tuple(str(label) for label in range(largest + 1))
    return Listing(class_names=class_names, splits=splits, origin=path)


def read_unlabelled_npz(path: Path) -> ImageArray:
    """Read images alone: the key `images`, or else `train_images`.

    Raises:
        DataError: if neither is there, has another shape or type, or fewer than two images.
    """
    arrays = _arrays(path)
    key = next((name for name in ("images", "train_images") if name in arrays), None)
    if key is None:
        raise DataError(
            f"{path} has neither 'images' nor 'train_images' (it has: "
            f"{', '.join(sorted(arrays)) or 'nothing'})"
        )
    images = _images(path, key, arrays[key])
    if len(images) < 2:
        raise DataError(f"{path}: {key} holds {len(images)} images; give a file with more")
    return ImageArray(images=images)
