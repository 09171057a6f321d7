"""Stanford Cars: 196 models. Its host is gone; the layout is the one of its copies.

Source: J. Krause et al., "3D Object Representations for Fine-Grained Categorization", 3DRR (2013).
"""

from pathlib import Path
from typing import Any

import numpy as np

from dfkd_tune.benchmarks._readers._files import check_present, folder_with
from dfkd_tune.benchmarks._readers._mat import read_mat
from dfkd_tune.benchmarks._sources import ImageFiles, Listing
from dfkd_tune.errors import DataError

CARS196_LAYOUT = (
    "cars_train/, cars_test/, devkit/ with cars_meta.mat and cars_train_annos.mat, and "
    "cars_test_annos_withlabels.mat beside or in devkit/"
)

_TEST_LABELS = "cars_test_annos_withlabels.mat"


def read_cars196(root: Path) -> Listing:
    """Read the cars with their official split.

    Args:
        root: the folder of `cars_train`, or the one that holds it as `stanford_cars`.

    Returns:
        The listing; labels in the order of `cars_meta.mat`.

    Raises:
        DataError: if a file is missing or damaged.
    """
    folder = folder_with(root, ("stanford_cars",), "cars_train", CARS196_LAYOUT)
    devkit = folder / "devkit"
    meta = read_mat(devkit / "cars_meta.mat", ("class_names",), CARS196_LAYOUT)
    class_names = tuple(str(name).strip() for name in np.atleast_1d(meta["class_names"]))
    beside = folder / _TEST_LABELS
    return Listing(
        class_names=class_names,
        splits={
            "train": _split(folder, "cars_train", devkit / "cars_train_annos.mat"),
            "test": _split(
                folder, "cars_test", beside if beside.is_file() else devkit / _TEST_LABELS
            ),
        },
        origin=folder,
    )


def _split(folder: Path, images: str, path: Path) -> ImageFiles:
    found: Any = np.atleast_1d(read_mat(path, ("annotations",), CARS196_LAYOUT)["annotations"])
    fields = found.dtype.names or ()
    absent = next((name for name in ("fname", "class") if name not in fields), None)
    if absent is not None:
        raise DataError(f"{path}: annotations have no field '{absent}'; put the file with it there")
    paths = tuple(f"{images}/{str(name).strip()}" for name in found["fname"])
    check_present(folder, paths, path)
    # Classes are counted from 1.
    labels = tuple(int(number) - 1 for number in found["class"])
    return ImageFiles(root=folder, paths=paths, labels=labels)
