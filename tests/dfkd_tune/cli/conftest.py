"""Small images on disk."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def image_tree() -> Callable[[Path], Path]:
    """Make an ImageFolder tree of random images, 10 x 20 pixels, of two classes."""

    def make(root: Path) -> Path:
        random = np.random.default_rng(0)
        for split, count in (("train", 10), ("test", 2)):
            for name in ("ant", "bee"):
                folder = root / split / name
                folder.mkdir(parents=True)
                for index in range(count):
                    pixels = random.integers(0, 256, (10, 20, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(folder / f"{index}.png")
        return root

    return make
