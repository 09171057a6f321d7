"""One thread, and inputs like those of the digits."""

from collections.abc import Iterator

import pytest
import torch

from dfkd_tune.inputs import InputSpecification


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def digits() -> InputSpecification:
    """One channel, 8 x 8 pixels, ten classes."""
    return InputSpecification(
        channels=1, height=8, width=8, mean=(0.3,), std=(0.4,), num_classes=10
    )
