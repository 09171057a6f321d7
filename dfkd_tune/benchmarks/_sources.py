"""Splits as they are found on disk, before any image is decoded."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dfkd_tune.errors import DataError

Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class ImageFiles:
    """Images in files.

    Args:
        root: folder that the paths are below.
        paths: relative to the root, with `/`; also the stable names of the images.
        labels: one per image; empty where there are none.
        boxes: (left, top, right, bottom) in pixels to cut out of each image; empty for whole ones.
    """

    root: Path
    paths: tuple[str, ...]
    labels: tuple[int, ...] = ()
    boxes: tuple[Box, ...] = ()

    def __len__(self) -> int:
        """Number of images."""
        return len(self.paths)

    def names(self) -> tuple[str, ...]:
        """A stable name of each image."""
        return self.paths

    def chosen(self, indices: list[int]) -> "ImageFiles":
        """Some of the images."""
        return ImageFiles(
            root=self.root,
            paths=tuple(self.paths[i] for i in indices),
            labels=tuple(self.labels[i] for i in indices) if self.labels else (),
            boxes=tuple(self.boxes[i] for i in indices) if self.boxes else (),
        )


@dataclass(frozen=True, kw_only=True)
class ImageArray:
    """Images in memory.

    Args:
        images: `(N, C, H, W)`, uint8.
        labels: one per image; empty where there are none.
    """

    images: np.ndarray
    labels: tuple[int, ...] = ()

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def names(self) -> tuple[str, ...]:
        """A stable name of each image: its place in the file."""
        return tuple(str(index) for index in range(len(self)))

    def chosen(self, indices: list[int]) -> "ImageArray":
        """Some of the images."""
        return ImageArray(
            images=self.images[np.asarray(indices, dtype=np.int64)],
            labels=tuple(self.labels[i] for i in indices) if self.labels else (),
        )


Source = ImageFiles | ImageArray


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a reader found.

    Args:
        class_names: in label order.
        splits: `train` and `test`, and `validation` where the data have an official one.
        origin: file or folder that was read, for messages.
    """

    class_names: tuple[str, ...]
    splits: Mapping[str, Source]
    origin: Path


def check_listing(listing: Listing) -> Listing:
    """Check what every labelled data set must fulfil.

    Raises:
        DataError: if a split is missing or empty, a label is out of range, or a class has no
            image in train or in test.
    """
    classes = len(listing.class_names)
    if classes < 2:
        raise DataError(f"{listing.origin} has {classes} class; a classifier needs at least 2")
    for name in ("train", "test"):
        if name not in listing.splits or not len(listing.splits[name]):
            raise DataError(f"{listing.origin} has no {name} split; add one")
    for name, source in listing.splits.items():
        if not len(source):
            raise DataError(f"{listing.origin}: {name} is empty; fill or remove it")
        if len(source.labels) != len(source):
            raise DataError(
                f"{listing.origin}: {name} has {len(source)} images and {len(source.labels)} "
                f"labels; give one label per image"
            )
        wrong = next((label for label in source.labels if not 0 <= label < classes), None)
        if wrong is not None:
            raise DataError(
                f"{listing.origin}: {name} has the label {wrong}; labels go from 0 to {classes - 1}"
            )
    for name in ("train", "test"):
        absent = sorted(set(range(classes)) - set(listing.splits[name].labels))
        if absent:
            named = ", ".join(listing.class_names[label] for label in absent[:3])
            more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
            raise DataError(
                f"{listing.origin}: {name} has no image of class {named}{more}; every class needs "
                f"images in train and test"
            )
    return listing
