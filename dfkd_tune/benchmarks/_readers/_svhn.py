"""SVHN, the cropped digits: two MATLAB files.

Source: Y. Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning",
NIPS Workshop (2011), ufldl.stanford.edu/housenumbers.
"""

from pathlib import Path

import numpy as np

from dfkd_tune.benchmarks._readers._files import folder_with
from dfkd_tune.benchmarks._readers._mat import read_mat
from dfkd_tune.benchmarks._sources import ImageArray, Listing
from dfkd_tune.errors import DataError

SVHN_LAYOUT = "train_32x32.mat and test_32x32.mat"


def read_svhn(root: Path) -> Listing:
    """Read SVHN with its official split; the label 10 stands for the digit 0.

    Args:
        root: folder of the two files.

    Raises:
        DataError: if a file is missing or damaged.
    """
    folder = folder_with(root, (), "train_32x32.mat", SVHN_LAYOUT)
    return Listing(
        class_names=tuple("0123456789"),
        splits={split: _split(folder / f"{split}_32x32.mat") for split in ("train", "test")},
        origin=folder,
    )


def _split(path: Path) -> ImageArray:
    content = read_mat(path, ("X", "y"), SVHN_LAYOUT)
    # Published as `(32, 32, 3, N)`; the last dimension is lost where there is one image.
    images, labels = content["X"], np.atleast_1d(content["y"])
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype != np.uint8 or images.shape[:3] != (32, 32, 3):
        raise DataError(
            f"{path}: X has the shape {images.shape} and type {images.dtype} instead of "
            f"(32, 32, 3, N) bytes; put the original file there"
        )
    if labels.shape != images.shape[3:] or not np.issubdtype(labels.dtype, np.number):
        raise DataError(
            f"{path} has {images.shape[3]} images and {labels.size} labels ({labels.dtype}); put "
            f"the original file there"
        )
    return ImageArray(
        images=np.ascontiguousarray(images.transpose(3, 2, 0, 1)),
        labels=tuple(0 if label == 10 else int(label) for label in labels.tolist()),
    )
