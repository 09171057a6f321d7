"""Seeded random numbers for a while."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from seeded random numbers, and give the global ones back as they were.

    Of PyTorch this is the generator of the CPU, where networks are built; Python's and NumPy's are
    seeded too, for foreign networks that draw from them.

    Args:
        seed: at least 0.
    """
    before = (torch.get_rng_state(), random.getstate(), np.random.get_state())
    try:
        # Not torch.manual_seed, which would seed the GPUs for good.
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        yield
    finally:
        torch.set_rng_state(before[0])
        random.setstate(before[1])
        np.random.set_state(before[2])
