"""The 1,797 handwritten digits that scikit-learn carries: real images, no download.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
Repository (1998), its test part, as `sklearn.datasets.load_digits` ships it.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from dfkd_tune.benchmarks._images import LabelledImages
from dfkd_tune.benchmarks._splits import split_by_hash
from dfkd_tune.errors import StorageError

FRACTIONS = {"train": 0.6, "validation": 0.2, "test": 0.2}
SALT = "dfkd-tune/digits/1"


def _table() -> np.ndarray:
    """The file that `load_digits` reads, `(1797, 65)`: 64 pixels and the label.

    Read without importing scikit-learn, which would cost every trial's process seconds.
    """
    spec = find_spec("sklearn")
    places = [] if spec is None else list(spec.submodule_search_locations or [])
    for place in places:
        path = Path(place) / "datasets" / "data" / "digits.csv.gz"
        if path.exists():
            return np.loadtxt(path, delimiter=",")
    raise StorageError(
        "the digits are missing from the installed scikit-learn "
        "(sklearn/datasets/data/digits.csv.gz); install scikit-learn again"
    )


@cache
def _splits() -> dict[str, LabelledImages]:
    table = _table()
    # Pixels are counts of 0 to 16; stretched to the full range of 8 bits.
    pixels = np.rint(table[:, :-1] * (255 / 16)).astype(np.uint8)
    images = torch.from_numpy(pixels.reshape(-1, 1, 8, 8))
    labels = torch.from_numpy(table[:, -1].astype(np.int64))
    indices = split_by_hash(labels.tolist(), FRACTIONS, SALT)
    return {
        name: LabelledImages(images=images[chosen], labels=labels[chosen])
        for name, chosen in indices.items()
    }


def load_digits_split(split: str) -> LabelledImages:
    """Load one split of the digits.

    Args:
        split: `train`, `validation` or `test`.

    Returns:
        Images `(N, 1, 8, 8)` and labels `(N,)`.
    """
    return _splits()[split]
