"""The 1,797 handwritten digits that scikit-learn carries: real images, no download.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
Repository (1998), its test part, as `sklearn.datasets.load_digits` ships it.
"""

from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits

from dfkd_tune.benchmarks._images import LabelledImages
from dfkd_tune.benchmarks._splits import split_by_hash

FRACTIONS = {"train": 0.6, "validation": 0.2, "test": 0.2}
SALT = "dfkd-tune/digits/1"


@cache
def _splits() -> dict[str, LabelledImages]:
    bunch = load_digits()
    # Pixels are counts of 0 to 16; stretched to the full range of 8 bits.
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    images = torch.from_numpy(pixels).unsqueeze(1)
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    indices = split_by_hash(bunch.target.tolist(), FRACTIONS, SALT)
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
