"""CUB-200-2011: 200 kinds of birds. The official boxes around the birds are not used.

Source: C. Wah et al., "The Caltech-UCSD Birds-200-2011 Dataset", CNS-TR-2011-001 (2011).
"""

from pathlib import Path

from dfkd_tune.benchmarks._readers._files import (
    check_present,
    folder_with,
    read_rows,
    whole_number,
)
from dfkd_tune.benchmarks._sources import ImageFiles, Listing
from dfkd_tune.errors import DataError

CUB200_LAYOUT = (
    "CUB_200_2011/ with images/, images.txt, image_class_labels.txt, train_test_split.txt and "
    "classes.txt"
)


def read_cub200(root: Path) -> Listing:
    """Read the birds with their official split.

    Args:
        root: `CUB_200_2011`, or the folder that holds it.

    Returns:
        The listing; labels in the order of `classes.txt`.

    Raises:
        DataError: if a file is missing, or a line is not as published.
    """
    folder = folder_with(root, ("CUB_200_2011",), "images.txt", CUB200_LAYOUT)
    images = read_rows(folder / "images.txt", 2, CUB200_LAYOUT)
    classes = read_rows(folder / "classes.txt", 2, CUB200_LAYOUT)
    labels = _column(folder / "image_class_labels.txt", images, 1, len(classes))
    in_train = _column(folder / "train_test_split.txt", images, 0, 1)
    paths = [f"images/{path}" for _, path in images]
    check_present(folder, paths, folder / "images.txt")
    splits = {}
    for split, marked in (("train", 1), ("test", 0)):
        chosen = [index for index, mark in enumerate(in_train) if mark == marked]
        splits[split] = ImageFiles(
            root=folder,
            paths=tuple(paths[index] for index in chosen),
            labels=tuple(labels[index] - 1 for index in chosen),
        )
    return Listing(class_names=tuple(name for _, name in classes), splits=splits, origin=folder)


def _column(path: Path, images: list[list[str]], least: int, most: int) -> list[int]:
    """One number per image, from a file whose lines begin with the same image numbers."""
    rows = read_rows(path, 2, CUB200_LAYOUT)
    if len(rows) != len(images):
        raise DataError(
            f"{path} has {len(rows)} lines, and images.txt has {len(images)}; put the original "
            f"files there"
        )
    numbers = []
    for line, ((number, _), (image, value)) in enumerate(zip(images, rows, strict=True), start=1):
        if number != image:
            raise DataError(
                f"{path}, line {line}: image '{image}' instead of '{number}' as in images.txt; put "
                f"the original files there"
            )
        numbers.append(whole_number(path, line, value, least, most))
    return numbers
