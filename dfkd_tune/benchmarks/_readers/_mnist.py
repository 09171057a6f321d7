"""MNIST and Fashion-MNIST: four files in the format IDX, plain or compressed with gzip.

Sources: Y. LeCun, C. Cortes, C. J. C. Burges, the MNIST database; H. Xiao, K. Rasul, R. Vollgraf,
"Fashion-MNIST" (2017), arXiv 1708.07747.
"""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from dfkd_tune.benchmarks._readers._image_folder import check_folder
from dfkd_tune.benchmarks._reasons import reason_of
from dfkd_tune.benchmarks._sources import ImageArray, Listing
from dfkd_tune.errors import DataError

_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_FOUR_FILES = ", ".join(name for names in _FILES.values() for name in names)
MNIST_LAYOUT = f"{_FOUR_FILES} (or these with .gz), or raw/ or MNIST/raw/ with them"
FASHION_MNIST_LAYOUT = f"{_FOUR_FILES} (or these with .gz), or raw/ or FashionMNIST/raw/ with them"

_CLOTHES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def read_mnist(root: Path) -> Listing:
    """Read MNIST with its official split.

    Args:
        root: folder of the four files, or the one that holds `raw` or `MNIST/raw`.

    Raises:
        DataError: if a file is missing or damaged.
    """
    return _read(root, "MNIST", tuple("0123456789"), MNIST_LAYOUT)


def read_fashion_mnist(root: Path) -> Listing:
    """Read Fashion-MNIST with its official split.

    Args:
        root: folder of the four files, or the one that holds `raw` or `FashionMNIST/raw`.

    Raises:
        DataError: if a file is missing or damaged.
    """
    return _read(root, "FashionMNIST", _CLOTHES, FASHION_MNIST_LAYOUT)


def _read(root: Path, name: str, class_names: tuple[str, ...], layout: str) -> Listing:
    check_folder(root)
    folders = (root, root / "raw", root / name / "raw")
    first = _FILES["train"][0]
    folder = next((place for place in folders if _plain_or_packed(place / first)), None)
    if folder is None:
        raise DataError(f"{root} has no {first}; it must hold {layout}")
    splits = {}
    for split, (images_file, labels_file) in _FILES.items():
        images = _read_idx(folder / images_file, 3, layout)
        labels = _read_idx(folder / labels_file, 1, layout)
        splits[split] = ImageArray(images=images[:, None], labels=tuple(labels.tolist()))
    return Listing(class_names=class_names, splits=splits, origin=folder)


def _plain_or_packed(path: Path) -> Path | None:
    packed = path.with_name(f"{path.name}.gz")
    return next((file for file in (path, packed) if file.is_file()), None)


def _read_idx(path: Path, dimensions: int, layout: str) -> np.ndarray:
    """Read one file: two zero bytes, the type (8: bytes), the dimensions, their sizes, the data."""
    found = _plain_or_packed(path)
    if found is None:
        raise DataError(f"the file {path} (or with .gz) is missing; the layout is {layout}")
    try:
        content = found.read_bytes()
        if found.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"cannot read {found} ({reason_of(error)}); put the original file there"
        ) from error
    start = 4 + 4 * dimensions
    if content[:4] != bytes((0, 0, 8, dimensions)) or len(content) < start:
        raise DataError(
            f"{found} does not begin as an IDX file of bytes in {dimensions} "
            f"dimension{'s' if dimensions > 1 else ''}; put the original file there"
        )
    sizes = [int(size) for size in np.frombuffer(content, ">u4", dimensions, offset=4)]
    if len(content) - start != math.prod(sizes):
        raise DataError(
            f"{found} holds {len(content) - start} bytes of data and announces {math.prod(sizes)}; "
            f"put the original file there"
        )
    # A copy, for a view of bytes cannot be written, which torch wants.
    return np.frombuffer(content, np.uint8, offset=start).reshape(sizes).copy()
