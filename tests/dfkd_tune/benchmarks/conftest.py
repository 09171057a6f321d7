"""One thread, a cache of our own, and small images on disk."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dfkd_tune.benchmarks import open_benchmark

CACHE = "DFKD_TUNE_CACHE"


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="session")
def _cache_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """For what is decoded once for several tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE, str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no benchmark that another test has opened."""
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    monkeypatch.delenv("DFKD_TUNE_DATA", raising=False)
    open_benchmark.cache_clear()
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def write_image() -> Callable[..., np.ndarray]:
    """Write one image, without loss where the ending allows, and give its pixels.

    These are `(H, W)` or `(H, W, C)`; random by default, the same for the same seed.
    """

    def write(
        path: Path,
        seed: int = 0,
        size: tuple[int, int] = (6, 5),
        mode: str = "RGB",
        pixels: np.ndarray | None = None,
    ) -> np.ndarray:
        if pixels is None:
            channels = len(Image.new(mode, (1, 1)).getbands())
            shape = size if channels == 1 else (*size, channels)
            pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        return pixels

    return write


@pytest.fixture
def tree(tmp_path: Path, write_image: Callable[..., np.ndarray]) -> Callable[..., Path]:
    """Make an ImageFolder tree of random images; every one differs."""

    def make(
        name: str = "tree",
        classes: tuple[str, ...] = ("ant", "bee"),
        counts: dict[str, int] | None = None,
        size: tuple[int, int] = (6, 5),
        mode: str = "RGB",
    ) -> Path:
        root = tmp_path / name
        seed = 0
        for split, count in (counts or {"train": 10, "test": 3}).items():
            for class_name in classes:
                for number in range(count):
                    path = root / split / class_name / f"{number:03}.png"
                    write_image(path, seed, size, mode)
                    seed += 1
        return root

    return make


@pytest.fixture
def one_line() -> Callable[[BaseException], str]:
    """Check that a message is one clear line, and give it."""

    def check(error: BaseException) -> str:
        message = str(error)
        assert message
        assert "\n" not in message
        assert len(message) < 600
        return message

    return check
