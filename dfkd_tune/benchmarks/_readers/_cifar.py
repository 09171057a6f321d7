"""CIFAR-10 and CIFAR-100 as their author publishes them for Python: a few pickles.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009),
www.cs.toronto.edu/~kriz/cifar.html. Labels are the fine ones.
"""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dfkd_tune.benchmarks._readers._files import folder_with, required
from dfkd_tune.benchmarks._reasons import reason_of
from dfkd_tune.benchmarks._sources import ImageArray, Listing
from dfkd_tune.errors import DataError

CIFAR10_LAYOUT = "cifar-10-batches-py/ with data_batch_1 to 5, test_batch and batches.meta"
CIFAR100_LAYOUT = "cifar-100-python/ with train, test and meta"

_ROW = 3 * 32 * 32


def read_cifar10(root: Path) -> Listing:
    """Read CIFAR-10 with its official split.

    Args:
        root: `cifar-10-batches-py`, or the folder that holds it.

    Returns:
        The listing; labels as published.

    Raises:
        DataError: if a file is missing, or holds anything but its arrays and lists.
    """
    folder = folder_with(root, ("cifar-10-batches-py",), "data_batch_1", CIFAR10_LAYOUT)
    batches = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}
    return _read(folder, batches, "labels", "batches.meta", "label_names", CIFAR10_LAYOUT)


def read_cifar100(root: Path) -> Listing:
    """Read CIFAR-100 with its official split and its 100 fine classes.

    Args:
        root: `cifar-100-python`, or the folder that holds it.

    Returns:
        The listing; labels as published.

    Raises:
        DataError: if a file is missing, or holds anything but its arrays and lists.
    """
    folder = folder_with(root, ("cifar-100-python",), "train", CIFAR100_LAYOUT)
    batches = {"train": ["train"], "test": ["test"]}
    return _read(folder, batches, "fine_labels", "meta", "fine_label_names", CIFAR100_LAYOUT)


def _read(
    folder: Path,
    batches: Mapping[str, Sequence[str]],
    labels_key: str,
    meta: str,
    names_key: str,
    layout: str,
) -> Listing:
    splits = {}
    for split, files in batches.items():
        parts = [_batch(required(folder / name, layout), labels_key) for name in files]
        splits[split] = ImageArray(
            images=np.concatenate([images for images, _ in parts]),
            labels=tuple(label for _, labels in parts for label in labels),
        )
    path = required(folder / meta, layout)
    names = _content(path).get(names_key)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{path} has no list '{names_key}'; put the original file there")
    return Listing(class_names=tuple(names), splits=splits, origin=folder)


def _batch(path: Path, labels_key: str) -> tuple[np.ndarray, list[int]]:
    """Images `(N, 3, 32, 32)` and labels of one file."""
    content = _content(path)
    data, labels = content.get("data"), content.get(labels_key)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (_ROW,):
        raise DataError(
            f"{path} has no array 'data' of {_ROW} bytes per image; put the original file there"
        )
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise DataError(
            f"{path} has no list '{labels_key}' of whole numbers; put the original file there"
        )
    if len(labels) != len(data):
        raise DataError(
            f"{path} has {len(data)} images and {len(labels)} labels; put the original file there"
        )
    return data.reshape(-1, 3, 32, 32), labels


def _content(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            # Written by Python 2, whose strings are bytes.
            content = _ArraysOnly(file, encoding="latin1").load()
    except _ForbiddenError as error:
        raise DataError(
            f"{path} asks for '{error}', which no CIFAR file needs, and was not read; get the "
            f"original file"
        ) from error
    except Exception as error:  # Damaged pickles raise whatever the unpickler stumbles over.
        raise DataError(
            f"{path} is no readable pickle ({reason_of(error)}); put the original file there"
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no dictionary; put the original file there")
    return content


class _ForbiddenError(Exception):
    """A pickle asks for something else than an array of bytes."""


class _ArraysOnly(pickle.Unpickler):
    """Reads dictionaries, lists, numbers, text and arrays of bytes, and calls nothing else.

    A pickle is a program: it names functions and has them called. These files need three names.
    """

    def find_class(self, module: str, name: str) -> Any:
        """Give one of the three, whatever the pickle's version of NumPy calls its module."""
        allowed = {
            ("numpy.core.multiarray", "_reconstruct"): _empty_array,
            ("numpy._core.multiarray", "_reconstruct"): _empty_array,
            # Only handed to `_reconstruct`, which needs it no more.
            ("numpy", "ndarray"): None,
            ("numpy", "dtype"): _byte_type,
        }
        if (module, name) not in allowed:
            raise _ForbiddenError(f"{module}.{name}")
        return allowed[module, name]


def _empty_array(*_ignored: object) -> np.ndarray:
    """The array that the pickle then fills."""
    return np.empty(0, np.uint8)


def _byte_type(code: object, *_ignored: object) -> np.dtype[Any]:
    if code not in ("u1", "|u1"):
        raise _ForbiddenError(f"numpy.dtype({code!r})")
    return np.dtype(np.uint8)
