"""Caltech-101 without its background class, with a split that this project ships.

The data set has no official split, and a seed alone gives another one wherever a folder is listed
in another order: a teacher that is evaluated under another split than it was trained with has seen
test images. So the test images are written down, in `caltech101_test.txt`, chosen once by this
rule: of each class of `n` images, the `max(2, n // 5)` whose SHA-256 of
`dfkd-tune/caltech101/1/CLASS/image_XXXX.jpg` is smallest. These are 1,695 of 8,677, as many as
DFAD takes (github.com/VainF/Data-Free-Adversarial-Distillation, `data/split_caltech101.py`).

Source: L. Fei-Fei, R. Fergus, P. Perona, CVPR Workshop (2004),
data.caltech.edu/records/mzrjq-6wc02.
"""

import hashlib
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path

from dfkd_tune.benchmarks._readers._files import folder_with
from dfkd_tune.benchmarks._readers._image_folder import images_below
from dfkd_tune.benchmarks._sources import ImageFiles, Listing
from dfkd_tune.errors import DataError

CALTECH101_LAYOUT = "101_ObjectCategories/CLASS/image_0001.jpg"

SALT = "dfkd-tune/caltech101/1"
BACKGROUND = "BACKGROUND_Google"
TEST_FILE = "caltech101_test.txt"
COUNTS_FILE = "caltech101_counts.txt"
_FOLDER = "101_ObjectCategories"
_FOLDERS = (_FOLDER, f"caltech101/{_FOLDER}", f"caltech-101/{_FOLDER}")


def read_caltech101(root: Path) -> Listing:
    """Read the 101 classes with the shipped split.

    Args:
        root: `101_ObjectCategories`, or the folder that holds it.

    Returns:
        The listing; labels count the sorted class names, background left out.

    Raises:
        DataError: if images are missing, or there are others than the original ones.
    """
    counts = image_counts()
    folder = folder_with(root, _FOLDERS, next(iter(counts)), CALTECH101_LAYOUT)
    _check_original(folder, counts)
    test = frozenset(test_images())
    class_names = tuple(sorted(counts))
    splits = {}
    for split in ("train", "test"):
        chosen = [
            (f"{name}/{image}", label)
            for label, name in enumerate(class_names)
            for image in _images(counts[name])
            if (f"{name}/{image}" in test) == (split == "test")
        ]
        splits[split] = ImageFiles(
            root=folder,
            paths=tuple(path for path, _ in chosen),
            labels=tuple(label for _, label in chosen),
        )
    return Listing(class_names=class_names, splits=splits, origin=folder)


def image_counts() -> dict[str, int]:
    """Images of each class in the original distribution; they are numbered from 1 without gaps."""
    rows = (line.split() for line in _shipped(COUNTS_FILE))
    return {name: int(count) for name, count in rows}


def test_images() -> tuple[str, ...]:
    """The shipped list of test images, `CLASS/image_XXXX.jpg`."""
    return tuple(_shipped(TEST_FILE))


def chosen_by_rule(names: Iterable[str]) -> tuple[str, ...]:
    """Choose test images by the rule that made the shipped list.

    Args:
        names: `CLASS/image_XXXX.jpg` of all images, in any order.

    Returns:
        The names of the test images, sorted.
    """
    members: dict[str, list[str]] = {}
    for name in names:
        members.setdefault(name.partition("/")[0], []).append(name)

    def place(name: str) -> str:
        return hashlib.sha256(f"{SALT}/{name}".encode()).hexdigest()

    chosen: list[str] = []
    for images in members.values():
        chosen += sorted(images, key=place)[: max(2, len(images) // 5)]
    return tuple(sorted(chosen))


def _shipped(name: str) -> list[str]:
    return (files("dfkd_tune.benchmarks") / name).read_text(encoding="utf-8").splitlines()


def _images(count: int) -> list[str]:
    return [f"image_{number:04}.jpg" for number in range(1, count + 1)]


def _check_original(folder: Path, counts: Mapping[str, int]) -> None:
    """Check that exactly the original images are there: the split is of these."""
    expected = {f"{name}/{image}" for name, count in counts.items() for image in _images(count)}
    there = {path for path in images_below(folder) if not path.startswith(f"{BACKGROUND}/")}
    for found, what, advice in (
        (expected - there, "missing", "complete the copy"),
        (there - expected, "not of the original Caltech-101", "remove what is not"),
    ):
        if found:
            more = f" and {len(found) - 1:,} more" if len(found) > 1 else ""
            raise DataError(
                f"the image {folder / min(found)}{more} {'are' if more else 'is'} {what}; "
                f"{advice}, for its split is of all {len(expected):,} original images"
            )
