"""The 1,797 handwritten digits that scikit-learn carries: real images, no download.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
Repository (1998), its test part, as `sklearn.datasets.load_digits` ships it.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from dfkd_tune.benchmarks._sources import ImageArray, Listing
from dfkd_tune.benchmarks._splits import split_by_hash
from dfkd_tune.errors import DataError

FRACTIONS = {"train": 0.6, "validation": 0.2, "test": 0.2}
SALT = "dfkd-tune/digits/1"


def _file() -> Path:
    """The file that `load_digits` reads.

    Found without importing scikit-learn, which would cost every trial's process seconds.
    """
    spec = find_spec("sklearn")
    places = [] if spec is None else list(spec.submodule_search_locations or [])
    for place in places:
        path = Path(place) / "datasets" / "data" / "digits.csv.gz"
        if path.exists():
            return path
    raise DataError(
        "the digits are missing from the installed scikit-learn "
        "(sklearn/datasets/data/digits.csv.gz); install scikit-learn again"
    )


def read_digits() -> Listing:
    """Read the digits with their fixed split: 8 x 8 pixels, one channel."""
    path = _file()
    # `(1797, 65)`: 64 pixels and the label.
    table = np.loadtxt(path, delimiter=",")
    # Pixels are counts of 0 to 16; stretched to the full range of 8 bits.
    pixels = np.rint(table[:, :-1] * (255 / 16)).astype(np.uint8)
    labels = tuple(int(label) for label in table[:, -1])
    whole = ImageArray(images=pixels.reshape(-1, 1, 8, 8), labels=labels)
    return Listing(
        class_names=tuple("0123456789"),
        splits={
            name: whole.chosen(indices)
            for name, indices in split_by_hash(labels, FRACTIONS, SALT).items()
        },
        origin=path,
    )
